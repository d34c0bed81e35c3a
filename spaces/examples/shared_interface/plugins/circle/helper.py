SIZE, UNIT = 1, "radius"
