"""Runs every row of this folder in sequence, and prints their results.

A row is a function whose name begins with the suite that it runs, such as `h2spec_finds_nothing_at_the_public_listener`. It takes the
program's path, and returns figures or raises. What a suite objects to is a failure, unless the row's file gives an argument for it.
"""

import sys

import http2
import http2_client
import slow_callers
import tls
from rows import run

SUITES = ("h2spec_", "testssl_", "slowhttptest_")
MODULES = [http2, http2_client, tls, slow_callers]
found = [row for module in MODULES for name, row in vars(module).items() if name.startswith(SUITES) and callable(row)]

run("suites", found, sys.argv[1], sys.argv[2:])
