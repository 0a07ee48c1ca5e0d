"""Runs every row of this folder in sequence, and prints their results. A row takes the folder of the packages."""

import pathlib
import sys

import artifacts
import image
import installed
from rows import rows_of, run

run("packages", rows_of([artifacts, installed, image], "the_|no_|packing_"), pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:])
