"""What was measured, and on what."""

import os
import pathlib
import re
import subprocess


def measured_on(program):
    """The version of the program, and the processor."""
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{version}, {os.cpu_count()} cores of {model[1] if model else 'an unnamed processor'}"
