"""The rows of ``run.py --device cuda``: functions of `rows.py` on operands that fill a GPU, and some more.

`rows_of` gives the table for a device, to `run.py` and `worker.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rows
from rows import FIXED, FLOAT32, FLOAT64, LONG_SUM32, Array, Input, Row, normal, uniform

# Operands of gigabytes hold these numbers again and again: they don't matter to the time, drawing them does.
PERIOD = 1 << 20

Fill = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def repeated(fill: Fill) -> Fill:
    return lambda random, shape: np.resize(fill(random, (PERIOD,)), shape)


def whole(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Whole numbers whose sums are exact in any order; NumPy's of other numbers, one by one, are far off."""
    return random.integers(-8, 9, shape).astype(np.float32)


def stencil_step(xp: Any, u: Array) -> Array:
    """One step of heat conduction on five points; the result lacks the border."""
    around = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
    return u[1:-1, 1:-1] + 0.1 * (around - 4 * u[1:-1, 1:-1])


def periodic_step(xp: Any, u: Array) -> Array:
    """The same on a torus, where the shape stays."""
    around = xp.roll(u, 1, axis=0) + xp.roll(u, -1, axis=0) + xp.roll(u, 1, axis=1) + xp.roll(u, -1, axis=1)
    return u + 0.1 * (around - 4 * u)


def gather(xp: Any, x: Array, indices: Array) -> Array:
    return xp.take(x, indices) * 2


def selected(xp: Any, x: Array) -> Array:
    return x[x > 0.5]


def masked_assignment(xp: Any, x: Array) -> Array:
    """Negative numbers become 0, in a copy."""
    if hasattr(x, "at"):
        return x.at[x < 0].set(0.0)
    x = xp.asarray(x, copy=True)
    x[x < 0] = 0.0
    return x


def spectrum(xp: Any, x: Array) -> Array:
    return xp.abs(xp.fft.fft(x)) ** 2


def least_squares(xp: Any, x: Array, y: Array) -> Array:
    """By the normal equations."""
    return xp.linalg.solve(x.T @ x, x.T @ y)


_NORMAL, _UNIFORM = normal("float32"), uniform("float32")


def _of(*shape: int, fill: Fill = _NORMAL, powers: tuple[float, ...] | None = None) -> Input:
    # The scale is that of the whole operand.
    return Input(repeated(fill), shape, (1 / len(shape),) * len(shape) if powers is None else powers)


_LONG, _SQUARE, _GRID = _of(1 << 28), _of(1 << 14, 1 << 14), _of(8192, 8192)

GPU_ROWS = (
    Row("chain", rows.chain, [_LONG] * 3, FLOAT32, True, of_copy=1.00),
    Row("sum", rows.total, [_of(1 << 28, fill=_UNIFORM)], LONG_SUM32, True, of_copy=0.97),
    Row(
        "sum-rows",
        lambda xp, x: xp.sum(x, axis=1),
        [_of(1 << 14, 1 << 14, fill=_UNIFORM)],
        LONG_SUM32,
        True,
        of_copy=0.97,
    ),
    Row(
        "sum-columns",
        lambda xp, x: xp.sum(x, axis=0),
        [_of(1 << 14, 1 << 14, fill=_UNIFORM)],
        LONG_SUM32,
        True,
        of_copy=0.97,
    ),
    Row("softmax", rows.softmax, [_GRID], FLOAT32, True, of_copy=0.93),
    Row("layer-norm", rows.layer_norm, [_GRID], FLOAT32, True, of_copy=0.93),
    Row("transpose-add", rows.transpose_add, [_SQUARE] * 2, FLOAT32, True, of_copy=0.93),
    Row("stencil", stencil_step, [_GRID], FLOAT32, True, of_copy=0.90),
    Row(
        "stencil-100",
        stencil_step,
        [_GRID],
        FLOAT32,
        True,
        steps=100,
        without=("jax",),  # it compiles for each of a hundred shapes, which takes minutes
        of_copy=0.90,
    ),
    Row("periodic-100", periodic_step, [_GRID], FLOAT32, True, steps=100, of_copy=0.90),
    Row("gather", gather, [_of(1 << 26), Input(rows.positions, (1 << 26,))], FLOAT32, True),
    Row("cumulative-sum", rows.cumulative_sum, [_of(1 << 26, fill=whole)], 0, True),
    Row("matmul-4096", rows.matmul, [_of(4096, 4096)] * 2, FLOAT32, True),
    Row("matmul-8192", rows.matmul, [_of(8192, 8192)] * 2, FLOAT32, True),
    # Code nobody tuned the kernels for.
    Row("argmax", rows.argmax, [_GRID], 0),
    Row("variance-columns", rows.column_variances, [_GRID], FLOAT32),
    Row(
        "transcendental",
        rows.transcendental,
        [_of(1 << 27), _of(1 << 27, fill=uniform("float32", 0, 3))],
        1e-5,
    ),
    Row(
        "black-scholes",
        rows.black_scholes,
        [_of(1 << 26, fill=uniform("float64", low, high)) for low, high in ((50, 150), (50, 150), (0.1, 2))],
        FLOAT64,
    ),
    Row(
        "shallow-water", rows.shallow_water, [_of(4098, 4098, fill=uniform("float64", 0.5, 1.5))] * 3, FLOAT64
    ),
    Row(
        "n-body", rows.n_body, [Input(normal("float32"), (8192, 3), (0.5, 0)), _of(8192, fill=_UNIFORM)], 1e-4
    ),
    Row("masked-update", rows.masked_update, [_GRID, _GRID, _of(8192, 8192, fill=_UNIFORM)], FLOAT32),
    Row("select", selected, [_of(1 << 26)], 0),
    Row("masked-assignment", masked_assignment, [_of(1 << 26)], 0),
    Row("sort", rows.sort, [_of(1 << 26)], 0),
    Row("fft", spectrum, [_of(4096, 8192)], 1e-5),
    Row(
        "least-squares",
        least_squares,
        [
            _of(100_000, 512, fill=normal("float64"), powers=(1,)),
            _of(100_000, 8, fill=normal("float64"), powers=(1,)),
        ],
        1e-9,
    ),
    Row("heat-loop", rows.heat_loop, [_GRID], FLOAT32),
    # What a call costs where the GPU has nearly nothing to do.
    Row("chain-100", rows.chain, [Input(normal("float32"), (100,), FIXED)] * 3, FLOAT32),
    Row("ten-operations", rows.ten_operations, [Input(normal("float32"), (100,), FIXED)], FLOAT32),
)


def rows_of(device: str) -> Sequence[Row]:
    """The table for arrays on this device."""
    return rows.ROWS if device == "cpu" else GPU_ROWS
