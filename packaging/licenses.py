"""Prints the licenses of all that is linked into the binary for the target that the argument names: crates, their C libraries, musl, Rust."""

import collections
import html
import json
import pathlib
import re
import subprocess
import sys

FILES = re.compile(r"(LICEN[CS]E|COPYING|COPYRIGHT|NOTICE|UNLICENSE)", re.IGNORECASE)
MUSL = pathlib.Path("/usr/share/doc/musl-dev/copyright")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def crates(target):
    """The packages that the binary is built from. Those that only build others are among them: one of them brings OpenSSL."""
    metadata = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target))
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    wanted, found = [metadata["resolve"]["root"]], set()
    while wanted:
        package = wanted.pop()
        if package not in found:
            found.add(package)
            dependencies = nodes[package]["deps"]
            wanted += [each["pkg"] for each in dependencies if any(kind["kind"] != "dev" for kind in each["dep_kinds"])]
    return [package for package in metadata["packages"] if package["id"] in found]


def texts(folder, depth=3):
    """The texts of licenses in a folder of sources, also in those of libraries that it has copied."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if len(inside.parts) <= depth and path.is_file() and FILES.match(path.name) and path.suffix not in {".rs", ".py", ".json", ".c", ".h"}:
            yield path.read_text(errors="replace").strip()


def plain(page):
    """The text of a page of HTML, without its many empty lines."""
    text = html.unescape(re.sub(r"<style.*?</style>|<[^>]+>", "", page, flags=re.DOTALL))
    return re.sub(r"\s*\n\s*\n", "\n\n", text).strip()


def main():
    users = collections.defaultdict(set)
    for package in crates(sys.argv[1]):
        name = f"{package['name']} {package['version']} ({package['license'] or 'see below'})"
        folder = pathlib.Path(package["manifest_path"]).parent
        # That of Sealwright is a file of its own.
        found = list(texts(folder)) if package["source"] else []
        for text in found or ["No text of its own: the name of the license is in brackets above."] * bool(package["source"]):
            users[text].add(name)
    rust = pathlib.Path(run("rustc", "--print", "sysroot").strip(), "share/doc/rust/COPYRIGHT-library.html")
    for name, path in {"musl": MUSL, "Rust's standard library": rust}.items():
        if not path.is_file():
            sys.exit(f"packaging/licenses.py: missing: {path}, the license of {name}")
        users[plain(path.read_text()) if path.suffix == ".html" else path.read_text().strip()].add(name)
    print("The licenses of what is linked into sealwright, each with those that it is for.")
    for text, names in sorted(users.items(), key=lambda found: sorted(found[1])):
        print(f"\n{'=' * 80}\n{chr(10).join(sorted(names))}\n{'-' * 80}\n\n{text}")


main()
