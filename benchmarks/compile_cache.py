"""What compiling the rows' kernels costs, and loading them from disk in the next process.

    python benchmarks/compile_cache.py
    python benchmarks/compile_cache.py --only 'chain*' softmax

Claims: a kernel takes at most 100 ms to compile in the median over the rows, planning included; the next
process loads it in at most 5 ms and compiles none.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import machine
import numpy as np
from rows import named
from side_by_side import table, verdict

# Large enough that every kernel has the form it has at full size, small enough to compute in no time.
SCALE = 0.1


def child(names: Sequence[str]) -> None:
    """Print what the first realization of each row takes beyond the next, which only computes."""
    import toonygrad as xp

    random = np.random.default_rng(0)
    found = {}
    for row in named(names):
        arrays = [xp.asarray(operand.make(random, SCALE)) for operand in row.inputs]
        times = []
        before = xp.counters()
        for _ in range(2):
            start = time.perf_counter()
            result = row.function(xp, *arrays)
            xp.realize(*(result if isinstance(result, tuple) else (result,)))
            times.append(time.perf_counter() - start)
            del result
        made = xp.counters() - before
        found[row.name] = {
            "ms": (times[0] - times[1]) * 1e3,
            "compiled": made.kernels_compiled,
            "loaded": made.kernels_loaded,
        }
    print(json.dumps(found))


def in_new_process(names: Sequence[str], cache: str) -> dict[str, dict[str, Any]]:
    """What `child` found out there."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", *names],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "TOONYGRAD_CACHE_DIR": cache, "TOONYGRAD_COMPILE": "always"},
    )
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="names or patterns (all)")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child(options.child)
        return
    names = [row.name for row in named(options.only)]
    with tempfile.TemporaryDirectory() as cache:
        compiling, loading = (in_new_process(names, cache) for _ in range(2))

    rows = []
    each: dict[str, list[float]] = {"compiled": [], "loaded": []}
    for name in names:
        kernels = compiling[name]["compiled"]
        if kernels:  # others share theirs with a row before, or have none
            times = compiling[name]["ms"] / kernels, loading[name]["ms"] / max(1, loading[name]["loaded"])
            each["compiled"].append(times[0])
            each["loaded"].append(times[1])
            rows.append((name, kernels, *(f"{ms:.1f}" for ms in times)))
    # Numba is imported and set up with the first.
    compiled, loaded = (statistics.median(times[1:] or times) for times in each.values())
    print(machine.description(len(machine.cores())), end="\n\n")
    print(table(("ms a kernel", "kernels", "compiled", "loaded"), rows), end="\n\n")
    print(verdict("compiling a kernel, median", compiled, "ms", most=100))
    print(verdict("loading a kernel from disk, median", loaded, "ms", most=5))
    again = sum(row["compiled"] for row in loading.values())
    print(verdict("kernels the second process compiled", again, "kernels", most=0))


if __name__ == "__main__":
    main()
