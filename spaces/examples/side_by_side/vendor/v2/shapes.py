"""The library `shapes`, release 2: the side goes by name, the area is a property with a unit."""

__version__ = "2.0"
registry = []


class Square:
    def __init__(self, *, side, unit="cm"):
        self.side, self.unit = side, unit

    @property
    def area(self):
        return f"{self.side ** 2} {self.unit}²"
