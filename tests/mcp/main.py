"""Runs every row of this folder in sequence, and prints their results.

A row is a function named after the requirement that it covers. It takes the program's path, and returns figures or raises.
"""

import re
import sys

import clients
import conformance
from rows import run

found = [
    row
    for module in [clients, conformance]
    for name, row in vars(module).items()
    if re.match(r"gd\d+_", name) and row.__module__ == module.__name__
]

run("mcp", found, sys.argv[1], sys.argv[2:])
