"""Serves a request."""

import flask

app = flask.Flask("soak")


@app.route("/<name>")
def hello(name):
    return flask.render_template_string("hello {{ name }}", name=name)


answer = app.test_client().get("/world")
assert (answer.status_code, answer.text) == (200, "hello world"), answer
