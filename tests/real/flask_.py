"""Flask answers requests: routes, a session, templates, JSON, error pages."""

import importlib.metadata
import logging

import click
from flask import (
    Blueprint, Flask, Response, abort, current_app, g, jsonify, redirect, render_template, request, session, url_for,
)
from flask.cli import routes_command
from jinja2 import DictLoader
from markupsafe import Markup, escape
from werkzeug.exceptions import ImATeapot

app = Flask(__name__)
app.secret_key = b"not a secret"
app.jinja_loader = DictLoader(
    {
        "base.html": "<title>{% block title %}{% endblock %}</title>{% block body %}{% endblock %}",
        "list.html": (
            "{% extends 'base.html' %}{% block title %}{{ title }}{% endblock %}"
            "{% block body %}{% for item in items %}<li>{{ loop.index }}: {{ item }}</li>{% endfor %}{% endblock %}"
        ),
    }
)


class Locked(Exception):
    pass


@app.before_request
def remember():
    g.seen = [request.method, request.path]


@app.get("/")
def index():
    return f"hello {escape(request.args.get('name', 'world'))}"


@app.get("/items/<int:count>")
def items(count):
    return render_template("list.html", title="<items>", items=["a & b", Markup("<b>c</b>")][:count])


@app.post("/login")
def login():
    session["user"] = request.form["user"]
    return redirect(url_for("whoami"))


@app.get("/whoami")
def whoami():
    return f"{session.get('user', 'nobody')} {g.seen}"


@app.post("/sum")
def total():
    return jsonify(sum=sum(request.get_json()["numbers"]))


@app.get("/stream")
def stream():
    return Response((f"{number}\n" for number in range(3)), mimetype="text/plain")


@app.get("/locked")
def locked():
    raise Locked("the door")


@app.get("/teapot")
def teapot():
    abort(418)


@app.get("/broken")
def broken():
    return 1 // 0


@app.errorhandler(404)
def not_found(error):
    return f"nothing at {request.path}", 404


@app.errorhandler(Locked)
def is_locked(error):
    return f"locked: {error}", 423


admin = Blueprint("admin", __name__, url_prefix="/admin")


@admin.get("/where")
def where():
    return url_for(".where", page=2)


@admin.after_request
def mark(response):
    response.headers["X-Admin"] = "yes"
    return response


app.register_blueprint(admin)
client = app.test_client()

# Routes, query strings, escaping.
assert client.get("/").text == "hello world"
assert client.get("/?name=<you>").text == "hello &lt;you&gt;"
assert client.post("/").status_code == 405

# Templates: inheritance, automatic escaping, Markup.
page = client.get("/items/2")
assert page.content_type == "text/html; charset=utf-8"
assert page.text == "<title>&lt;items&gt;</title><li>1: a &amp; b</li><li>2: <b>c</b></li>", page.text
assert client.get("/items/two").status_code == 404

# A session goes through a signed cookie; a changed one is not believed.
assert client.get("/whoami").text == "nobody ['GET', '/whoami']"
answer = client.post("/login", data={"user": "ann"})
assert (answer.status_code, answer.location) == (302, "/whoami")
assert client.post("/login", data={"user": "ann"}, follow_redirects=True).text == "ann ['GET', '/whoami']"
assert client.get("/whoami").text.startswith("ann ")
with client.session_transaction() as stored:
    assert dict(stored) == {"user": "ann"}
signed, _, signature = client.get_cookie("session").value.rpartition(".")
client.set_cookie("session", f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}")
assert client.get("/whoami").text.startswith("nobody ")
assert app.test_client().get("/whoami").text.startswith("nobody ")
answer = client.post("/login", data={})
assert answer.status_code == 400 and "Bad Request" in answer.text

# JSON, streams, blueprints.
answer = client.post("/sum", json={"numbers": [1, 2, 39]})
assert answer.get_json() == {"sum": 42} and answer.is_json
assert client.post("/sum", data="[", content_type="application/json").status_code == 400
assert client.post("/sum", data="1").status_code == 415
assert client.get("/stream").data == b"0\n1\n2\n"
answer = client.get("/admin/where")
assert (answer.text, answer.headers["X-Admin"]) == ("/admin/where?page=2", "yes")

# Error pages: handlers of a status and of an exception class, werkzeug's own page, and a failure that is logged.
assert (client.get("/nowhere").status_code, client.get("/nowhere").text) == (404, "nothing at /nowhere")
assert (client.get("/locked").status_code, client.get("/locked").text) == (423, "locked: the door")
answer = client.get("/teapot")
assert answer.status_code == ImATeapot.code and ImATeapot.description.encode() in answer.data


class Kept(logging.Handler):
    records = []

    def emit(self, record):
        self.records.append(record)


app.logger.handlers[:] = [Kept()]
app.logger.propagate = False
answer = client.get("/broken")
assert answer.status_code == 500 and "Internal Server Error" in answer.text
[record] = Kept.records
assert record.getMessage() == "Exception on /broken [GET]" and record.exc_info[0] is ZeroDivisionError
app.testing = True
try:
    client.get("/broken")
except ZeroDivisionError as error:
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    assert trace.tb_frame.f_code.co_name == "broken"
else:
    raise AssertionError("with testing on, the error reaches the caller")

# The command line of the application, which click runs.
@app.cli.command("count")
@click.option("--by", default=1)
def count(by):
    click.echo(f"{current_app.name == app.name} {by + 1}")


runner = app.test_cli_runner()
assert runner.invoke(args=["count", "--by", "2"]).output == "True 3\n"
result = runner.invoke(routes_command, ["--sort", "rule"])
assert result.exit_code == 0 and "admin.where" in result.output, result.output

# Context locals are gone after the request.
try:
    request.path
except RuntimeError as error:
    assert "outside of request context" in str(error)
else:
    raise AssertionError("there is no request here")
with app.test_request_context("/items/1"):
    assert request.endpoint == "items" and url_for("items", count=3) == "/items/3"

print("ok: flask", importlib.metadata.version("flask"))
