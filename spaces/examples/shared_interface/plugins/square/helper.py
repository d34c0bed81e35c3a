SIZE, UNIT = 2, "side"
