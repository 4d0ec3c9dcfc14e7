"""A new shape or another Python scalar compiles nothing.

Claim: the same expression at ten new sizes, or with ten other scalars, leaves
counters().kernels_compiled as it was.
"""

import statistics
import time
from collections.abc import Callable, Iterable

import numpy as np
from side_by_side import table, verdict

import toonygrad as xp

SIZES = [(rows, 1000 + 37 * rows) for rows in range(10, 110, 10)]
SCALARS = [0.3 + 1.7 * step for step in range(10)]


def expression(x, scalar: float = 2.5):
    return xp.sum((x - xp.mean(x, axis=1, keepdims=True)) * scalar + x, axis=1)


def compiled_while(evaluate: Callable[..., xp.Array], arguments: Iterable[object]) -> tuple[int, int, float]:
    """Kernels compiled, plans made, and the median ms of the first evaluation with each argument."""
    before, times = xp.counters(), []
    for argument in arguments:
        start = time.perf_counter()
        xp.realize(evaluate(argument))
        times.append(time.perf_counter() - start)
    after = xp.counters()
    compiled = after.kernels_compiled - before.kernels_compiled
    return compiled, after.plans_made - before.plans_made, statistics.median(times) * 1e3


def main() -> None:
    random = np.random.default_rng(0)
    arrays = [xp.asarray(random.random(size)) for size in [(5, 700), *SIZES]]
    # No cache on disk, so that what is not compiled was not needed.
    with xp.config(compile="always", cache_dir=None):
        cases = {
            "the first evaluation": compiled_while(expression, arrays[:1]),
            "ten new sizes": compiled_while(expression, arrays[1:]),
            "ten other scalars": compiled_while(lambda scalar: expression(arrays[0], scalar), SCALARS),
        }
    rows = [(name, compiled, plans, f"{ms:.2f}") for name, (compiled, plans, ms) in cases.items()]
    print(table(("", "kernels compiled", "plans made", "median ms"), rows), end="\n\n")
    for name in ("ten new sizes", "ten other scalars"):
        print(verdict(f"compiled for {name}", cases[name][0], "kernels", most=0))


if __name__ == "__main__":
    main()
