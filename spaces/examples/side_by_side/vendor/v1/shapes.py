"""The library `shapes`, release 1: area() is a method."""

__version__ = "1.0"
registry = []


class Square:
    def __init__(self, side):
        self.side = side

    def area(self):
        return self.side * self.side
