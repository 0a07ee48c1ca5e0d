"""The API of paths.mjs in Django."""

from urllib.parse import quote

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path, re_path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x", MIDDLEWARE=["django.middleware.common.CommonMiddleware"])
django.setup()


def marked(handler, id=""):
    return HttpResponse("in", headers={"X-Handler": handler, "X-Id": quote(id, safe="")})


def order(request, id):
    return marked("delete" if request.method == "DELETE" else "read", id)


urlpatterns = [
    path("admin", lambda request: marked("admin")),
    path("admin/<path:rest>", lambda request, rest: marked("admin")),
    path("orders/<str:id>", order),
    path("users/<str:id>", lambda request, id: marked("user", id)),
    re_path(r"^.*$", lambda request: marked("public")),
]
app = get_wsgi_application()
