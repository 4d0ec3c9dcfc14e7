"""By how much memory grows with each kernel that a process meets, while it holds it and once it is evicted.

    python benchmarks/kernel_memory.py
    python benchmarks/kernel_memory.py --kernels 1000

Claims: a kernel that was compiled or loaded from disk, and evicted, leaves at most 20 kB for good; all
evicted kernels are freed. What is held is bounded by the limits in `realize.py` and `runtime/cache.py`.
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import machine
import numpy as np
from side_by_side import table, verdict

# Plans and kernels that a process may hold here, so that a hundred kernels are enough to see them evicted.
FEW = 16


def expression(xp: Any, number: int, x: Any, y: Any) -> Any:
    """The expression with this number: eight operations, no two of them alike in all."""
    operations = (xp.add, xp.subtract, xp.multiply, xp.maximum, xp.minimum)
    result = x
    for place in range(8):
        number, operation = divmod(number, len(operations))
        result = operations[operation](result, y if place % 2 else x)
    return result


def resident_bytes() -> int:
    """Memory that lies in RAM and that malloc can't give back."""
    gc.collect()
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def child(kernels: int, evicting: bool) -> None:
    """Print by how much so many kernels make memory grow, after half as many that warm up."""
    import toonygrad as xp
    from toonygrad.runtime import cache
    from toonygrad.runtime.compile import NativeKernel

    if evicting:
        # By its name, for the namespace has a function `realize`.
        sys.modules["toonygrad.realize"].MOST_PLANS = FEW  # type: ignore[attr-defined]
        cache._MOST_KERNELS_HELD = FEW
    x, y = (xp.asarray(np.arange(100.0)) for _ in range(2))

    def evaluate(numbers: range) -> None:
        for number in numbers:
            expression(xp, number, x, y).block_until_ready()

    evaluate(range(kernels, kernels + kernels // 2))
    before, counted = resident_bytes(), xp.counters()
    evaluate(range(kernels))
    grown, made = resident_bytes() - before, xp.counters() - counted
    alive = sum(isinstance(thing, NativeKernel) for thing in gc.get_objects())
    found = {
        "kB": grown / kernels / 1000,
        "compiled": made.kernels_compiled,
        "loaded": made.kernels_loaded,
        "alive": alive,
    }
    print(json.dumps(found))


def in_new_process(cache: str, kernels: int, evicting: bool) -> dict[str, Any]:
    """What `child` found out there."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", "evict" if evicting else "hold", "--kernels", str(kernels)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "TOONYGRAD_CACHE_DIR": cache, "TOONYGRAD_COMPILE": "always"},
    )
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kernels", type=int, default=300, help="distinct kernels to measure with (300)")
    parser.add_argument("--child", choices=("evict", "hold"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child(options.kernels, evicting=options.child == "evict")
        return
    with tempfile.TemporaryDirectory() as cache:
        found = {
            name: in_new_process(cache, options.kernels, evicting)
            for name, evicting in (
                ("compiled, evicted", True),
                ("loaded from disk, evicted", True),
                ("loaded from disk, held", False),
            )
        }
    print(machine.description(len(machine.cores())), end="\n\n")
    rows = [
        (name, each["compiled"], each["loaded"], each["alive"], f"{each['kB']:.1f}")
        for name, each in found.items()
    ]
    print(table(("kernels", "compiled", "loaded", "alive at the end", "kB each"), rows), end="\n\n")
    compiled, loaded, _ = found.values()
    print(verdict("left by a kernel compiled and evicted", compiled["kB"], "kB", most=20))
    print(verdict("left by a kernel loaded and evicted", loaded["kB"], "kB", most=20))
    most = max(compiled["alive"], loaded["alive"])
    print(verdict(f"kernels alive where {FEW} plans may be held", most, "kernels", most=2 * FEW))


if __name__ == "__main__":
    main()
