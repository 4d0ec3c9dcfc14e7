"""What compiling costs once, and what it costs the next process.

Claims: a kernel compiles in about 60 to 100 ms; a second process loads it from disk in under 5 ms; a process
whose kernels are all on disk shows its first result of a 1 M-element expression within 0.5 s of starting,
import included.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from side_by_side import table, verdict

PROCESSES = 7

# Run in a new process with the cache's directory as its argument.
FIRST_RESULT = """
import sys
import toonygrad as xp
with xp.config(cache_dir=sys.argv[1], compile="always"):
    x = xp.linspace(0, 1, 1_000_000)
    print(float(xp.sum(xp.exp(-x * x) * x + 1)))
"""


def expressions() -> list[Callable]:
    """Kernels that differ in kind: chains, transcendentals, reductions, broadcasts, views, conversions."""
    import toonygrad as xp

    return [
        lambda x: x + 1.5,
        lambda x: (x + x[::-1]) * x - x / 2,
        lambda x: xp.exp(-x * x) * x,
        lambda x: xp.sqrt(x * x + 1) / (x + 2),
        lambda x: xp.sum(x * x, axis=0),
        lambda x: xp.mean(x, axis=1),
        lambda x: xp.max(xp.abs(x), axis=0),
        lambda x: x - xp.mean(x, axis=1, keepdims=True),
        lambda x: xp.where(x > 0.5, x, -x),
        lambda x: xp.sin(x) * xp.cos(x),
        lambda x: x.T + x,
        lambda x: xp.astype(x > 0.25, xp.int64),
    ]


def child(cache_dir: str) -> None:
    """Realize each expression twice: the second time there is nothing to compile, load or plan."""
    import toonygrad as xp

    kernels = []
    with xp.config(cache_dir=cache_dir, compile="always"):
        x = xp.asarray([[(row * 100 + column) / 1e4 for column in range(100)] for row in range(100)])
        for expression in expressions():
            before = xp.counters()
            start = time.perf_counter()
            xp.realize(expression(x))
            middle = time.perf_counter()
            xp.realize(expression(x))
            end = time.perf_counter()
            after = xp.counters()
            kernels.append(
                {
                    "ms": ((middle - start) - (end - middle)) * 1e3,
                    "compiled": after.kernels_compiled - before.kernels_compiled,
                    "loaded": after.kernels_loaded - before.kernels_loaded,
                }
            )
    print(json.dumps(kernels))


def in_new_process(*arguments: str) -> tuple[str, float]:
    """What a new Python prints, and the seconds from starting it to its end."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout, time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as cache_dir:
        compiling, loading = (json.loads(in_new_process(__file__, "--child", cache_dir)[0]) for _ in range(2))
        in_new_process("-c", FIRST_RESULT, cache_dir)
        starts = {
            "python -c pass": ["-c", "pass"],
            "import numpy": ["-c", "import numpy"],
            "import toonygrad": ["-c", "import toonygrad"],
            "first result, kernels on disk": ["-c", FIRST_RESULT, cache_dir],
        }
        seconds: dict[str, list[float]] = {name: [] for name in starts}
        for _ in range(PROCESSES):
            for name, arguments in starts.items():
                seconds[name].append(in_new_process(*arguments)[1])

    rows = []
    per_kernel = {}
    for name, kernels in (("compiled", compiling), ("loaded", loading)):
        first, *others = (kernel["ms"] / max(1, kernel[name]) for kernel in kernels)
        per_kernel[name] = statistics.median(others)
        count = sum(kernel[name] for kernel in kernels)
        rows.append((name, count, f"{first:.1f}", f"{per_kernel[name]:.1f}", f"{max(others):.1f}"))
    print(table(("ms a kernel, planning included", "kernels", "first", "median of others", "longest"), rows))
    print()
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    starting = [(name, f"{median * 1e3:.0f}") for name, median in medians.items()]
    print(table(("a new process, start to end", "ms"), starting))
    print()
    print(verdict("compiling a kernel", per_kernel["compiled"], "ms", most=100))
    print(verdict("loading a kernel from disk", per_kernel["loaded"], "ms", most=5))
    print(verdict("first result of a new process", medians["first result, kernels on disk"], "s", most=0.5))
    again = sum(kernel["compiled"] for kernel in loading)
    print(verdict("kernels the second process compiled", again, "kernels", most=0))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        main()
