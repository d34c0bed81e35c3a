import helper
from interface import Shape


class Square(Shape):
    helper = helper

    def area(self):
        return helper.SIZE**2


create = Square
