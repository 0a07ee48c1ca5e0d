"""Runs every row of this folder in sequence, and prints their results.

A row is a function whose name begins with the suite that it runs, such as `h2spec_passes_at_the_public_listener`. It takes the
program's path, and returns figures or raises. What a suite objects to is a failure, unless the row's file gives an argument for it.
"""

import sys

import http2
import http2_client
import slow_callers
import tls
from rows import rows_of, run

run("suites", rows_of([http2, http2_client, tls, slow_callers], "h2spec_|testssl_|slowhttptest_"), sys.argv[1], sys.argv[2:])
