"""What the tests of the whole standard share: arguments drawn by hypothesis.extra.array_api, comparison.

A Case says how a function's arguments are drawn and how near its answer has to be to NumPy's, which is given
the same arguments as NumPy arrays. The test_standard files hold tables of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.array_api import make_strategies_namespace
from numpy_reference import check

import toonygrad as xp
from toonygrad import dtypes

xps = make_strategies_namespace(xp, api_version="2025.12")

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Call:
    """The arguments of one call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def of(self, function: Callable[..., Any]) -> Any:
        return function(*self.args, **self.kwargs)

    def in_numpy(self) -> Call:
        return Call(in_numpy(self.args), in_numpy(self.kwargs))


@dataclass(frozen=True)
class Case:
    """One function: its arguments, what NumPy says of them, and how near to that ours has to be.

    `ulp` None means equal; else so many units in the last place, and `slack` of them beside zero.
    """

    arguments: st.SearchStrategy[Call]
    reference: Callable[..., Any]
    ulp: int | None = None
    slack: float = 0.0
    ours: Callable[..., Any] | None = None

    def compare(self, function: Callable[..., Any], call: Call) -> None:
        with np.errstate(all="ignore"):
            expected = call.in_numpy().of(self.reference)
        same(call.of(self.ours or function), expected, self.ulp, self.slack)


def same(found: Any, expected: Any, ulp: int | None = None, slack: float = 0.0) -> None:
    """`found` is what NumPy answers: an array, several, or a Python object."""
    if isinstance(expected, (tuple, list)):
        assert isinstance(found, (tuple, list)) and len(found) == len(expected)
        for one, other in zip(found, expected):
            same(one, other, ulp, slack)
    elif isinstance(expected, (np.ndarray, np.generic)):
        check(found, expected, ulp, slack)
    else:
        assert found == expected


def in_numpy(value: Any) -> Any:
    """`value` with NumPy arrays in place of Arrays, inside of containers too."""
    if isinstance(value, xp.Array):
        return np.asarray(value)
    if isinstance(value, (tuple, list)):
        return type(value)(in_numpy(part) for part in value)
    if isinstance(value, dict):
        return {key: in_numpy(part) for key, part in value.items()}
    return value


# -- data types ------------------------------------------------------------------------------------

_INTEGERS = xps.integer_dtypes() | xps.unsigned_integer_dtypes()
_KINDS = {
    "any": xps.scalar_dtypes(),
    "integer or boolean": _INTEGERS | xps.boolean_dtypes(),
    "integral": _INTEGERS,
    "numeric": xps.numeric_dtypes(),
    "real numeric": xps.real_dtypes(),
    "real or boolean": xps.real_dtypes() | xps.boolean_dtypes(),
    "floating": xps.floating_dtypes() | xps.complex_dtypes(),
    "real floating": xps.floating_dtypes(),
}


def data_types(kind: str) -> st.SearchStrategy[np.dtype]:
    return _KINDS[kind].map(np.dtype)


def beside(dtype: np.dtype, kind: str) -> st.SearchStrategy[np.dtype]:
    """Types of a kind that have a common one with `dtype`; the type itself half the time."""
    return st.just(dtype) | data_types(kind).filter(lambda other: (dtype, other) in dtypes.PROMOTION)


# -- elements --------------------------------------------------------------------------------------


def wild(dtype: np.dtype) -> st.SearchStrategy[Any]:
    """All there are: the extremes, infinities, NaN, subnormal numbers."""
    return xps.from_dtype(dtype)


def tame(dtype: np.dtype, least: float = -100, most: float = 100) -> st.SearchStrategy[Any]:
    """Numbers of a moderate size; of complex ones the modulus."""
    if dtype == dtypes.bool_:
        return st.booleans()
    if dtype in dtypes.COMPLEX_FLOATING:
        return st.complex_numbers(
            min_magnitude=max(least, 0), max_magnitude=most, width=64 if dtype == dtypes.complex64 else 128
        )
    if dtype in dtypes.UNSIGNED:
        least = max(least, 0)
    return xps.from_dtype(dtype, min_value=least, max_value=most)


def eighths(dtype: np.dtype) -> st.SearchStrategy[Any]:
    """Numbers whose sums, products of two, and sums of those are exact in every floating-point type."""
    if dtype not in dtypes.FLOATING:
        return tame(dtype)
    parts = st.integers(-64, 64).map(lambda numerator: numerator / 8)
    return parts if dtype in dtypes.REAL_FLOATING else st.builds(complex, parts, parts)


def unit(dtype: np.dtype) -> st.SearchStrategy[Any]:
    """From -1 to 1."""
    return tame(dtype, -1, 1)


def small(dtype: np.dtype) -> st.SearchStrategy[Any]:
    """From -10 to 10: the exponential is finite in every type."""
    return tame(dtype, -10, 10)


def halves(dtype: np.dtype) -> st.SearchStrategy[Any]:
    """Numbers whose product with many others stays in range."""
    if dtype not in dtypes.FLOATING:
        return tame(dtype)
    parts = st.integers(-4, 4).map(lambda numerator: numerator / 2)
    return parts if dtype in dtypes.REAL_FLOATING else st.builds(complex, parts, parts)


def positive(dtype: np.dtype) -> st.SearchStrategy[Any]:
    """From a quarter to 100."""
    return tame(dtype, 1 if dtype in dtypes.INTEGERS else 0.25, 100)


Elements = Callable[[np.dtype], st.SearchStrategy[Any]]


# -- arrays ----------------------------------------------------------------------------------------


# By themselves Hypothesis' shapes are mostly of one element or none: half of them are to have several.


def shapes(min_dims: int = 0, min_side: int = 0, max_dims: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    any_shape = xps.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=4)
    large = xps.array_shapes(min_dims=max(min_dims, max_dims - 1), max_dims=max_dims, min_side=2, max_side=4)
    return any_shape | large


def broadcastable(count: int, max_dims: int = 3) -> st.SearchStrategy[Any]:
    """Shapes that broadcast with each other, and the result's."""
    any_shapes = xps.mutually_broadcastable_shapes(count, max_dims=max_dims, max_side=4)
    large = xps.mutually_broadcastable_shapes(
        count, base_shape=(3, 4)[-max_dims:], max_dims=max_dims, min_side=2, max_side=4
    )
    return any_shapes | large


def arrays(
    kind: str,
    shape: st.SearchStrategy[tuple[int, ...]] | tuple[int, ...] | None = None,
    elements: Elements = wild,
) -> st.SearchStrategy[xp.Array]:
    """Arrays of data types of a kind, of small shapes, 0-d and empty ones among them."""
    return data_types(kind).flatmap(
        lambda dtype: xps.arrays(dtype, shapes() if shape is None else shape, elements=elements(dtype))
    )


@st.composite
def several(
    draw: Draw,
    kind: str,
    count: int,
    elements: Elements = wild,
    shape: st.SearchStrategy[tuple[int, ...]] | None = None,
) -> list[xp.Array]:
    """Arrays with a common data type whose shapes broadcast, or of one shape where that is given."""
    if shape is None:
        given = draw(broadcastable(count)).input_shapes
    else:
        given = (draw(shape),) * count
    first = draw(data_types(kind))
    types = [first, *(draw(beside(first, kind)) for _ in given[1:])]
    for dtype in types:
        if any((dtype, other) not in dtypes.PROMOTION for other in types):
            types = [first] * len(types)
    return [
        draw(xps.arrays(dtype, shape, elements=elements(dtype)))
        for dtype, shape in zip(types, given, strict=True)
    ]


@st.composite
def operands(draw: Draw, kind: str, elements: Elements = wild, second: Elements | None = None) -> Call:
    """Two arrays that promote and broadcast, one of them now and then a Python scalar."""
    second = second or elements
    a, b = draw(several(kind, 2, elements))
    b = draw(xps.arrays(b.dtype, b.shape, elements=second(b.dtype))) if second is not elements else b
    scalar_at = draw(st.sampled_from((None, None, None, 0, 1)))
    if scalar_at == 0:
        a = draw(elements(b.dtype))
    elif scalar_at == 1:
        b = draw(second(a.dtype))
    return Call((a, b), {})


def call(*args: st.SearchStrategy[Any], **options: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    """Arguments that don't depend on each other; each option is given or not."""
    return st.builds(Call, st.tuples(*args), st.fixed_dictionaries({}, optional=options))


def some(draw: Draw, **options: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Keywords, each given or not."""
    return draw(st.fixed_dictionaries({}, optional=options))


# -- axes ------------------------------------------------------------------------------------------


def axis_of(x: xp.Array) -> st.SearchStrategy[int]:
    return st.integers(-x.ndim, x.ndim - 1)


def axes_of(x: xp.Array) -> st.SearchStrategy[Any]:
    """None, an axis or several."""
    several = st.none() | xps.valid_tuple_axes(x.ndim)
    return several | axis_of(x) if x.ndim else several


@st.composite
def along_axes(
    draw: Draw, kind: str, elements: Elements = wild, min_side: int = 0, **options: st.SearchStrategy[Any]
) -> Call:
    """An array, and over which of its axes to reduce."""
    x = draw(arrays(kind, shapes(min_side=min_side), elements))
    # Most of them over one axis: over all there is but one result.
    axis = draw(st.sampled_from((None, axes_of(x), *[axis_of(x) if x.ndim else st.none()] * 3)))
    given = {} if axis is None else {"axis": draw(axis)}
    return Call((x,), {**given, **some(draw, keepdims=st.booleans(), **options)})


@st.composite
def along_axis(
    draw: Draw,
    kind: str,
    elements: Elements = wild,
    min_dims: int = 1,
    min_side: int = 0,
    **options: st.SearchStrategy[Any],
) -> Call:
    """An array of some dimensions, and one of its axes or none."""
    x = draw(arrays(kind, shapes(min_dims, min_side), elements))
    return Call((x,), some(draw, axis=axis_of(x) if x.ndim else st.none(), **options))


def in_floats(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's function of integers as float64; NumPy itself takes narrow ones as narrower floats."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if np.result_type(*(x for x in args if isinstance(x, np.ndarray))).kind in "iu":
            args = tuple(x.astype(np.float64) if isinstance(x, np.ndarray) else x for x in args)
        return function(*args, **kwargs)

    return wrapped
