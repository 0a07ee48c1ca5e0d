"""Runs every row of this folder in sequence, and prints their results.

A row is a function named after what it shows, such as `zsh_completes_commands_and_options`. It takes the program's path, and returns
figures or raises.
"""

import sys

import exposure
import shells
import sidecar
from rows import run

MODULES = [shells, exposure, sidecar]
PREFIXES = ("zsh_", "fish_", "man_", "gd", "hd", "op")
found = [row for module in MODULES for name, row in vars(module).items() if name.startswith(PREFIXES) and getattr(row, "__module__", "") == module.__name__]

run("packaging", found, sys.argv[1], sys.argv[2:])
