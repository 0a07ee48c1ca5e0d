"""Runs every row of this folder in sequence, and prints their results.

A row is a function named after the requirements that it covers, such as `op5_a_pooler_in_session_mode_works`. It takes the
program's path, and returns figures or raises.
"""

import importlib
import pathlib
import re
import sys

from rows import run

HERE = pathlib.Path(__file__).parent
modules = [importlib.import_module(path.stem) for path in sorted(HERE.glob("*.py")) if path.stem != "main"]
found = [
    row
    for module in modules
    for name, row in vars(module).items()
    if re.match(r"(op|hd|gd)\d+_", name) and row.__module__ == module.__name__
]

run("operation", found, sys.argv[1], sys.argv[2:])
