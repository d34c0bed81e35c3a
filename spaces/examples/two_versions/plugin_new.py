"""Written for Jinja2 3.1, which brought the filter `items`."""

import jinja2


def page():
    return jinja2.Environment().from_string(
        "{% for thing, price in prices|items %}{{ thing }} for {{ price }}{{ ', ' if not loop.last }}{% endfor %}"
    )
