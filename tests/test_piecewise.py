"""Slices of one array side by side, as roll makes them: read by pieces inside kernels, against NumPy."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import toonygrad as xp
from toonygrad import dtypes, record
from toonygrad.array import from_node, node_of
from toonygrad.config import Counters
from toonygrad.schedule.piecewise import MOST_PIECES, Piecewise, composed, pieces_of
from toonygrad.schedule.ranges import Index, atom
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

EXAMPLES = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def compiled():
    with xp.config(compile="always"):
        yield


def numbers(*shape: int, dtype: Any = "float64") -> np.ndarray:
    values = np.random.default_rng(sum(shape)).integers(-8, 9, shape)
    if np.dtype(dtype).kind == "c":
        return (values + 1j * values[..., ::-1]).astype(dtype)
    return abs(values).astype(dtype) if np.dtype(dtype).kind in "bu" else values.astype(dtype)


def check(compute: Callable[..., Any], *arrays: np.ndarray) -> None:
    """`compute(namespace, arrays...)` gives what NumPy gives, exactly."""
    result, expected = compute(xp, *map(xp.asarray, arrays)), np.asarray(compute(np, *arrays))
    assert np.asarray(result).dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(result), expected)


def spent(compute: Callable[[], tuple[xp.Array, ...]]) -> Counters:
    before = xp.counters()
    xp.realize(*compute())
    return xp.counters() - before


def kernels(*arrays: xp.Array) -> int:
    return len(xp.explain(*arrays).kernels)


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 8, 1000, 5003])
@pytest.mark.parametrize("shift", [0, 1, -1, 2, 5, -1003, 12345])
def test_roll_along_a_line(size: int, shift: int) -> None:
    check(lambda ns, x, y: ns.roll(x, shift) * 2 + y, numbers(size), numbers(size)[::-1])


@pytest.mark.parametrize("shape", [(1, 7), (2, 2), (3, 1), (70, 90), (3, 40000), (4000, 3), (5, 6, 7)])
def test_roll_along_several_axes(shape: tuple[int, ...]) -> None:
    x, y = numbers(*shape), numbers(*shape)[::-1]
    for axis in range(len(shape)):
        check(lambda ns, x, y, axis=axis: ns.roll(x, 2, axis=axis) - ns.roll(y, -1, axis=axis), x, y)
    check(lambda ns, x, y: ns.roll(x, (1, -2), axis=(0, 1)) + ns.roll(y, (4, 1), axis=(1, 0)), x, y)
    check(lambda ns, x, y: ns.roll(x, 3) + ns.roll(y, -1), x, y)
    check(lambda ns, x, y: ns.roll(ns.roll(x, 3, axis=0), -1, axis=0) + ns.roll(x, 1) * y, x, y)


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_every_data_type(dtype: np.dtype) -> None:
    check(
        lambda ns, x, y: ns.where(y, ns.roll(x, 3, axis=1), ns.roll(x, -1, axis=0)),
        numbers(9, 33, dtype=dtype),
        numbers(9, 33, dtype="bool"),
    )


@pytest.mark.parametrize(
    "reduce",
    [
        lambda ns, x: ns.sum(x),
        lambda ns, x: ns.sum(x, axis=0),
        lambda ns, x: ns.sum(x, axis=1),
        lambda ns, x: ns.max(x, axis=1, keepdims=True) - x,
        lambda ns, x: ns.argmax(x, axis=1),
        lambda ns, x: ns.argmin(x, axis=0),
        lambda ns, x: ns.cumulative_sum(x, axis=1),
        lambda ns, x: ns.cumulative_sum(x, axis=0),
        lambda ns, x: x - ns.sum(x, axis=0),
    ],
)
@pytest.mark.parametrize("shape", [(40, 60), (3, 3000), (3000, 3), (300, 1500)])
def test_reductions_over_rolled_arrays(reduce: Callable[..., Any], shape: tuple[int, int]) -> None:
    for axis in (0, 1):
        check(
            lambda ns, x, y, axis=axis: reduce(ns, ns.roll(x, 5, axis=axis) * ns.roll(y, -700, axis=1)),
            numbers(*shape),
            numbers(*shape)[:, ::-1],
        )


@pytest.mark.parametrize(
    "compute",
    [
        lambda ns, x: ns.roll(x.T, 3, axis=0) + x.T,
        lambda ns, x: ns.roll(x.T, 3, axis=1).T * x,
        lambda ns, x: ns.roll(x.T[::-1], 3, axis=0) - ns.roll(x.T, (-7, 30), axis=(0, 1)),
        lambda ns, x: ns.roll(x, 3, axis=1)[::2, 1::3] + 1,
        lambda ns, x: ns.roll(x, 3, axis=1)[::-1, ::-2] + 1,
        lambda ns, x: ns.roll(x[::-1, ::2], -2, axis=1) + ns.roll(x[:, 1::2], 1, axis=0),
        lambda ns, x: ns.roll(x * 2, 3, axis=1)[:, :2] + 1,
        lambda ns, x: ns.roll(x, 2, axis=1)[5] + ns.roll(x, 4, axis=0)[2],
        lambda ns, x: ns.flip(ns.roll(ns.flip(x, axis=1), 3, axis=1), axis=1) - x,
        lambda ns, x: ns.reshape(ns.roll(x, 7, axis=1), (-1,)) * 2,
        lambda ns, x: ns.reshape(ns.roll(ns.reshape(x * 3, (-1,)), 7), x.shape) + x,
        lambda ns, x: ns.roll(ns.roll(x, 1, axis=1) * x, 1, axis=1) + x,
        lambda ns, x: ns.roll(ns.sum(x, axis=1), 2)[:, None] + x,
        lambda ns, x: ns.roll(x[0], 2)[None, :] * x + ns.roll(x[:, 0], -2)[:, None],
        lambda ns, x: ns.take(ns.roll(x, 2, axis=1), ns.asarray([3, 0, -1]), axis=1) + 1,
        lambda ns, x: ns.roll(ns.take(x, ns.asarray([3, 0, 2, 1]), axis=1), 1, axis=1) + 1,
        lambda ns, x: ns.roll(ns.cumulative_sum(x, axis=0), 1, axis=0) + ns.roll(x, 3, axis=0),
        lambda ns, x: ns.exp(ns.roll(x, 2, axis=1)) * 0 + ns.roll(x, 1, axis=0),
        lambda ns, x: ns.roll(ns.astype(ns.arange(130), ns.float64), 5) + x,
        lambda ns, x: ns.roll(ns.broadcast_to(x[:1], (70, 130)), 5, axis=1) + x,
        lambda ns, x: ns.sum((ns.roll(x, 1, axis=1)[:, None] - ns.roll(x, 2, axis=0)[None]) ** 2, axis=2),
        lambda ns, x: ns.concat([x + 1, ns.roll(x, 1, axis=0), ns.roll(x, (1, 1), axis=(0, 1))], axis=1),
        lambda ns, x: ns.roll(x, (1, 2), axis=(0, 1)),
        lambda ns, x: ns.tile(x * 2, (2, 3)) + 1,
    ],
)
def test_movement_around_a_roll(compute: Callable[..., Any]) -> None:
    check(compute, numbers(70, 130))


def test_slow_forms_of_functions_run_in_the_piece_that_needs_them() -> None:
    x = np.linspace(0, 1, 5000)
    x[[0, 1, 2, 1500, 4999]] = [1e300, np.inf, np.nan, -1e18, 5e17]
    for shift in (1, -1, 1024, 3000):
        result = xp.sin(xp.roll(xp.asarray(x), shift)) + xp.cos(xp.asarray(x))
        with np.errstate(invalid="ignore"):
            expected = np.sin(np.roll(x, shift)) + np.cos(x)
        np.testing.assert_allclose(np.asarray(result), expected, rtol=1e-13, atol=1e-15)


@st.composite
def arrangements(draw: Any) -> tuple[tuple[int, int], int, list[tuple[int, int, int]], int]:
    """A shape, an axis, some slices along it with one step, and the other axis' index."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    axis = draw(st.integers(0, 1))
    step = draw(st.sampled_from([1, 1, 2, -1, -2]))
    slices = []
    for _ in range(draw(st.integers(2, 5))):
        start = draw(st.integers(0, shape[axis] - 1))
        room = (shape[axis] - 1 - start) // step if step > 0 else start // -step
        slices.append((start, step, 1 + draw(st.integers(0, room))))
    return shape, axis, slices, draw(st.integers(-3, 3))


@given(arrangements(), st.sampled_from(["roll", "flip", "slice", "sum", "transpose", "flat", "again"]))
@EXAMPLES
def test_arrangements_of_slices(arranged: Any, then: str) -> None:
    shape, axis, slices, shift = arranged
    x = numbers(*shape)

    def arrange(node: UOp) -> UOp:
        return record.concat([record.slice_axis(node, axis, *one) for one in slices], axis)

    def arrange_numpy(y: np.ndarray) -> np.ndarray:
        picked = [start + step * k for start, step, size in slices for k in range(size)]
        return np.take(y, picked, axis=axis)

    def after(ns: Any, y: Any) -> Any:
        return {
            "roll": lambda: ns.roll(y, shift, axis=axis) * 2,
            "flip": lambda: ns.flip(y, axis=axis) * 2,
            "slice": lambda: y[::2, -1::-2] * 2,
            "sum": lambda: ns.sum(y * 3, axis=axis),
            "transpose": lambda: ns.roll(y.T, shift, axis=axis) + y.T,
            "flat": lambda: ns.roll(y, shift) + y,
            "again": lambda: y + 1,
        }[then]()

    result = from_node(arrange(node_of(xp.asarray(x) + 1)))
    expected = arrange_numpy(x + 1)
    if then == "again" and shape[axis] <= expected.shape[axis]:
        result, expected = from_node(arrange(node_of(result))), arrange_numpy(expected)
    np.testing.assert_array_equal(np.asarray(after(xp, result)), after(np, expected))


ROLLED = st.tuples(
    st.sampled_from(["roll", "flat", "slice", "transpose", "flip", "add", "scale", "mean"]),
    st.integers(-6, 6),
    st.integers(0, 1),
)


@given(
    st.tuples(st.sampled_from([1, 2, 3, 40, 300]), st.sampled_from([1, 2, 3, 50, 2100])),
    st.lists(ROLLED, min_size=1, max_size=9),
)
@EXAMPLES
def test_random_programs_of_rolls(shape: tuple[int, int], steps: list[tuple[str, int, int]]) -> None:
    def run(ns: Any, x: Any) -> Any:
        first = x
        for name, number, axis in steps:
            if name == "roll":
                x = ns.roll(x, number, axis=axis)
            elif name == "flat":
                x = ns.roll(x, number)
            elif name == "slice" and x.shape[axis] > abs(number):
                x = x[abs(number) :] if axis == 0 else x[:, abs(number) :: 2]
            elif name == "transpose":
                x = x.T
            elif name == "flip":
                x = ns.flip(x, axis=axis)
            elif name == "add":
                x = x + ns.roll(x, number, axis=axis)
            elif name == "scale":
                x = x * 2 - (first if first.shape == x.shape else 1)
            elif name == "mean":
                x = x - ns.max(x, axis=axis, keepdims=True)
        return x

    check(run, numbers(*shape))


# -- counts ----------------------------------------------------------------------------------------


def shallow_water(h: Any, u: Any, v: Any, by: int = 1) -> tuple[Any, ...]:
    def eastward(q: Any) -> Any:
        return xp.roll(q, -by, axis=1) - xp.roll(q, by, axis=1)

    def northward(q: Any) -> Any:
        return xp.roll(q, -by, axis=0) - xp.roll(q, by, axis=0)

    return (
        h - eastward(h * u) - northward(h * v),
        u + v - 9.81 * eastward(h) - u * eastward(u) - v * northward(u),
        v - u - 9.81 * northward(h) - u * eastward(v) - v * northward(v),
    )


def fields(*shape: int) -> list[xp.Array]:
    return [xp.asarray(np.random.default_rng(seed).normal(size=shape)) for seed in range(3)]


def test_a_stencil_on_a_torus_is_one_kernel_that_moves_the_least_bytes() -> None:
    given = fields(300, 400)
    explained = xp.explain(*shallow_water(*given))
    assert len(explained.kernels) == 1
    assert explained.bytes_moved == explained.bytes_least == 6 * 300 * 400 * 8


def test_another_shape_and_another_shift_compile_nothing() -> None:
    xp.realize(*shallow_water(*fields(300, 400)))
    others = fields(500, 311)
    assert spent(lambda: shallow_water(*others)).kernels_compiled == 0
    assert spent(lambda: shallow_water(*others, by=7)).kernels_compiled == 0
    assert spent(lambda: shallow_water(*others, by=-200)).kernels_compiled == 0


def test_what_leads_to_one_kernel() -> None:
    x, y, _ = fields(300, 400)
    for one in (
        xp.sum(xp.roll(x, 1, axis=1) * y),
        xp.sum(xp.roll(x, (1, 2), axis=(0, 1)) * y, axis=0),
        xp.roll(x, 5) + y,
        xp.roll(xp.exp(x), 3, axis=1) * y,
        xp.roll(xp.roll(x, 3, axis=1), -3, axis=1) + y,
        xp.roll(x, 3, axis=1)[:, ::-2] + 1,
    ):
        assert kernels(one) == 1


def halo(ns: Any, x: Any) -> Any:
    """Differences to neighbours on a torus, by borders of two cells around it."""
    tall = ns.concat([x[-2:], x, x[:2]], axis=0)
    wide = ns.concat([tall[:, -2:], tall, tall[:, :2]], axis=1)
    return wide[4:, 2:-2] + wide[:-4, 2:-2] + wide[2:-2, 3:-1] - 3 * wide[2:-2, 1:-3]


def test_borders_around_an_array_are_read_inside() -> None:
    x, *_ = fields(300, 400)
    result = halo(xp, x + 1)
    assert kernels(result) == 1
    np.testing.assert_array_equal(np.asarray(result), halo(np, np.asarray(x) + 1))
    # Of what is in memory small parts stand for themselves.
    np.testing.assert_array_equal(np.asarray(halo(xp, x)), halo(np, np.asarray(x)))


def test_where_it_is_dear_the_source_is_stored() -> None:
    x, y, _ = fields(300, 400)
    twice = xp.exp(x)
    assert kernels(xp.roll(twice, 3, axis=1) + xp.roll(twice, -3, axis=1)) == 2
    # What many results share is stored: tiles read it.
    shared = xp.explain(xp.sum((x[:, None, :64] - xp.roll(y[:, :64], 1, axis=1)[None]) ** 2, axis=2))
    assert "it would be computed 300 times for each element" in {kernel.reason for kernel in shared.kernels}


def test_a_long_run_of_steps_is_planned_in_time() -> None:
    # Unless sources are stored before, a trace meets places by thousands.
    x, *_ = fields(100, 100)
    u, expected = x, np.asarray(x)
    for _ in range(30):
        u = u + 0.1 * (sum(xp.roll(u, k, axis=a) for k in (1, -1) for a in (0, 1)) - 4 * u)
        near = sum(np.roll(expected, k, axis=a) for k in (1, -1) for a in (0, 1))
        expected = expected + 0.1 * (near - 4 * expected)
    assert kernels(u) <= 30
    np.testing.assert_allclose(np.asarray(u), expected, rtol=1e-12, atol=1e-14)


def test_a_roll_that_somebody_holds_is_not_stored() -> None:
    x, y, _ = fields(300, 400)
    rolled = xp.roll(x, 1, axis=1)
    assert xp.explain(rolled * y).bytes_moved == 3 * 300 * 400 * 8
    np.testing.assert_array_equal(np.asarray(rolled), np.roll(np.asarray(x), 1, axis=1))


def test_different_parts_and_many_are_written_side_by_side() -> None:
    x, y, _ = fields(300, 400)
    reason = "its parts are written side by side"
    many = record.concat([node_of(x)] * (MOST_PIECES + 1), 0)
    for one in (
        xp.concat([x, y]) + 1,
        xp.concat([x + 1, xp.flip(x + 1, axis=0)]) * 2,
        from_node(many) + 1,
    ):
        assert reason in {kernel.reason for kernel in xp.explain(one).kernels}


# -- functions by pieces ---------------------------------------------------------------------------


def line(size: int) -> UOp:
    return UOp.new(Ops.ARGUMENT, (), (0, dtypes.float64, (size,), (1,)))


def rolled(node: UOp, by: int) -> UOp:
    size = node.shape[0]
    return record.concat(
        [record.slice_axis(node, 0, size - by, 1, by), record.slice_axis(node, 0, 0, 1, size - by)], 0
    )


def test_pieces_of_a_roll() -> None:
    pieces = pieces_of(rolled(line(10), 3))
    assert pieces is not None
    assert (pieces.source, pieces.slices, pieces.starts, pieces.shifts) == (
        line(10),
        ((0, 1),),
        (0, 3, 10),
        (7, -3),
    )


def test_a_roll_of_a_roll_is_one_function() -> None:
    here = UOp.new(Ops.RANGE, (), ("domain", 0))
    inner, outer = pieces_of(rolled(line(10), 3)), pieces_of(rolled(rolled(line(10), 3), 4))
    assert inner is not None and outer is not None
    affine, shift = composed(outer, atom(here), {here: 10}, {}) or (None, None)
    assert shift == Piecewise(atom(here), (4,), (6, -4))
    known = UOp.new(Ops.PIECEWISE, (here, *(UOp.new(Ops.SIZE, (), ("size", k)) for k in range(3))))
    index = Index(((here, 1), (known, 1)))
    both, total = composed(inner, index, {here: 10}, {known: shift}) or (None, None)
    assert (both, total) == (affine, Piecewise(atom(here), (7,), (3, -7)))


@pytest.mark.parametrize(("factor", "offset"), list(product([1, -1, 2, -2, 0], [0, 3])))
def test_composed_agrees_with_every_element(factor: int, offset: int) -> None:
    here = UOp.new(Ops.RANGE, (), ("domain", 0))
    pieces = pieces_of(rolled(line(20), 6))
    assert pieces is not None
    start = offset + (8 * abs(factor) if factor < 0 else 0)
    index = atom(here).scaled(factor).shifted(start)
    found = composed(pieces, index, {here: 8}, {})
    assert found is not None
    affine, shift = found
    for place in range(8):
        at = affine.offset + sum(c * place for _, c in affine.terms) + (shift.at(place) if shift else 0)
        assert at == (factor * place + start - 6) % 20
