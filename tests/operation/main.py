"""Runs every row of this folder, one after the other, and prints what each showed.

A row is a function named after the requirements that it covers, such as `op5_a_pooler_in_session_mode_works`. It takes the
program's path, and returns figures or raises.
"""

import importlib
import pathlib
import re
import sys
import time
import traceback

HERE = pathlib.Path(__file__).parent
modules = [importlib.import_module(path.stem) for path in sorted(HERE.glob("*.py")) if path.stem != "main"]
rows = [
    row
    for module in modules
    for name, row in vars(module).items()
    if re.match(r"(op|hd)\d+_", name) and row.__module__ == module.__name__
]

program, wanted = sys.argv[1], sys.argv[2:]
unknown = set(wanted) - {row.__name__ for row in rows}
if unknown:
    sys.exit(f"no such row: {', '.join(sorted(unknown))}")
failed = 0
for row in rows:
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
print(f"operation: {failed} failed of {len(wanted) or len(rows)}")
sys.exit(1 if failed or not rows else 0)
