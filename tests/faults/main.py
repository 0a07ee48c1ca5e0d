"""Runs the rows in sequence, and prints how long each took."""

import sys

import connections
import databases
from rows import run

ROWS = [
    databases.database_gone,
    databases.slow_database,
    databases.op18_pool_exhaustion,
    databases.disk_full,
    databases.read_only_disk,
    databases.log_volume_full,
    connections.slow_loris,
    connections.idle_connections,
    connections.huge_requests,
    connections.rolling_restarts,
]

run("faults", ROWS, sys.argv[1], sys.argv[2:])
