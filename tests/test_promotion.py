"""Which type a result has: the standard's table, mixed kinds as NumPy has them, Python scalars."""

import itertools
import operator

import numpy as np
import pytest
from numpy_reference import check

import toonygrad as xp
from toonygrad import dtypes

PAIRS = list(itertools.product(dtypes.ALL, repeat=2))


def mixes(a, b):
    """Without a common type are booleans with numbers, and uint64 with signed integers."""
    if (a == dtypes.bool_) != (b == dtypes.bool_):
        return False
    return not (dtypes.uint64 in (a, b) and (a in dtypes.SIGNED or b in dtypes.SIGNED))


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=lambda dtype: str(dtype))
def test_pairs_of_types(a, b):
    x, y = xp.ones(2, dtype=a), xp.ones(2, dtype=b)
    if not mixes(a, b):
        for call, name in (
            (lambda: x == y, "__eq__"),
            (lambda: xp.equal(x, y), "equal"),
            (lambda: xp.where(xp.asarray(True), x, y), "where"),
            (lambda: xp.concat([x, y]), "concat"),
            (lambda: xp.result_type(a, b), "result_type"),
        ):
            with pytest.raises(TypeError, match=rf"{name}: no common data type for {a} and {b}"):
                call()
        assert not xp.can_cast(a, b)
        return
    common = np.result_type(a, b)
    assert xp.result_type(a, b) == xp.result_type(x, b) == xp.result_type(x, y) == common
    assert xp.can_cast(a, b) == xp.can_cast(x, b) == (common == b)
    assert (x == y).dtype == dtypes.bool_
    assert xp.where(xp.asarray(True), x, y).dtype == common
    assert xp.concat([x, y]).dtype == common
    if a != dtypes.bool_:
        check(x + y, np.ones(2, a) + np.ones(2, b))
        assert (x * y).dtype == xp.multiply(x, y).dtype == common


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
@pytest.mark.parametrize("scalar", [True, 1, 1.5, 1j], ids=lambda scalar: type(scalar).__name__)
def test_scalars_beside_arrays(dtype, scalar):
    x = xp.ones(2, dtype=dtype)
    kind = type(scalar)
    if (kind is bool) != (dtype == dtypes.bool_):
        for call in (lambda: x == scalar, lambda: xp.equal(scalar, x), lambda: xp.result_type(x, scalar)):
            with pytest.raises(
                TypeError, match=f"no common data type for {dtype} and a Python {kind.__name__}"
            ):
                call()
        return
    if kind is complex:
        expected = dtypes.COMPLEX_OF.get(dtype, dtype if dtype.kind == "c" else dtypes.complex128)
    elif kind is float:
        expected = dtypes.float64 if dtype.kind in "iu" else dtype
    else:
        expected = dtype
    assert xp.result_type(x, scalar) == xp.result_type(scalar, dtype) == expected
    operate = operator.and_ if kind is bool else operator.add
    check(operate(x, scalar), np.array([operate(1, scalar)] * 2, expected))
    check(operate(scalar, x), np.array([operate(1, scalar)] * 2, expected))
    assert xp.where(xp.asarray([True, False]), x, scalar).dtype == expected


@pytest.mark.parametrize("dtype", dtypes.INTEGERS, ids=str)
def test_integers_that_do_not_fit_are_refused(dtype):
    limits = np.iinfo(dtype)
    x = xp.zeros(1, dtype=dtype)
    check(x + int(limits.max), np.array([limits.max], dtype))
    check(x + int(limits.min), np.array([limits.min], dtype))
    for number in (int(limits.max) + 1, int(limits.min) - 1):
        with pytest.raises(
            OverflowError, match=rf"__add__: the Python number {number} is out of bounds for {dtype}"
        ):
            x + number
        with pytest.raises(OverflowError, match="add: "):
            xp.add(number, x)


def test_numpys_scalars_are_0d_arrays():
    x = xp.ones(1, dtype=xp.float32)
    for found in (x + np.float64(2), np.float64(2) + x, xp.add(np.float64(2), x), xp.add(x, np.float64(2))):
        assert found.dtype == dtypes.float64
    assert xp.result_type(x, np.float64(2)) == dtypes.float64


def test_0d_arrays_promote_like_others():
    assert (xp.ones(3, dtype=xp.float32) + xp.asarray(1.0)).dtype == dtypes.float64


def test_scalars_alone_have_no_type():
    with pytest.raises(TypeError, match="result_type: at least one"):
        xp.result_type(1, 2.0)
    with pytest.raises(TypeError, match="add: at least one"):
        xp.add(1, 2)


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_in_place_operators_keep_the_type(dtype):
    x = xp.ones(2, dtype=dtype)
    if dtype.kind in "iu":
        with pytest.raises(TypeError, match=f"__itruediv__: .*float64.*{dtype}"):
            x /= 2
        with pytest.raises(TypeError, match="__iadd__"):
            x += 1.5
    elif dtype.kind == "f":
        x /= 2
        assert x.dtype == dtype
        with pytest.raises(TypeError, match="__iadd__"):
            x += 1j
