"""How long until there is something to see: a new process, and a shape that was not met before.

    python benchmarks/first_result.py
    python benchmarks/first_result.py --rounds 3 --peers toonygrad numpy

A process starts cold, with an empty directory for what its peer keeps on disk, and warm, with the one that
the cold process left. Claims: a result of a million elements within 0.5 s of starting warm and 1.5 s cold,
imports included; a new shape takes less than 1 ms beyond the same shape again; new shapes and other Python
scalars compile nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import machine
import peers
from side_by_side import table, verdict

# What a process runs, as its user would write it: the import, and what follows it.
SCRIPTS = {
    "toonygrad": (
        "import toonygrad as xp",
        """
x = xp.linspace(0, 1, 1_000_000)
print(float(xp.sum(xp.exp(-x * x) * x + 1)), flush=True)
""",
    ),
    "numpy": (
        "import numpy as xp",
        """
x = xp.linspace(0, 1, 1_000_000)
print(float(xp.sum(xp.exp(-x * x) * x + 1)), flush=True)
""",
    ),
    "jax": (
        "import jax, jax.numpy as xp",
        """
jax.config.update("jax_enable_x64", True)
x = xp.linspace(0, 1, 1_000_000)
print(float(jax.jit(lambda x: xp.sum(xp.exp(-x * x) * x + 1))(x)), flush=True)
""",
    ),
    "torch": (
        "import torch as xp",
        """
x = xp.linspace(0, 1, 1_000_000, dtype=xp.float64)
print(float(xp.compile(lambda x: xp.sum(xp.exp(-x * x) * x + 1))(x)), flush=True)
""",
    ),
}

# Small, so that what is measured is not how long it takes to read an operand for the first time.
SHAPES = [(rows, 100 + 3 * rows) for rows in range(10, 110, 10)]
SCALARS = [0.3 + 1.7 * step for step in range(10)]


def environment_with(cache: str) -> dict[str, str]:
    """Where each peer keeps what it compiled; JAX keeps nothing of its own accord, so it is asked to."""
    return {
        **os.environ,
        "TOONYGRAD_CACHE_DIR": f"{cache}/toonygrad",
        "JAX_COMPILATION_CACHE_DIR": f"{cache}/jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TORCHINDUCTOR_CACHE_DIR": f"{cache}/torch",
    }


def seconds_to_first_line(script: str, cache: str) -> float:
    """From starting Python to the first line that the script prints; what its end takes is not counted."""
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment_with(cache),
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        taken = time.perf_counter() - start
        process.communicate()
        if not line:
            errors.seek(0)
            raise RuntimeError(f"{script}\nprinted nothing:\n{errors.read().decode()}")
    return taken


def starts(names: Sequence[str], rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds until a peer is imported, and until its first result, cold and warm."""
    times: dict[str, dict[str, list[float]]] = {
        name: {"import": [], "cold": [], "warm": []} for name in names
    }
    imports = {name: f"{SCRIPTS[name][0]}\nprint(flush=True)" for name in names}
    scripts = {name: "".join(SCRIPTS[name]) for name in names}
    for name in names:
        with tempfile.TemporaryDirectory() as unused:  # the files of its packages are read from disk once
            seconds_to_first_line(scripts[name], unused)
    for _ in range(rounds):
        for name in names:
            with tempfile.TemporaryDirectory() as cache:
                times[name]["cold"].append(seconds_to_first_line(scripts[name], cache))
                times[name]["warm"].append(seconds_to_first_line(scripts[name], cache))
                times[name]["import"].append(seconds_to_first_line(imports[name], cache))
    return {
        name: {kind: statistics.median(of_kind) for kind, of_kind in times[name].items()} for name in names
    }


# -- new shapes and scalars, in a process of the peer's own --------------------------------------------------


def _evaluators(peer: str) -> tuple[Callable[[Any, float], object], Callable[[Any], Any]]:
    """A call that computes the expression, and what makes an operand of a NumPy array."""

    def expression(xp: Any, x: Any, scalar: Any) -> Any:
        return xp.sum((x - xp.mean(x, axis=1, keepdims=True)) * scalar + x, axis=1)

    if peer == "toonygrad":
        import toonygrad

        return lambda x, s: expression(toonygrad, x, s).block_until_ready(), toonygrad.asarray
    if peer == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
        compiled = jax.jit(lambda x, s: expression(jax.numpy, x, s))
        return lambda x, s: compiled(x, s).block_until_ready(), jax.numpy.asarray
    if peer == "torch":
        import torch

        return torch.compile(lambda x, s: expression(torch, x, s)), torch.from_numpy
    import numpy

    return lambda x, s: expression(numpy, x, s), numpy.asarray


def child(peer: str) -> None:
    """Print what the first evaluation with each new shape and each new scalar takes beyond the next."""
    import numpy

    evaluate, operand = _evaluators(peer)
    random = numpy.random.default_rng(0)
    arrays = [operand(random.random(shape)) for shape in [(5, 70), *SHAPES]]

    def beyond(x: Any, scalar: float) -> float:
        times = []
        for _ in range(6):
            start = time.perf_counter()
            evaluate(x, scalar)
            times.append(time.perf_counter() - start)
        return times[0] - statistics.median(times[1:])

    found: dict[str, Any] = {"first": beyond(arrays[0], 2.5)}
    compiled_before = _kernels_compiled(peer)
    found["shapes"] = [beyond(x, 2.5) for x in arrays[1:]]
    found["scalars"] = [beyond(arrays[0], scalar) for scalar in SCALARS]
    found["compiled"] = _kernels_compiled(peer) - compiled_before
    print(json.dumps(found))


def _kernels_compiled(peer: str) -> int:
    if peer != "toonygrad":
        return 0
    import toonygrad

    return toonygrad.counters().kernels_compiled


def news(peer: str) -> dict[str, Any]:
    """What `child` prints, in a process that finds nothing on disk."""
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, __file__, "--child", peer],
            capture_output=True,
            text=True,
            check=True,
            env={**environment_with(cache), "TOONYGRAD_COMPILE": "always"},
        )
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7, help="cold and warm starts of each (7)")
    parser.add_argument("--peers", nargs="+", choices=SCRIPTS, default=list(SCRIPTS), metavar="PEER")
    parser.add_argument("--report", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    missing = {peer: why for peer in options.peers if (why := peers.why_missing(peer))}
    names = [peer for peer in options.peers if peer not in missing]
    print(machine.description(len(machine.cores())))
    for peer, why in missing.items():
        print(f"{peer}: {why}")
    print()

    started = starts(names, options.rounds)
    rows = [(name, *(f"{started[name][kind]:.2f}" for kind in ("import", "cold", "warm"))) for name in names]
    print(table(("s from starting a process", "imported", "first result, cold", "warm"), rows), end="\n\n")

    new = {name: news(name) for name in names}
    rows = [
        (
            name,
            f"{new[name]['first'] * 1e3:.2f}",
            *(
                f"{of(new[name][kind]) * 1e3:.2f}"
                for kind in ("shapes", "scalars")
                for of in (statistics.median, max)
            ),
        )
        for name in names
    ]
    heads = ("ms beyond the same again", "first call", "new shape", "longest", "new scalar", "longest")
    print(table(heads, rows), end="\n\n")

    if "toonygrad" in names:
        ours = new["toonygrad"]
        print(verdict("first result, warm", started["toonygrad"]["warm"], "s", most=0.5))
        print(verdict("first result, cold", started["toonygrad"]["cold"], "s", most=1.5))
        print(verdict("new shape", statistics.median(ours["shapes"]) * 1e3, "ms", most=1))
        print(verdict("compiled for ten new shapes and ten scalars", ours["compiled"], "kernels", most=0))
    if options.report:
        options.report.write_text(json.dumps({"starts": started, "new": new}, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        main()
