"""What processes cost, by proc(5) and their clocks."""

import contextlib
import os
import pathlib
import time


def with_descendants(process):
    """A process, and the processes that it has started, by their ids."""
    found = [process]
    for each in found:
        # It may have ended since.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in pathlib.Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(process):
    """CPU time of a process and its descendants, with those that have ended."""
    return sum(map(own_cpu_seconds, with_descendants(process)))


def own_cpu_seconds(process):
    try:
        # The clock of the process (clock_getcpuclockid(3)) is exact; the fields utime and stime of stat count hundredths of a second.
        own = time.clock_gettime(~process << 3 | 2)
        fields = open(f"/proc/{process}/stat").read().rsplit(")", 1)[1].split()
    except OSError:
        # It has ended since, and counts among those of its parent.
        return 0
    # The fields cutime and cstime of stat.
    return own + (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def resident_mib(process, field="VmRSS"):
    """Resident memory of a process and its descendants; `VmHWM` is its maximum so far."""
    total = 0
    for each in with_descendants(process):
        lines = pathlib.Path(f"/proc/{each}/status").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    return total / 1024
