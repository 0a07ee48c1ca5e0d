"""The API of paths.mjs in Flask."""

from urllib.parse import quote

from flask import Flask, request

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class MethodOverride:
    """As in Flask's documentation."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        method = environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", "").upper()
        if method in METHODS:
            environ["REQUEST_METHOD"] = method
        return self.app(environ, start_response)


def marked(handler, id=""):
    return "in", 200, {"X-Handler": handler, "X-Id": quote(id, safe="")}


flask = Flask(__name__)


@flask.route("/admin", methods=METHODS)
@flask.route("/admin/<path:rest>", methods=METHODS)
def admin(rest=""):
    return marked("admin")


@flask.route("/orders/<id>", methods=METHODS)
def order(id):
    return marked("delete" if request.method == "DELETE" else "read", id)


@flask.route("/users/<id>", methods=METHODS)
def user(id):
    return marked("user", id)


@flask.route("/", methods=METHODS)
@flask.route("/<path:rest>", methods=METHODS)
def public(rest=""):
    return marked("public")


app = MethodOverride(flask)
