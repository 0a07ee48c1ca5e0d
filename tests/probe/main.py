"""Runs every row of this folder in sequence, and prints their results.

A row takes the path of the program, and returns figures or raises.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

from rows import run, table
from world import free_port

from changes import CHANGES
from holes import HOLES, NEW
from small_apis import AUDIENCE, LANGUAGES, NONE, issuer_address, serving

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The most that a probe may take (GD5), and by when it has certainly hung.
MOST_SECONDS, HUNG_SECONDS = 10, 120


def probe(program, url, issuer, *more):
    """Probes an API, and returns how that ended."""
    command = [program, "probe", url, "--issuer", issuer, "--audience", AUDIENCE, "--scope", "orders:read", "--other-scope", "orders:write", *more]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEALWRIGHT_")}
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HUNG_SECONDS)


def report_on(program, library, hole, codes, change=None):
    """The report on one API, after which the probe must exit with one of these codes."""
    with issuer_address() as issuer, serving(program, library, hole, issuer, change) as (url, said):
        done = probe(program, url, issuer, "--json")
        assert done.returncode in codes, f"exit code {done.returncode} instead of {codes}: {done.stdout}{done.stderr}{said()}"
    report = json.loads(done.stdout)
    assert report["seconds"] < MOST_SECONDS, f"it took {report['seconds']} s"
    return report


def kinds(report):
    """The kinds of what must be fixed."""
    return [finding["kind"] for finding in report["findings"] if finding["severity"] != "note"]


def shown(finding):
    evidence = [f"{shot['name']} ({shot['answer']})" for shot in finding["evidence"]]
    return f"    {finding['severity']} {finding['kind']}: {'; '.join(evidence[:5])}{f'; {len(evidence) - 5} more' if len(evidence) > 5 else ''}"


def fault_of_hole(report, hole):
    """What the report on an API with this hole got wrong; empty if nothing."""
    if sorted(kinds(report)) != sorted([hole.kind, *hole.also]):
        return f"it found {kinds(report)} instead of {[hole.kind, *hole.also]}:\n" + "\n".join(map(shown, report["findings"]))
    return fault_of_line(report, hole)


def fault_of_line(report, planted):
    """What is wrong with the line to change for what was planted; empty if nothing."""
    finding = next((finding for finding in report["findings"] if finding["kind"] == planted.kind), None)
    if not finding:
        return f"no {planted.kind} among:\n" + "\n".join(map(shown, report["findings"]))
    name = {"spring": "spring-security"}.get(planted.library, planted.library)
    [line] = [line["line"] for line in finding["lines"] if line["library"] == name] or [finding["fix"]]
    return "" if planted.line in line else f"the line to change is {line!r}, without {planted.line!r}"


def each_of(asked, names):
    """Calls `asked` for each, and fails with all that failed."""
    faults = []
    for name in names:
        try:
            fault = asked(name)
        except AssertionError as error:
            fault = str(error)
        if fault:
            faults.append(f"{name}: {fault}")
    assert not faults, "\n".join(faults)


def gd5_each_of_25_planted_holes_is_found_with_the_line_to_change(program):
    """25 APIs in five languages with one hole each, a third of them of kinds that no hostile token had before the probe."""
    rows = []

    def asked(hole):
        report = report_on(program, hole.library, hole.name, [1])
        rows.append([hole.library, hole.name, ", ".join(kinds(report)), report["sent"], report["seconds"]])
        return fault_of_hole(report, hole)

    assert len(HOLES) == 25 and len({LANGUAGES[hole.library] for hole in HOLES}) == 5 and 3 * len(NEW) >= len(HOLES)
    each_of(asked, HOLES)
    table(["library", "planted", "found", "requests", "seconds"], rows)
    return f"{len(rows)} of {len(HOLES)} found, {len(NEW)} of new kinds, the slowest in {max(row[4] for row in rows)} s"


def gd5_no_library_that_is_set_up_right_is_reported(program):
    """No hole and no weakness, and the exit code 0."""
    rows = []

    def asked(library):
        report = report_on(program, library, NONE, [0])
        notes = [shown(finding) for finding in report["findings"]]
        print(f"{library}:", *notes, sep="\n", flush=True)
        rows.append([library, len(kinds(report)), len(notes), report["sent"], report["seconds"]])
        return kinds(report) and f"reported: {kinds(report)}"

    each_of(asked, LANGUAGES)
    table(["library", "to fix", "notes", "requests", "seconds"], rows)
    return f"{len(rows)} libraries, 0 false alarms, the slowest in {max(row[4] for row in rows)} s"


def gd5_each_line_to_change_is_what_the_api_that_is_set_up_right_has(program):
    """Without the line, the probe finds what the line is for. With it, it finds nothing: see the row before."""

    def asked(change):
        return fault_of_line(report_on(program, change.library, NONE, [0, 1], change), change)

    each_of(asked, CHANGES)
    return f"{len(CHANGES)} lines"


def gd5_the_recipe_of_the_page_runs_as_printed_and_finds_nothing(program):
    """The commands that docs/probe.md gives for CI, with the API of examples/express that uses jose, which a CI system would have copied."""
    found = re.findall(r"^<!-- run -->\n```sh\n(.*?)^```$", (ROOT / "docs/probe.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"the page has {len(found)} recipes"
    ports = {"9000": str(free_port()), "3000": str(free_port())}
    recipe = re.sub("|".join(ports), lambda port: ports[port[0]], found[0])
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "examples/express", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
        path = f"{pathlib.Path(program).parent}:{os.environ['PATH']}"
        command, environment = ["bash", "-euo", "pipefail", "-c", recipe], {**os.environ, "PATH": path}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=HUNG_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        suites = xml.etree.ElementTree.parse(f"{folder}/probe.xml").getroot()
        tests = suites.findall("testsuite/testcase")
        assert len(tests) == 27 and suites.get("failures") == "0", suites.attrib
        sarif = json.loads(pathlib.Path(folder, "probe.sarif").read_text())
    levels = {result["level"] for result in sarif["runs"][0]["results"]}
    assert levels <= {"note"}, levels
    return f"{len(tests)} tests of JUnit, {len(sarif['runs'][0]['results'])} notes"


ROWS = [
    gd5_each_of_25_planted_holes_is_found_with_the_line_to_change,
    gd5_no_library_that_is_set_up_right_is_reported,
    gd5_each_line_to_change_is_what_the_api_that_is_set_up_right_has,
    gd5_the_recipe_of_the_page_runs_as_printed_and_finds_nothing,
]

if __name__ == "__main__":
    run("probe", ROWS, sys.argv[1], sys.argv[2:])
