"""Jinja2, 3.0 as well as 3.1: templates from files, inheritance, macros, own filters and tests, sandbox, async, errors."""

import asyncio
import importlib.metadata
import pathlib
import sys
import tempfile
import traceback

import jinja2
import markupsafe
from jinja2 import ext, nativetypes, nodes, sandbox

version = tuple(map(int, importlib.metadata.version("jinja2").split(".")))
assert jinja2.__version__ == importlib.metadata.version("jinja2")
assert "markupsafe._native" in sys.modules, "markupsafe runs its Python code"

templates = {
    "layout.html": "<h1>{% block head %}layout{% endblock %}</h1>{% block body required %}{% endblock %}",
    "page.html": (
        "{% extends 'layout.html' %}{% from 'macros.html' import field with context %}"
        "{% block head %}page of {{ super() }}{% endblock %}"
        "{% block body %}{% for user in users if user.active %}{{ field(user.name) }}{% else %}nobody{% endfor %}{% endblock %}"
    ),
    "macros.html": "{% macro field(name, kind='text') %}<{{ kind }} {{ name }}{{ caller() if caller }}>{% endmacro %}",
    "broken.html": "line one\n{{ 1 // zero }}\n",
    "syntax.html": "a\nb\n{% for %}\n",
}


class Shout(ext.Extension):
    tags = {"shout"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endshout",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_upper"), [], [], body).set_lineno(line)

    def _upper(self, caller):
        return caller().upper()


with tempfile.TemporaryDirectory() as directory:
    for name, text in templates.items():
        pathlib.Path(directory, name).write_text(text)
    cache = pathlib.Path(directory, "cache")
    cache.mkdir()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(directory),
        autoescape=jinja2.select_autoescape(default_for_string=False),
        bytecode_cache=jinja2.FileSystemBytecodeCache(str(cache)),
        extensions=[Shout, "jinja2.ext.do", "jinja2.ext.loopcontrols"],
        trim_blocks=True,
    )
    users = [{"name": "<ann>", "active": True}, {"name": "bob", "active": False}]
    expected = "<h1>page of layout</h1><text &lt;ann&gt;>"
    assert environment.get_template("page.html").render(users=users) == expected
    assert environment.get_template("page.html").render(users=[]) == "<h1>page of layout</h1>nobody"
    assert sorted(environment.list_templates(extensions=["html"])) == sorted(templates)

    # Another environment takes the compiled templates from the cache.
    assert len(list(cache.iterdir())) == 3
    again = environment.overlay(cache_size=0)
    assert again.get_template("page.html").render(users=users) == expected

    # Errors show the template's own lines.
    try:
        environment.get_template("broken.html").render(zero=0)
    except ZeroDivisionError as error:
        [frame] = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith("broken.html")]
        assert (frame.lineno, frame.line) == (2, "{{ 1 // zero }}"), frame
    else:
        raise AssertionError("1 // 0")
    try:
        environment.get_template("syntax.html")
    except jinja2.TemplateSyntaxError as error:
        assert (error.lineno, error.name) == (3, "syntax.html") and "Expected an expression" in error.message, error
    else:
        raise AssertionError("this template has no syntax")
    try:
        environment.get_template("none.html")
    except jinja2.TemplateNotFound as error:
        assert error.name == "none.html"
    else:
        raise AssertionError("there is no such template")

environment.filters["twice"] = lambda value: value * 2
environment.tests["short"] = lambda value: len(value) < 3
environment.globals["now"] = lambda: "noon"


def render(source, **values):
    return environment.from_string(source).render(**values)


assert render("{{ 'ab'|twice }} {{ 'ab' is short }} {{ now() }}") == "abab True noon"
assert render("{% shout %}loud{% endshout %}") == "LOUD"
assert render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ loop.index }}{% endfor %}") == "12"
assert render("{{ [3, 1, 2]|sort|join('-') }} {{ 'a,b'.split(',')|map('upper')|list }}") == "1-2-3 ['A', 'B']"
assert render("{{ rows|groupby('k')|map(attribute='list')|map('length')|list }}", rows=[{"k": 1}, {"k": 2}, {"k": 1}]) == "[2, 1]"
assert render("{{ missing }}|{{ missing|default('x') }}|{{ d.a['b'] }}", d={"a": {"b": 1}}) == "|x|1"
assert render("{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}") == "3"
assert render("{{ '%05.1f'|format(3.14159) }} {{ 'x y'|urlencode }} {{ {'a': 1}|tojson }}") == '003.1 x%20y {"a": 1}'
assert render("{% filter replace('a', 'b') %}aaa{% endfilter %}{# gone #}{% raw %}{{ }}{% endraw %}") == "bbb{{ }}"
assert render("{{ text|striptags }} {{ text|wordcount }}", text=markupsafe.Markup("<b>a </b>b")) == "a b 4"

escaped = markupsafe.Markup("<em>%s</em>") % "<&>"
assert escaped == "<em>&lt;&amp;&gt;</em>" and type(escaped) is markupsafe.Markup and escaped.unescape() == "<em><&></em>"

strict = jinja2.Environment(undefined=jinja2.StrictUndefined)
try:
    strict.from_string("{{ missing.name }}").render()
except jinja2.UndefinedError as error:
    assert str(error) == "'missing' is undefined"
else:
    raise AssertionError("strict means strict")

try:
    sandbox.SandboxedEnvironment().from_string("{{ ''.__class__.__mro__ }}").render()
except sandbox.SecurityError as error:
    assert "'__class__'" in str(error)
else:
    raise AssertionError("the sandbox has a hole")


async def slowly():
    await asyncio.sleep(0)
    return "awaited"


async def numbers():
    for number in range(3):
        await asyncio.sleep(0)
        yield number


asynchronous = jinja2.Environment(enable_async=True)
template = asynchronous.from_string("{{ slowly() }} {% for n in numbers() %}{{ n }}{{ ',' if not loop.last }}{% endfor %}")
assert asyncio.run(template.render_async(slowly=slowly, numbers=numbers)) == "awaited 0,1,2"
assert template.render(slowly=slowly, numbers=numbers) == "awaited 0,1,2"

assert nativetypes.NativeEnvironment().from_string("{{ [1, x] }}").render(x=2) == [1, 2]
assert "from jinja2.runtime import " in environment.compile("{{ 1 }}", raw=True)

# What only one of the two versions has.
if version >= (3, 1):
    assert render("{% for k, v in d|items %}{{ k }}{{ v }}{% endfor %}", d={"a": 1}) == "a1"
    assert not hasattr(jinja2, "contextfilter") and not hasattr(jinja2, "Markup")
else:
    assert callable(jinja2.contextfilter) and issubclass(jinja2.Markup, markupsafe.Markup)
    try:
        render("{{ d|items }}", d={})
    except jinja2.TemplateAssertionError as error:
        assert "No filter named 'items'" in str(error)
    else:
        raise AssertionError("jinja2 3.0 has no such filter")

print("ok: jinja2", jinja2.__version__)
