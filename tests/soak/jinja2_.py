"""Renders a template with a loop, a macro and inheritance."""

import jinja2

environment = jinja2.Environment(
    loader=jinja2.DictLoader(
        {
            "base": "<{% block body %}{% endblock %}>",
            "page": "{% extends 'base' %}{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}"
            "{% block body %}{% for i in items %}{{ twice(i) }}{% endfor %}{% endblock %}",
        }
    )
)
assert environment.get_template("page").render(items=[1, 2]) == "<1122>"
