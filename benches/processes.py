"""What processes cost, by proc(5)."""

import os
import pathlib


def with_descendants(process):
    """A process, and the processes that it has started, by their ids."""
    found = [process]
    for each in found:
        for task in pathlib.Path(f"/proc/{each}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(process):
    """User and system time of a process and its descendants: the fields utime and stime of stat."""
    total = 0
    for each in with_descendants(process):
        fields = open(f"/proc/{each}/stat").read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")
