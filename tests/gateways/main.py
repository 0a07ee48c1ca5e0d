"""Runs every row of this folder in sequence, and prints their results.

A row is a function named after the requirements that it covers, such as `gd1_caddy_admits_good_tokens_and_nothing_else`. It takes the
program's path, and returns figures or raises.
"""

import re
import sys

import admission
import page
from rows import run

modules = [page, admission]
found = [
    row
    for module in modules
    for name, row in vars(module).items()
    if re.match(r"gd\d+_", name) and row.__module__ == module.__name__
]

run("gateways", found, sys.argv[1], sys.argv[2:])
