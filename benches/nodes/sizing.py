"""Prints the tables of docs/sizing.md that follow from the CPU time of a token: cores, and nodes, for a load.

    python3 benches/nodes/sizing.py                                 # with the costs of that page
    python3 benches/nodes/sizing.py "RSA, 2048 bits=430" "Ed25519=66"        # with others, in µs
"""

import sys

# µs of CPU time per token.
COSTS = {"RSA, 2048 bits": 500, "RSA, 3072 bits": 1_200, "RSA, 4096 bits": 2_500, "ES256": 100, "Ed25519": 80}
LOADS = [10, 100, 1_000, 10_000, 100_000, 1_000_000]
CORES = [4, 8, 16]
# Of the cores, in percent, and nodes that may fail.
USED, SPARE = 60, 1
SECOND = 1_000_000


def nodes(load, cost, cores):
    """Rounded up, in whole numbers."""
    return -(-load * cost * 100 // (cores * USED * SECOND)) + SPARE


def line(*cells):
    print("".join(f"| {cell} " if cell else "| " for cell in cells) + "|")


def head(*cells):
    line(*cells)
    print("|---" * len(cells) + "|")


def main():
    costs = {name: int(cost) for name, cost in (argument.rsplit("=", 1) for argument in sys.argv[1:])} or COSTS
    head("", *costs)
    line("CPU time of a token", *(f"{cost:,} µs" for cost in costs.values()))
    line("tokens a second of one core", *(f"{SECOND / cost:,.0f}" for cost in costs.values()))
    for load in LOADS:
        line(f"cores in use at {load:,} tokens a second", *(f"{load * cost / SECOND:,.4g}" for cost in costs.values()))
    print()
    head(f"nodes of {', '.join(map(str, CORES[:-1]))} or {CORES[-1]} cores for", *costs)
    for load in LOADS:
        line(f"{load:,} tokens a second", *(", ".join(f"{nodes(load, cost, cores):,}" for cores in CORES) for cost in costs.values()))


main()
