"""Written for Jinja2 3.0. Release 3.1 took `contextfilter` away."""

import jinja2


@jinja2.contextfilter
def greet(context, word):
    return f"{word}, {context['name']}"


def page():
    environment = jinja2.Environment()
    environment.filters["greet"] = greet
    return environment.from_string("{{ 'good day'|greet }}!")
