"""What the tests of the namespace share: input of every data type, and comparison with what NumPy says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

import toonygrad as xp
from toonygrad import dtypes

# Numbers at which functions are special, and ordinary ones.
REALS = (0.0, -0.0, 1.0, -1.0, 0.5, -0.75, 2.0, 3.0, -7.25, 1e-3, 123.456, math.inf, -math.inf, math.nan)
FINITE = tuple(value for value in REALS if math.isfinite(value))


def samples(dtype: np.dtype, finite: bool = False, count: int = 24) -> np.ndarray:
    """A one-dimensional array with a type's special values among ordinary ones, the same for every run."""
    random = np.random.default_rng(20251201)
    if dtype == dtypes.bool_:
        return random.integers(0, 2, count).astype(bool)
    if dtype in dtypes.INTEGERS:
        limits = np.iinfo(dtype)
        special = [0, 1, 2, 3, 7, limits.max, limits.max - 1, limits.min, limits.min + 1]
        ordinary = random.integers(max(limits.min, -100), min(limits.max, 100), count - len(special))
        return np.array([*special, *(int(one) for one in ordinary)], dtype)
    special = list(FINITE if finite else REALS)
    ordinary = random.normal(0, 3, count - len(special))
    reals = np.array([*special, *ordinary], dtypes.REAL_PART.get(dtype, dtype))
    if dtype in dtypes.REAL_FLOATING:
        return reals
    result = np.empty(count, dtype)
    result.real, result.imag = reals, random.permutation(reals)
    return result


def elements(dtype: np.dtype, **bounds: Any) -> st.SearchStrategy[Any]:
    """Elements of a type; floats of a moderate size, so that sums stay finite."""
    if dtype in dtypes.REAL_FLOATING:
        bounds = {"min_value": -1000, "max_value": 1000, **bounds}
    elif dtype in dtypes.COMPLEX_FLOATING:
        bounds = {"max_magnitude": 1000, "allow_nan": False, **bounds}
    return hnp.from_dtype(dtype, **bounds)


def arrays(
    dtype: Any = dtypes.ALL, shape: Any = None, min_dims: int = 0, min_side: int = 0
) -> st.SearchStrategy[np.ndarray]:
    """NumPy arrays of one of some types and of small shapes, empty and 0-d ones among them."""
    if shape is None:
        shape = hnp.array_shapes(min_dims=min_dims, max_dims=4, min_side=min_side, max_side=5)
        if min_dims == 0:
            shape = st.just(()) | shape
    kinds = st.sampled_from(dtype) if isinstance(dtype, Sequence) else st.just(dtype)
    return kinds.flatmap(lambda kind: hnp.arrays(kind, shape, elements=elements(kind)))


def axes(ndim: int) -> st.SearchStrategy[Any]:
    """None, an axis, or several, from the front or from the back."""
    if ndim == 0:
        return st.sampled_from([None, ()])
    one = st.integers(-ndim, ndim - 1)
    several = st.lists(one, unique_by=lambda axis: axis % ndim, max_size=ndim).map(tuple)
    return st.none() | one | several


def check(result: xp.Array, expected: Any, ulp: int | None = None, slack: float = 0.0) -> None:
    """`result` has type, shape and elements of `expected`; with `ulp`, to so many units in the last place.

    NumPy's scalars count as 0-d arrays. `slack` times the type's precision is added to what is allowed: for
    sums that nearly cancel.
    """
    assert type(result) is xp.Array
    wanted = np.asarray(expected)
    assert result.dtype == wanted.dtype
    assert result.shape == wanted.shape
    found = np.asarray(result)
    if ulp is None or wanted.dtype.kind in "biu":
        np.testing.assert_array_equal(found, wanted)
        return
    limits = np.finfo(wanted.dtype)
    atol = slack * float(limits.eps) + float(limits.smallest_subnormal)
    np.testing.assert_allclose(found, wanted, rtol=ulp * limits.eps, atol=atol)


def same_bits(result: xp.Array, expected: np.ndarray) -> None:
    """As `check`, and zeros have the same sign."""
    check(result, expected)
    found = np.asarray(result)
    if found.dtype.kind in "fc":
        for part in ("real", "imag"):
            mine, theirs = getattr(found, part), getattr(expected, part)
            numbers = ~np.isnan(mine)
            np.testing.assert_array_equal(np.signbit(mine)[numbers], np.signbit(theirs)[numbers])
