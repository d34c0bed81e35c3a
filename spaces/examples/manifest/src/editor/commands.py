"""Where plugins register what they can do."""

commands = {}


def command(function):
    commands[function.__name__] = function
    return function
