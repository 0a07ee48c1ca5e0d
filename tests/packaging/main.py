"""Runs every row of this folder in sequence, and prints their results.

A row is a function named after what it shows, such as `zsh_completes_commands_and_options`. It takes the program's path, and returns
figures or raises.
"""

import sys

import shells
from rows import run

found = [row for name, row in vars(shells).items() if name.startswith(("zsh_", "fish_", "man_")) and row.__module__ == "shells"]

run("packaging", found, sys.argv[1], sys.argv[2:])
