"""What limits each row: memory, arithmetic or a library; and what a second core, or a sixteenth, gives.

    python benchmarks/limits.py                       # on one core and on all
    python benchmarks/limits.py --threads 1 2 4 16 --only 'chain*' softmax

Of each row's kernels it takes the bytes that they move, from `explain`, and counts the operations that they
execute: loads, stores and arithmetic on elements, index arithmetic left out, by walking their loops with the
row's sizes. Both are set against what this machine reaches with kernels of the same engine that do nothing
else: a sum of two large arrays, and a long polynomial of few elements. The larger share is the limit.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np
from rows import named
from side_by_side import table

import toonygrad as xp
from toonygrad.array import node_of
from toonygrad.codegen.generate import generate
from toonygrad.codegen.loops import Nest
from toonygrad.realize import canonical, structure_of
from toonygrad.schedule.fusion import Alias, Kernel, Step, schedule
from toonygrad.schedule.memory import bytes_moved
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import ELEMENTWISE, Ops

# A share from which on a row counts as limited by it.
LIMITED = 0.6
SECONDS, FEWEST_CALLS = 0.3, 5
CHAINS, DEGREE, POLYNOMIAL_ELEMENTS, SUM_ELEMENTS = 8, 12, 1 << 20, 10_000_000

# What an index or a length is made of.
_INTEGER_ARITHMETIC: Mapping[Any, Callable[..., int]] = {
    Ops.ADD: lambda x, y: x + y,
    Ops.SUB: lambda x, y: x - y,
    Ops.MUL: lambda x, y: x * y,
    Ops.MINIMUM: min,
    Ops.MAXIMUM: max,
    Ops.QUOTIENT: lambda x, y: x // y,
    Ops.MODULO: lambda x, y: x % y,
    Ops.NOT: lambda x: not x,
    Ops.AND: lambda x, y: x and y,
    Ops.LT: lambda x, y: x < y,
    Ops.WHERE: lambda condition, x, y: x if condition else y,
}
_COUNTED = ELEMENTWISE | {Ops.LOAD, Ops.REASSOCIATING_ADD, Ops.REASSOCIATING_MUL, Ops.QUOTIENT, Ops.MODULO}


class Count:
    """The operations that one kernel executes, in the first pass of each loop times the number of passes.

    Where guards are, they hold: the slow form of a function isn't counted.
    """

    def __init__(self, nest: Nest) -> None:
        self._known: dict[UOp, int | None] = {}
        self._sizes: Mapping[str, int] = {**nest.arguments.integers, "lo": 0, "hi": nest.extent}
        self.operations = self._statements(nest.body.src, frozenset())

    def _value(self, node: UOp) -> int | None:
        """An index or a condition as a number; None for what depends on elements."""
        if node in self._known:
            return self._known[node]
        if node.op is Ops.CONST:
            return node.arg
        if node.op is Ops.SIZE:
            return self._sizes[node.arg]
        if node.op is Ops.VARIABLE:
            return self._sizes.get(node.arg[0])
        if node.op not in _INTEGER_ARITHMETIC:
            return None
        values = [self._value(source) for source in node.src]
        if None in values:
            return None
        return _INTEGER_ARITHMETIC[node.op](*values)

    def _statements(self, statements: Iterable[UOp], changing: frozenset[UOp]) -> float:
        return sum(self._statement(statement, changing) for statement in statements)

    def _statement(self, statement: UOp, changing: frozenset[UOp]) -> float:
        if statement.op is Ops.LOOP:
            over, start, stop, *inside = statement.src
            first, last = self._value(start), self._value(stop)
            if first is None or last is None:
                return 0.0  # the place of an extreme, looked for in one block
            self._known[over] = first
            assigned = {s.src[0] for s in inside if s.op is Ops.ASSIGN}
            return max(0, last - first) * self._statements(inside, frozenset((over, *assigned)))
        if statement.op is Ops.IF:
            if self._value(statement.src[0]) is False:
                return 0.0
            return self._statements(statement.src[1:], changing)
        value = statement.src[-1]
        if statement.op is Ops.ASSIGN and not self._is_element(value):
            if (known := self._value(value)) is not None:  # else a guard's outcome: it holds
                self._known[statement.src[0]] = known
            return 0.0
        if statement.op is Ops.TRANSPOSE:
            rows, columns = (self._value(size) or 0 for size in statement.src[-2:])
            return 2.0 * rows * columns
        return float(self._elements(value, changing) + (statement.op is Ops.STORE))

    def _is_element(self, value: UOp) -> bool:
        return value.dtype.kind != "b" and (
            value.dtype != np.int64 or any(node.op is Ops.LOAD for node in toposort(value))
        )

    def _elements(self, value: UOp, changing: frozenset[UOp]) -> int:
        """Operations on elements in `value` that are done anew in each pass of the loop around."""
        depends: set[UOp] = set()
        counted: set[UOp] = set()
        for node in toposort(value):
            if node in changing or any(source in depends for source in node.src):
                depends.add(node)
        stack = [value]
        while stack:
            node = stack.pop()
            if node in counted or node not in depends:
                continue
            counted.add(node)
            if node.op is not Ops.LOAD:  # what stands in its place is an index
                stack.extend(node.src)
        return sum(node.op in _COUNTED for node in counted)


def steps_of(results: Sequence[Any]) -> list[Step]:
    """What computing `results` takes, as `explain` finds it."""
    nodes = list(dict.fromkeys(map(node_of, results)))
    return [s for s in schedule(canonical(structure_of(nodes, looking=True))) if not isinstance(s, Alias)]


def median_seconds(call: Callable[[], object]) -> float:
    call()
    times: list[float] = []
    while len(times) < FEWEST_CALLS or sum(times) < SECONDS:
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
        del result
    return statistics.median(times)


def reachable() -> tuple[float, float]:
    """Bytes a second and operations on float64 a second, of kernels that do nothing else."""
    x = xp.asarray(np.random.default_rng(0).random(SUM_ELEMENTS))
    y = (x + 1).block_until_ready()  # else it would be computed where it is added
    bandwidth = 3 * 8 * SUM_ELEMENTS / median_seconds(lambda: (x + y).block_until_ready())
    few = xp.asarray(x[:POLYNOMIAL_ELEMENTS])

    def polynomials() -> Any:
        # Side by side, so that none waits for the one before it.
        results = [few + chain for chain in range(CHAINS)]
        for _ in range(DEGREE):
            results = [result * few + few for result in results]
        return sum(results[1:], results[0]).block_until_ready()

    operations = CHAINS * (2 * DEGREE + 2) * POLYNOMIAL_ELEMENTS
    return bandwidth, operations / median_seconds(polynomials)


def measured(function: Callable[..., Any], operands: Sequence[Any]) -> dict[str, Any]:
    """Time, bytes and operations of one row."""

    def results() -> tuple[Any, ...]:
        result = function(xp, *operands)
        return result if isinstance(result, tuple) else (result,)

    found: dict[str, Any] = {"seconds": median_seconds(lambda: xp.realize(*results()))}
    pending = results()
    steps = steps_of(pending)
    kernels = [step for step in steps if isinstance(step, Kernel)]
    found["kernels"] = len(kernels)
    found["libraries"] = len(steps) - len(kernels)
    found["bytes"] = sum(map(bytes_moved, steps))
    # Vectors hold twice as many float32.
    found["operations"] = sum(
        Count(generate(kernel).nest).operations * kernel.writes[0].dtype.itemsize / 8 for kernel in kernels
    )
    return found


def limit(row: Mapping[str, Any], bandwidth: float, arithmetic: float) -> tuple[float, float, str]:
    """Shares of the bandwidth and the arithmetic that the machine has, and which of them limits."""
    moving = row["bytes"] / row["seconds"] / bandwidth
    computing = row["operations"] / row["seconds"] / arithmetic
    if row["libraries"] and not row["kernels"]:
        return moving, computing, "the library"
    if max(moving, computing) < LIMITED:
        return moving, computing, "neither"
    return moving, computing, "bandwidth" if moving > computing else "arithmetic"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    everything = len(machine.cores())
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, everything}))
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="names or patterns")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--report", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    print(machine.description(max(options.threads)))
    reached: dict[int, tuple[float, float]] = {}
    reachable()  # what a process does first is slower
    for threads in options.threads:
        with xp.config(num_threads=threads):
            reached[threads] = reachable()
        bandwidth, arithmetic = reached[threads]
        print(
            f"{threads} threads: {bandwidth / 1e9:.1f} GB/s, {arithmetic / 1e9:.1f} G operations/s on float64"
        )
    print()
    random = np.random.default_rng(0)
    report: dict[str, dict[str, Any]] = {}
    lines = []
    for row in named(options.only):
        operands = [xp.asarray(operand.make(random, options.scale)) for operand in row.inputs]
        of_threads: dict[int, dict[str, Any]] = {}
        for threads in options.threads:
            with xp.config(num_threads=threads):
                of_threads[threads] = measured(row.function, operands)
        most = options.threads[-1]
        last, first = of_threads[most], of_threads[options.threads[0]]
        moving, computing, why = limit(last, *reached[most])
        report[row.name] = {str(threads): found for threads, found in of_threads.items()}
        lines.append(
            (
                row.name,
                f"{last['kernels']}+{last['libraries']}",
                f"{last['bytes'] / 1e6:.4g}",
                f"{last['operations'] / 1e6:.4g}",
                *(f"{of_threads[threads]['seconds'] * 1e3:.3g}" for threads in options.threads),
                f"{first['seconds'] / last['seconds']:.2f}",
                f"{moving:.2f}",
                f"{computing:.2f}",
                why,
            )
        )
    times = tuple(f"ms on {threads}" for threads in options.threads)
    heads = ("row", "kernels+calls", "MB", "M ops", *times, "faster", "of GB/s", "of ops/s", "limit")
    print(table(heads, lines))
    if options.report:
        options.report.write_text(
            json.dumps({"machine": {str(k): v for k, v in reached.items()}, "rows": report})
        )


if __name__ == "__main__":
    main()
