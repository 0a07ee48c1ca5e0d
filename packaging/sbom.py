"""Reads what cargo-cyclonedx writes, and prints it without what differs between two builds: times, and the folder of the sources, the argument."""

import json
import sys


def main():
    [folder] = sys.argv[1:]
    sbom = json.load(sys.stdin)
    sbom.pop("serialNumber", None)
    sbom["metadata"].pop("timestamp", None)
    text = json.dumps(sbom, indent=1, ensure_ascii=False).replace(f"path+file://{folder}", "path+file:///sealwright")
    if folder in text:
        sys.exit(f"packaging/sbom.py: {folder} is in the SBOM in a form that is not expected: change packaging/sbom.py")
    print(text)


main()
