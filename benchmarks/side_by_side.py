"""Fair timing for the benchmark scripts: contenders take turns in one process, ratios are of neighbours.

Machines are noisy, and noise comes in stretches longer than one call. Contenders that alternate meet the same
noise, so the ratio of two that ran next to each other is steadier than the times themselves.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Measured(NamedTuple):
    """Seconds of each contender's turns, in the order they were taken."""

    turns: dict[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.turns[name])

    def ratio(self, name: str, to: str) -> float:
        """How long `name` takes, as a multiple of what `to` took in the same round."""
        return statistics.median(a / b for a, b in zip(self.turns[name], self.turns[to], strict=True))


def alternate(contenders: Mapping[str, Callable[[], object]], rounds: int, repeat: int = 1) -> Measured:
    """Time contenders in turn, after one round that warms them.

    Parameters
    ----------
    contenders : mapping of name to callable
        What a call returns is dropped before the next call, and outside of its time.
    rounds : int
        Turns each contender gets.
    repeat : int
        Calls in a turn, for calls too short to time alone; the time of a turn is that of one call.
    """
    turns: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(rounds + 1):
        for name, call in contenders.items():
            if repeat == 1:
                start = time.perf_counter()
                result = call()
                taken = time.perf_counter() - start
                del result
            else:
                start = time.perf_counter()
                for _ in range(repeat):
                    call()
                taken = (time.perf_counter() - start) / repeat
            if round_number:
                turns[name].append(taken)
    return Measured(turns)


def table(heads: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    """Rows under their heads: the first column to the left, the others to the right."""
    cells = [heads, *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = []
    for row in cells:
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]))
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


def verdict(
    what: str, measured: float, unit: str, *, least: float = -math.inf, most: float = math.inf
) -> str:
    """One line that sets what was measured beside what is claimed: at least so much, or at most."""
    claim = f"at most {most:g}" if most < math.inf else f"at least {least:g}"
    answer = "holds" if least <= measured <= most else "FAILS"
    return f"{what}: {measured:.3g} {unit}, {claim} claimed: {answer}"
