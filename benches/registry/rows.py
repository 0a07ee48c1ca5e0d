"""Rows of many clients and logins, copied from those that the server and its commands have made."""

import hashlib
import random
import uuid

from issuer import base64url, basic, client_secret, secret_digest
from loaded_server import CLIENT, REFRESHING

# How many spans and logins the server puts in a status list before it begins another one.
SPANS_OF_LIST, LOGINS_OF_LIST, POSITIONS = 2_949, 545_259, 1 << 20


def bits(name, count):
    """As good as random, and the same each time."""
    return hashlib.sha256(name.encode()).digest()[:count]


def client_id(number):
    return f"client-{number:07}"


def secret_of_client(number):
    return client_secret(number, bits(f"secret {number}", 32))


def user_sub(number):
    return str(uuid.UUID(bytes=bits(f"user {number}", 16), version=4))


def write_authorizations(file, numbers):
    """Writes the `Authorization` of each of these clients on a line of its own."""
    with file.open("w") as lines:
        lines.writelines(basic(client_id(number), secret_of_client(number)[1]) + "\n" for number in numbers)


def places(count, of_list, width):
    """The status list and the position of so many spans of a width: at random, in lists as full as the server makes them."""
    lists, taken = [], []
    for first in range(0, count, of_list):
        lists.append(base64url(random.randbytes(16)))
        chosen = random.sample(range(POSITIONS // width), min(of_list, count - first))
        taken += [(lists[-1], place * width) for place in chosen]
    return lists, taken


def secrets(count):
    for number in range(count):
        id, secret = secret_of_client(number)
        yield {"id": id, "client_id": client_id(number), "digest": secret_digest(secret)}


def insert(database, count):
    """Inserts so many clients, each with a user who has a login of it. Both have a place in a status list: they have had tokens before."""
    numbers = range(count)
    client, user = database.row("clients", id=CLIENT), database.row("users", username=REFRESHING)
    login = database.row("logins", sub=user["sub"])

    def copy(table, row, changes):
        database.insert(table, list(row), (tuple((row | change).values()) for change in changes))

    copy("clients", client, ({"id": client_id(number)} for number in numbers))
    copy("client_permissions", database.row("client_permissions", client_id=CLIENT), ({"client_id": client_id(number)} for number in numbers))
    copy("client_secrets", database.row("client_secrets", client_id=CLIENT), secrets(count))
    copy("users", user, ({"sub": user_sub(number), "username": f"user-{number:07}"} for number in numbers))
    copy("user_permissions", database.row("user_permissions", sub=user["sub"]), ({"sub": user_sub(number)} for number in numbers))

    span = database.row("status_spans", client_id=CLIENT)
    lists, taken = places(count, SPANS_OF_LIST, span["width"])
    # The server goes on with its own lists, which are newer.
    own = database.row("status_lists", width=span["width"])
    copy("status_lists", own, ({"id": id, "created_at": own["created_at"] - 3600} for id in lists))
    copy("status_spans", span, ({"list_id": id, "start": start, "client_id": client_id(number)} for number, (id, start) in enumerate(taken)))
    lists, taken = places(count, LOGINS_OF_LIST, 1)
    own = database.row("status_lists", width=1)
    copy("status_lists", own, ({"id": id, "created_at": own["created_at"] - 3600} for id in lists))
    copy("logins", login, (
        {"id": base64url(bits(f"login {number}", 16)), "sub": user_sub(number), "client_id": client_id(number), "status_list": id, "status_index": at}
        for number, (id, at) in enumerate(taken)))
    database.finish()
