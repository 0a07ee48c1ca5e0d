"""Runs every row of this folder in sequence, and prints their results.

A row is a function named after the requirements that it covers, such as `op5_a_pooler_in_session_mode_works`. It takes the
program's path, and returns figures or raises.
"""

import importlib
import pathlib
import sys

from rows import rows_of, run

HERE = pathlib.Path(__file__).parent
modules = [importlib.import_module(path.stem) for path in sorted(HERE.glob("*.py")) if path.stem != "main"]

run("operation", rows_of(modules, r"(op|hd|gd)\d+_"), sys.argv[1], sys.argv[2:])
