"""Runs every row of this folder in sequence, and prints their results.

A row is a function named after the requirement that it covers. It takes the program's path, and returns figures or raises.
"""

import sys

import clients
import conformance
import hostile
from rows import rows_of, run

run("mcp", rows_of([clients, hostile, conformance], r"gd\d+_"), sys.argv[1], sys.argv[2:])
