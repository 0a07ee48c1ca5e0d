"""Runs every row of this folder in sequence, and prints their results.

A row is a function named after the requirements that it covers, such as `gd1_caddy_admits_good_tokens_and_nothing_else`. It takes the
program's path, and returns figures or raises.
"""

import sys

import admission
import page
from rows import rows_of, run

run("gateways", rows_of([page, admission], r"gd\d+_"), sys.argv[1], sys.argv[2:])
