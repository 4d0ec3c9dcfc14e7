"""What a fused chain allocates, and that memory stays flat.

Claims: a fused chain allocates its output and nothing else; 10,000 evaluations leave memory as it was.
"""

import gc
import os
import resource
import sys
from pathlib import Path

import numpy as np
from side_by_side import table, verdict

import toonygrad as xp

EVALUATIONS = 10_000


def chain(a, b, c):
    return (a + b) * c - a / 2 + b * b


def resident_bytes() -> int:
    """Memory of this process that lies in RAM; where the system does not tell, the most there ever was."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def growth(evaluations: int, operands: list) -> int:
    gc.collect()
    before = resident_bytes()
    for _ in range(evaluations):
        xp.realize(chain(*operands))
    gc.collect()
    return resident_bytes() - before


def main() -> None:
    random = np.random.default_rng(0)
    large, small = ([xp.asarray(random.random(n)) for _ in range(3)] for n in (4_000_000, 1000))

    before = xp.counters().bytes_allocated
    result = chain(*large).block_until_ready()
    allocated = xp.counters().bytes_allocated - before
    output = result.size * 8
    del result

    rows = []
    grown = {}
    for name, operands, evaluations in (
        ("4 M elements", large, EVALUATIONS // 100),
        ("1,000 elements, compiled", small, EVALUATIONS),
    ):
        with xp.config(compile="always"):
            growth(200, operands)  # what is kept on purpose: plans, the pool, Python's own free lists
            grown[name] = growth(evaluations, operands)
        rows.append((name, f"{evaluations:,}", f"{grown[name] / 2**20:+.2f}"))
    growth(200, small)
    grown["small"] = growth(EVALUATIONS, small)
    rows.append(("1,000 elements, automatic", f"{EVALUATIONS:,}", f"{grown['small'] / 2**20:+.2f}"))
    print(table(("resident memory", "evaluations", "MiB"), rows), end="\n\n")

    print(verdict("allocated for the chain, in outputs", allocated / output, "times", most=1))
    # A leak of one small Python object an evaluation would be 0.5 MiB in 10,000.
    print(verdict("growth over the loops", max(grown.values()) / 2**20, "MiB", most=0.5))


if __name__ == "__main__":
    main()
