"""Runs rows in sequence, and prints their results and their tables."""

import re
import sys
import time
import traceback


def rows_of(modules, names):
    """The functions that these modules define and whose names begin as the pattern `names` says."""
    return [
        row
        for module in modules
        for name, row in vars(module).items()
        if re.match(names, name) and getattr(row, "__module__", "") == module.__name__
    ]


def run(part, rows, program, wanted):
    """Runs the named rows, or all, and exits with 1 if one fails. A row takes the path of the program, and returns figures or raises."""
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
    print(f"{part}: {failed} failed of {len(wanted) or len(rows)}")
    sys.exit(1 if failed or not rows else 0)


def table(columns, rows):
    lines = [columns, ["---"] * len(columns), *rows]
    print("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines), flush=True)
