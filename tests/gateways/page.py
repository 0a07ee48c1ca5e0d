"""The page prints what the other rows test."""

import pathlib
import re
import textwrap

from gateways import EXAMPLES

PAGE = pathlib.Path(__file__).parents[2] / "docs/gateways.md"


def gd1_the_page_prints_lines_of_the_tested_files(_):
    """Every block of configuration in docs/gateways.md stands in the file of examples/gateways that is named above it."""
    text = PAGE.read_text()
    blocks = re.findall(r"^<!-- from: (\S+) -->\n```\w*\n(.*?)^```$", text, re.M | re.S)
    assert len(blocks) >= 5, f"{len(blocks)} blocks"
    marked = len(re.findall(r"^<!-- from: ", text, re.M))
    assert marked == len(blocks), f"{marked} files are named, and {len(blocks)} blocks follow"
    for name, block in blocks:
        lines = (EXAMPLES / name).read_text().splitlines()
        printed = block.splitlines()
        parts = [lines[at : at + len(printed)] for at in range(len(lines))]
        # A block is printed without the indentation of the blocks around it.
        assert any(textwrap.dedent("\n".join(part)).splitlines() == printed for part in parts), f"not in {name}:\n{block}"
    return f"{len(blocks)} blocks"
