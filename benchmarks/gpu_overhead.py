"""What the host spends to have a GPU compute: microseconds on arrays of 1000 elements, beside its peers.

    python benchmarks/gpu_overhead.py                  # needs a GPU and the extra `cuda`

Launches are asynchronous and what they compute takes no time worth mentioning, so this is the time that a
call takes to return. Contenders take turns in one process and are waited for between turns. A hundred turns
of a Python loop take turns with them: 3 us where the machine is undisturbed, and everything here grows with
it. Claims: a known expression of one kernel takes at most 12 us, recording included, and ten kernels of one
schedule at most 60.
"""

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
import peers
from side_by_side import table, verdict

import toonygrad as xp

ELEMENTS, REPEAT = 1000, 50
OURS, RECORDED, LOOP = "toonygrad", "recorded", "Python loop"

# What a row computes, in the words of a namespace; what it needs, as sizes; how many kernels it takes of us.
Row = tuple[Callable[..., Any], list[tuple[int, ...]]]


def chain(xp: Any, x: Any) -> Any:
    """Each step needs all of the one before it: a kernel for each."""
    for _ in range(10):
        x = x - xp.sum(x)
    return x


def running(xp: Any, x: Any) -> Any:
    for axis in (0, 1) * 5:
        x = xp.cumulative_sum(x, axis=axis) if hasattr(xp, "cumulative_sum") else xp.cumsum(x, axis)
    return x


ROWS: dict[str, Row] = {
    "(a + b) * c": (lambda xp, a, b, c: (a + b) * c, [(ELEMENTS,)] * 3),
    "a * 2 + 1": (lambda xp, a: a * 2 + 1, [(ELEMENTS,)]),
    "sum": (lambda xp, a: xp.sum(a), [(ELEMENTS,)]),
    "ten results of ten sizes": (
        lambda xp, *arrays: tuple([x + 1 for x in arrays]),
        [(ELEMENTS + k,) for k in range(10)],
    ),
    "ten times x - sum(x)": (chain, [(32, 32)]),
    "ten running sums, along both axes": (running, [(32, 32)]),
}


def realized(result: Any) -> Any:
    xp.realize(*(result if isinstance(result, tuple) else (result,)))
    return result


def contenders(row: Row) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """For each what it is to do, and how it is waited for."""
    function, shapes = row
    host = [np.random.default_rng(k).random(shape, np.float32) for k, shape in enumerate(shapes)]
    ours = [xp.asarray(array, device="cuda:0").block_until_ready() for array in host]

    def wait() -> None:
        ours[0].block_until_ready()

    found: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        LOOP: (python_loop, wait),
        RECORDED: (lambda: function(xp, *ours), wait),
        OURS: (lambda: realized(function(xp, *ours)), wait),
    }
    if not peers.why_missing("cupy"):
        import cupy

        theirs = [cupy.asarray(array) for array in host]
        found["CuPy"] = (lambda: function(cupy, *theirs), cupy.cuda.Device().synchronize)
    if not peers.why_missing("torch"):
        import torch

        tensors = [torch.asarray(array, device="cuda") for array in host]
        compiled = torch.compile(lambda *arrays: function(torch, *arrays))
        found["torch"] = (lambda: function(torch, *tensors), torch.cuda.synchronize)
        found["torch.compile"] = (lambda: compiled(*tensors), torch.cuda.synchronize)
    if not peers.why_missing("jax"):
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        import jax
        import jax.numpy as jnp

        arrays = [jax.device_put(array) for array in host]
        jitted = jax.jit(lambda *arrays: function(jnp, *arrays))
        found["JAX, jit"] = (lambda: jitted(*arrays), lambda: jax.block_until_ready(jitted(*arrays)))
    return found


def python_loop() -> int:
    total = 0
    for k in range(100):
        total += k * k
    return total


def microseconds(call: Callable[[], object], wait: Callable[[], object]) -> float:
    wait()
    start = time.perf_counter()
    for _ in range(REPEAT):
        call()
    taken = (time.perf_counter() - start) / REPEAT
    wait()
    return taken * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=40, help="turns of each (40)")
    parser.add_argument("--only", nargs="+", help="these contenders beside ours: CuPy, torch, ...")
    parser.add_argument("--report", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    print(machine.description(len(machine.cores())))
    print(machine.gpu("cuda:0"))
    print()

    report: dict[str, dict[str, float]] = {}
    kernels = {}
    heads = [OURS, RECORDED, LOOP]
    for name, row in ROWS.items():
        calls = contenders(row)
        if options.only:
            calls = {peer: call for peer, call in calls.items() if peer in (*heads, *options.only)}
        heads += [peer for peer in calls if peer not in heads]
        for once, _ in calls.values():
            for _ in range(REPEAT):
                once()
        before = xp.counters()
        calls[OURS][0]()
        kernels[name] = (xp.counters() - before).kernels_launched
        turns: dict[str, list[float]] = {peer: [] for peer in calls}
        for _ in range(options.rounds):
            for peer, call in calls.items():
                turns[peer].append(microseconds(*call))
        report[name] = {peer: statistics.median(of_peer) for peer, of_peer in turns.items()}
    rows = [
        (name, kernels[name], *(f"{of_row[peer]:.1f}" if peer in of_row else "-" for peer in heads))
        for name, of_row in report.items()
    ]
    print(table((f"us, {ELEMENTS} float32", "kernels", *heads), rows), end="\n\n")
    print(verdict("a known expression of one kernel", report["(a + b) * c"][OURS], "us", most=12))
    print(verdict("ten kernels of one schedule", report["ten results of ten sizes"][OURS], "us", most=60))
    chained = report["ten times x - sum(x)"][OURS] * 10 / kernels["ten times x - sum(x)"]
    print(verdict("ten kernels, each on what the last left", chained, "us", most=60))
    if options.report:
        options.report.write_text(json.dumps({"us": report}, indent=1))


if __name__ == "__main__":
    gc.disable()  # its pauses belong to nobody's turn
    main()
