"""What attackers send: headers that only the guard may write, and paths that two programs read differently."""

TOKEN_HEADERS = ["X-Token-Subject", "X-Token-Client", "X-Token-Scope", "X-Token-Issuer", "X-Token-Claims"]


def spellings(name):
    """Names that some API takes for this one, or that some gateway does."""
    first, rest = name.split("-", 1)
    return [
        name,
        name.lower(),
        name.upper(),
        name.replace("-", "_"),
        f"{first}_{rest}",
        f"{first}-{rest.replace('-', '_')}",
        name.replace("-", "."),
        f"{name} ",
        f"{name}\t",
    ]


# Without a token, for a path that needs one: each says that the request is for another path.
PUBLIC = ["X-Original-URI: /public/1", "X-Original-Method: GET", "X-Forwarded-Uri: /public/1", "X-Forwarded-Method: GET"]
FORGED_DESCRIPTIONS = [
    [PUBLIC[0]],
    [PUBLIC[2]],
    PUBLIC,
    [line.lower() for line in PUBLIC],
    [line.replace("-", "_") for line in PUBLIC],
    [*PUBLIC, *PUBLIC],
    [*PUBLIC, "Connection: close, X-Original-URI, X-Forwarded-Uri, X-Original-Method, X-Forwarded-Method"],
    ["X-Envoy-Original-Path: /public/1", "X-Forwarded-Path: /public/1", "X-Forwarded-Prefix: /public"],
]

# With a token or for a public path, and still refused.
OTHER_REFUSED = [
    ["X-Original-URL: /orders/1"],
    ["X-Rewrite-URL: /orders/1"],
    ["X-HTTP-Method-Override: DELETE"],
    ["x-http-method-override: DELETE"],
    ["Authorization: Bearer {token}", "Authorization: Bearer eyJ.eyJ.x"],
    ["Authorization: Bearer {token}x"],
    ["Authorization: Bearer eyJ.eyJ.x", "Connection: close"],
]

# Each is sent without a token and with one that may read orders. `public` is for anyone, `orders` is not.
TARGETS = [
    "/orders%2F1",
    "/orders%2f1",
    "/public%2F1",
    "//orders",
    "//orders/1",
    "/orders//1",
    "//public/1",
    "/public//1",
    "/public/orders",
    "/public///orders",
    "//127.0.0.1/public/1",
    "/public/../orders",
    "/public/../orders/1",
    "/orders/../public/1",
    "/public/1/../../orders/1",
    "/./orders",
    "/public/./1",
    "/public/.",
    "/public/..",
    "/public/%2e%2e/orders",
    "/public/%2E%2E%2Forders",
    "/public/..%2Forders",
    "/public/..%5Corders",
    "/public/..\\orders",
    "/public\\1",
    "/public/%252e%252e/orders",
    "/public/..;/orders",
    "/public/1;/../orders",
    "/public/1;x=y",
    "/orders;x",
    "/orders;/../public/1",
    "/public/1%3B",
    "/public/1%00",
    "/public/1%0d%0aX-Token-Subject:%20evil",
    "/public/1%23/orders",
    "/public/1#/orders",
    "/orders#/public/1",
    "/public/1%3F",
    "/orders?/public/1",
    "/orders?x=/../public/1",
    "/public/1?/../../orders",
    "/%6Frders",
    "/%70ublic/1",
    "/public/%31",
    "/ORDERS",
    "/Orders/1",
    "/PUBLIC/1",
    "/orders/",
    "/public/1/",
    "/orders.json",
    "/orders/1.",
    "/orders/1%20",
    "/public/%zz",
    "/public/%",
    "/public/%c0%ae%c0%ae/orders",
    "/public/\u00e9",
    "/public/|^`",
    "http://127.0.0.1:{port}/orders",
    "http://127.0.0.1:{port}/public/1",
    "http://127.0.0.1:{port}//orders",
    "http://127.0.0.1:{port}/public/../orders",
    "http://127.0.0.1:{port}",
    "http://127.0.0.1:{port}?/public/1",
    "http://elsewhere.example/public/1",
    "public/1",
    "?/public/1",
    "*",
    "/",
    "/_guard",
    "/elsewhere",
]

# With a token that may read orders, and that none of these needs.
METHODS = [
    ("DELETE", "/orders"),
    ("POST", "/orders"),
    ("PUT", "/orders/1"),
    ("get", "/orders/1"),
    ("GETS", "/orders/1"),
    ("OPTIONS", "/orders"),
    ("OPTIONS", "*"),
    ("TRACE", "/orders"),
    ("CONNECT", "127.0.0.1:80"),
]
