"""Runs every row of this folder in sequence, and prints their results.

A row is a function named after what it shows, such as `zsh_completes_commands_and_options`. It takes the program's path, and returns
figures or raises.
"""

import sys

import exposure
import shells
import sidecar
from rows import rows_of, run

run("packaging", rows_of([shells, exposure, sidecar], "zsh_|fish_|man_|gd|hd|op"), sys.argv[1], sys.argv[2:])
