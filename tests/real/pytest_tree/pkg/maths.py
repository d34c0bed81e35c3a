def double(number):
    """Twice a number.

    >>> double(4)
    8
    >>> double("a")
    'aa'
    """
    return number * 2
