"""Plain expressions on a GPU beside a copy from device to device: which share of its bandwidth each reaches.

    python benchmarks/gpu.py                 # needs a GPU and the extra `cuda`
    python benchmarks/gpu.py --scale 0.1 --only 'sum*' softmax

The copy is the driver's, timed in the same run. Launches are asynchronous: ten evaluations are handed out and
waited for together, and the median of five such turns counts.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
from side_by_side import table

import toonygrad as xp

TURNS, CALLS = 5, 10


class Row(NamedTuple):
    """One line: an expression of arrays of normal numbers, and the least bytes it has to move."""

    name: str
    function: Callable[..., Any]
    shapes: Sequence[tuple[int, ...]]
    moved: Callable[[Sequence[int]], int]  # of the operands' sizes, in elements of four bytes


def chain(a: Any, b: Any, c: Any) -> Any:
    return (a + b) * c - a / 2 + b * b


def softmax(x: Any) -> Any:
    powers = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    return powers / xp.sum(powers, axis=1, keepdims=True)


def layer_norm(x: Any) -> Any:
    return (x - xp.mean(x, axis=1, keepdims=True)) / xp.std(x, axis=1, keepdims=True)


def stencil(u: Any) -> Any:
    around = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
    return u[1:-1, 1:-1] + 0.1 * (around - 4 * u[1:-1, 1:-1])


def gather(x: Any) -> Any:
    """Each element of a permutation that jumps by a large odd number."""
    size = x.shape[0]
    return xp.take(x, (xp.arange(size, device=x.device) * 1_000_003) % size) * 2


ROWS = (
    Row("chain", chain, [(1 << 28,)] * 3, lambda n: 4 * n[0]),
    Row("sum", xp.sum, [(1 << 28,)], lambda n: n[0]),
    Row("sum-rows", lambda x: xp.sum(x, axis=1), [(1 << 14, 1 << 14)], lambda n: n[0]),
    Row("sum-columns", lambda x: xp.sum(x, axis=0), [(1 << 14, 1 << 14)], lambda n: n[0]),
    Row("softmax", softmax, [(8192, 8192)], lambda n: 2 * n[0]),
    Row("layer-norm", layer_norm, [(8192, 8192)], lambda n: 2 * n[0]),
    Row("transpose-add", lambda x, y: x.T + y, [(1 << 14, 1 << 14)] * 2, lambda n: 3 * n[0]),
    Row("stencil", stencil, [(8192, 8192)], lambda n: 2 * n[0]),
    Row("gather", gather, [(1 << 26,)], lambda n: 2 * n[0]),
    Row("cumulative-sum", xp.cumulative_sum, [(1 << 26,)], lambda n: 2 * n[0]),
    Row("argmax", lambda x: xp.argmax(x, axis=1), [(8192, 8192)], lambda n: n[0]),
    Row("matmul", xp.matmul, [(4096, 4096)] * 2, lambda n: 3 * n[0]),
)


def seconds(call: Callable[[], Any]) -> float:
    """Of one evaluation."""
    for _ in range(3):
        xp.realize(call())
    turns = []
    for _ in range(TURNS):
        start = time.perf_counter()
        for _ in range(CALLS - 1):
            xp.realize(call())
        call().block_until_ready()
        turns.append((time.perf_counter() - start) / CALLS)
    return statistics.median(turns)


def copied(x: Any) -> float:
    """Bytes a second that the driver's copy moves, read and written."""
    from cuda.bindings import driver

    y = (x + 1).block_until_ready()
    source, target = (array.__cuda_array_interface__["data"][0] for array in (x, y))
    turns = []
    for _ in range(TURNS + 1):
        driver.cuCtxSynchronize()
        start = time.perf_counter()
        for _ in range(CALLS):
            driver.cuMemcpyDtoDAsync(target, source, 4 * x.size, 0)
        driver.cuCtxSynchronize()
        turns.append((time.perf_counter() - start) / CALLS)
    return 2 * 4 * x.size / statistics.median(turns[1:])


def of(row: Row, operands: Sequence[Any]) -> Callable[[], Any]:
    return lambda: row.function(*operands)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="ROW", help="names or patterns")
    parser.add_argument("--scale", type=float, default=1.0, help="of the operands' sizes")
    parser.add_argument("--report", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    print(machine.description(len(machine.cores())))

    def operand(shape: Sequence[int], number: int) -> Any:
        # The same million numbers again and again: they don't matter to the time.
        values = np.random.default_rng(number).standard_normal(1 << 20, np.float32)
        shape = [max(4, int(size * options.scale ** (1 / len(shape)))) for size in shape]
        whole = xp.asarray(np.resize(values, shape), device=options.device)
        return whole.block_until_ready()

    copy = copied(operand((1 << 28,), 0))
    print(f"a copy moves {copy / 1e12:.3f} TB/s\n")
    lines, report = [], {}
    for row in ROWS:
        if not any(fnmatch(row.name, pattern) for pattern in options.only):
            continue
        operands = [operand(shape, number) for number, shape in enumerate(row.shapes)]
        taken = seconds(of(row, operands))
        before = xp.counters()
        row.function(*operands).block_until_ready()
        done = xp.counters() - before
        moved = 4 * row.moved([x.size for x in operands])
        report[row.name] = {"seconds": taken, "bytes": moved, "of_copy": moved / taken / copy}
        lines.append(
            (
                row.name,
                "x".join(map(str, operands[0].shape)),
                f"{taken * 1e3:.3f}",
                f"{moved / taken / 1e12:.3f}",
                f"{moved / taken / copy:.2f}",
                done.kernels_launched,
                done.host_steps,
            )
        )
    print(table(("float32", "operand", "ms", "TB/s", "of a copy", "kernels", "on the host"), lines))
    if options.report:
        options.report.write_text(json.dumps({"copy_bytes_a_second": copy, "rows": report}, indent=1))


if __name__ == "__main__":
    main()
