"""Runs the rows, one after the other, and prints what each cost."""

import sys
import time
import traceback

import connections
import databases

ROWS = [
    databases.database_gone,
    databases.slow_database,
    databases.pool_exhaustion,
    databases.disk_full,
    databases.read_only_disk,
    databases.log_volume_full,
    connections.slow_loris,
    connections.idle_connections,
    connections.huge_requests,
    connections.rolling_restarts,
]

program, wanted = sys.argv[1], sys.argv[2:]
unknown = set(wanted) - {row.__name__ for row in ROWS}
if unknown:
    sys.exit(f"no such row: {', '.join(sorted(unknown))}")
failed = 0
for row in ROWS:
    if wanted and row.__name__ not in wanted:
        continue
    began = time.monotonic()
    try:
        figures = row(program)
        print(f"ok     {row.__name__} ({time.monotonic() - began:.0f} s): {figures}", flush=True)
    except Exception:
        failed += 1
        print(f"FAILED {row.__name__}: {row.__doc__}", flush=True)
        traceback.print_exc()
print(f"faults: {failed} failed")
sys.exit(1 if failed else 0)
