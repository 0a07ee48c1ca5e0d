"""The API of paths.mjs in FastAPI."""

from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
app = FastAPI()


def marked(handler, id=""):
    return PlainTextResponse("in", headers={"X-Handler": handler, "X-Id": quote(id, safe="")})


@app.api_route("/admin", methods=METHODS)
@app.api_route("/admin/{rest:path}", methods=METHODS)
async def admin(rest: str = ""):
    return marked("admin")


@app.api_route("/orders/{id}", methods=METHODS)
async def order(id: str, request: Request):
    return marked("delete" if request.method == "DELETE" else "read", id)


@app.api_route("/users/{id}", methods=METHODS)
async def user(id: str):
    return marked("user", id)


@app.api_route("/{rest:path}", methods=METHODS)
async def public(rest: str):
    return marked("public")
