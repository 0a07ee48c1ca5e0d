"""Runs docs/node.md as it is printed: see tests/from_zero/printed.py. As a program, it takes the folder of `sealwright`."""
# needs: curl=curl redis-server=redis-server

import os
import pathlib
import re
import subprocess
import sys

from printed import Failure, Page, require_programs

PAGE = Page("node.md", ports=(3000, 4000, 6380, 8080, 8081, 8090, 9000, 9001, 9002, 9003, 9100, 9190), least=26)
ROOT = pathlib.Path(__file__).resolve().parents[2]


def the_page_does_what_it_says(program):
    """Each block in an empty folder, from `npm init` to a signed-in user."""
    done = subprocess.run([sys.executable, __file__, str(pathlib.Path(program).parent)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def the_excerpts_of_the_page_are_from_the_examples(_):
    """A block after `<!-- from FILE -->` is a part of this file, word for word."""
    excerpts = re.findall(r"^<!-- from (\S+) -->\n```\w+\n(.*?)^```$", PAGE.text, re.MULTILINE | re.DOTALL)
    assert excerpts, "the page has none"
    for file, excerpt in excerpts:
        assert excerpt in (ROOT / file).read_text(), f"this is not in {file}:\n{excerpt}"
    return f"{len(excerpts)} excerpts"


def main():
    require_programs([("node", "nodejs"), ("npm", "npm"), ("curl", "curl"), ("redis-server", "redis-server")])
    path = {"PATH": f"{sys.argv[1]}:{os.environ['PATH']}"}
    PAGE.run_isolated(
        download=lambda: PAGE.run_before(r"npm |cp -r sealwright/"),
        offline={"npm_config_offline": "true"},
        environment=path,
    )


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(str(failure))
