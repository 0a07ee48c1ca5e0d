"""Runs programs of others."""

import subprocess

from languages import Failure


def run(folder, *command):
    """What a program prints in this folder. Fails with all that it said if it fails."""
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
