corrections = {"teh": "the", "fxo": "fox"}
