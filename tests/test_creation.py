"""The creation functions: what they make, what they copy, and that nothing is made before it is asked for."""

import array
import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy_reference import arrays, check, same_bits

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.array import node_of
from toonygrad.uop.node import toposort
from toonygrad.uop.ops import Ops

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
DTYPES = st.sampled_from(dtypes.ALL)


# -- asarray --------------------------------------------------------------------------------------


@given(arrays())
def test_asarray_of_numpy_arrays_copies(x):
    y = xp.asarray(x)
    check(y, x)
    expected = x.copy()
    if x.size:
        x[...] = x.dtype.type(1) if not x.flat[0] else x.dtype.type(0)
        check(y, expected)


@given(arrays())
def test_asarray_without_copy_shares(x):
    y = xp.asarray(x, copy=False)
    check(y, x)
    assert np.shares_memory(np.asarray(y), x) or x.size == 0


@given(arrays(), DTYPES)
def test_asarray_converts(x, dtype):
    if x.dtype.kind == "c" and dtype.kind not in "cb":
        with pytest.raises(TypeError, match=f"asarray: {x.dtype} can't be {dtype}"):
            xp.asarray(x, dtype=dtype)
        return
    y = xp.asarray(x, dtype=dtype)
    assert y.dtype == dtype
    if dtype.kind not in "iu" or x.dtype.kind in "biu":
        check(y, x.astype(dtype))
    if dtype != x.dtype:
        with pytest.raises(ValueError, match="without a copy"):
            xp.asarray(x, dtype=dtype, copy=False)


@given(arrays(min_dims=1, min_side=1))
def test_asarray_of_any_layout(x):
    for view in (x[::-1], x[::2], x.T, np.broadcast_to(x[:1], x.shape), x[..., None].swapaxes(0, -1)):
        check(xp.asarray(view), view)
        check(xp.asarray(view, copy=False), view)


@given(arrays([d for d in dtypes.ALL if d.itemsize > 1 and d.kind != "c"], min_dims=1))
def test_asarray_of_other_byte_orders_and_alignments(x):
    swapped = x.astype(x.dtype.newbyteorder())
    check(xp.asarray(swapped), x)
    packed = np.zeros(x.shape, np.dtype([("pad", "u1"), ("x", x.dtype)]))
    packed["x"] = x
    check(xp.asarray(packed["x"]), x)
    for foreign in (swapped, packed["x"]) if x.size else ():
        with pytest.raises(ValueError, match="without a copy"):
            xp.asarray(foreign, copy=False)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(True, "bool"), (7, "int64"), (-2.5, "float64"), (1 - 2j, "complex128"), (np.float32(0.5), "float32")],
)
def test_asarray_of_scalars(value, dtype):
    check(xp.asarray(value), np.array(value, dtype))
    for other in dtypes.ALL:
        if isinstance(value, complex) and other.kind not in "cb":
            with pytest.raises(TypeError, match="asarray"):
                xp.asarray(value, dtype=other)
        elif not (isinstance(value, float) and value < 0 and other.kind == "u"):
            check(xp.asarray(value, dtype=other), np.array(value).astype(other))


@pytest.mark.parametrize(
    "sequence",
    [
        [1, 2, 3],
        [[1, 2.5], (3, 4)],
        [True, False],
        [True, 2],
        [1j, 2],
        [[]],
        [[[1]], [[2]]],
        range(5),
        [np.float32(1), np.float32(2)],
        (np.arange(3), np.ones(3)),
    ],
    ids=repr,
)
def test_asarray_of_sequences(sequence):
    check(xp.asarray(sequence), np.array(sequence))
    check(xp.asarray(sequence, dtype=xp.complex64), np.array(sequence, np.complex64))


def test_asarray_of_other_objects():
    check(xp.asarray(array.array("d", [1.0, 2.0])), np.array([1.0, 2.0]))
    check(xp.asarray(memoryview(b"\x01\x02")), np.array([1, 2], np.uint8))
    check(xp.asarray(b"\x01\x02"), np.array([1, 2], np.uint8))
    writable = array.array("i", [1, 2])
    shared = xp.asarray(writable, copy=False)
    assert np.asarray(shared).ctypes.data == writable.buffer_info()[0]
    check(xp.asarray([xp.asarray(1.0), xp.asarray(2.0)]), np.array([1.0, 2.0]))
    check(xp.asarray(np.float16([1.5]), dtype=xp.float32), np.array([1.5], np.float32))

    class Exporting:
        def __init__(self):
            self.data = np.arange(3.0)

        def __dlpack__(self, **options):
            return self.data.__dlpack__(**options)

        def __dlpack_device__(self):
            return (1, 0)

    other = Exporting()
    check(xp.asarray(other), other.data)
    assert not np.shares_memory(np.asarray(xp.asarray(other)), other.data)
    assert np.shares_memory(np.asarray(xp.from_dlpack(other)), other.data)


def test_asarray_of_arrays():
    x = xp.asarray([1.0, 2.0])
    assert xp.asarray(x) is x
    assert xp.asarray(x, copy=False) is x
    assert xp.asarray(x, copy=True) is not x
    check(xp.asarray(x, dtype=xp.float32), np.array([1, 2], np.float32))
    assert xp.from_dlpack(x) is x
    with pytest.raises(ValueError, match="without a copy"):
        xp.asarray(x, dtype=xp.float32, copy=False)


# -- one number everywhere ------------------------------------------------------------------------


@given(SHAPES, DTYPES)
def test_constants(shape, dtype):
    check(xp.zeros(shape, dtype=dtype), np.zeros(shape, dtype))
    check(xp.ones(shape, dtype=dtype), np.ones(shape, dtype))
    x = xp.empty(shape, dtype=dtype)
    assert (x.shape, x.dtype) == (shape, dtype)
    check(xp.full(shape, 1, dtype=dtype), np.ones(shape, dtype))
    for like, expected in ((xp.zeros_like, 0), (xp.ones_like, 1), (xp.empty_like, 0)):
        check(like(x), np.full(shape, expected, dtype))
        check(like(x, dtype=xp.int8), np.full(shape, expected, np.int8))
    check(xp.full_like(x, 1), np.ones(shape, dtype))
    check(xp.full_like(x, 2, dtype=xp.uint8), np.full(shape, 2, np.uint8))


def test_default_types():
    for make in (xp.zeros, xp.ones, xp.empty):
        assert make(3).dtype == dtypes.float64
        assert make(3).shape == (3,)
    for value, dtype in ((True, "bool"), (1, "int64"), (1.0, "float64"), (1j, "complex128")):
        check(xp.full((2, 2), value), np.full((2, 2), value, dtype))
    check(xp.full(2, np.float32(1.5)), np.full(2, 1.5, np.float32))
    check(xp.full(2, xp.asarray(3, dtype=xp.int8)), np.full(2, 3, np.int8))
    same_bits(xp.full(2, -0.0), np.full(2, -0.0))


def test_numbers_are_no_part_of_a_structure():
    """Another fill value, range or diagonal runs the plan that is there."""

    def program(number):
        for x in (
            xp.full(3, number * 1.5) + 1,
            xp.arange(number * 1.0, number + 3.0),
            xp.linspace(0.0, number * 1.0, 4),
            xp.eye(3, k=number % 2),
            xp.tril(xp.ones((4, 4)), k=number % 3),
        ):
            np.asarray(x)

    program(1)
    before = xp.counters().plans_made
    program(2)
    assert xp.counters().plans_made == before


# -- ranges and diagonals -------------------------------------------------------------------------

SMALL = st.integers(-50, 50)


@given(SMALL, st.none() | SMALL, SMALL.filter(bool))
def test_arange_of_integers(start, stop, step):
    check(xp.arange(start, stop, step), np.arange(*((0, start) if stop is None else (start, stop)), step))


@given(SMALL, SMALL, SMALL.filter(bool), st.sampled_from(dtypes.NUMERIC))
def test_arange_of_types(start, stop, step, dtype):
    numbers = list(range(start, stop, step))
    if dtype in dtypes.UNSIGNED and numbers and min(numbers) < 0:
        with pytest.raises(OverflowError, match="arange"):
            xp.arange(start, stop, step, dtype=dtype)
    elif dtype.itemsize > 1:
        check(xp.arange(start, stop, step, dtype=dtype), np.array(numbers, dtype))


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.1, 5))
def test_arange_of_floats(start, stop, step):
    x = xp.arange(start, stop, step)
    assert x.shape == (max(math.ceil((stop - start) / step), 0),)
    np.testing.assert_array_equal(np.asarray(x), start + step * np.arange(x.shape[0]))


def test_arange_at_the_limits():
    check(xp.arange(2**63 - 2, 2**63), np.array([2**63 - 2, 2**63 - 1]))
    top = 2**64 - 1
    check(xp.arange(top, top - 3, -1, dtype=xp.uint64), np.array([top, top - 1, top - 2], np.uint64))
    check(xp.arange(-128, 128, 85, dtype=xp.int8), np.array([-128, -43, 42, 127], np.int8))
    assert xp.arange(5, 1).shape == (0,)
    with pytest.raises(OverflowError, match=r"arange: .*int64"):
        xp.arange(2**63, 2**63 + 2)


@given(
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
    st.integers(0, 20),
    st.booleans(),
    st.sampled_from(dtypes.FLOATING),
)
def test_linspace(start, stop, num, endpoint, dtype):
    x = xp.linspace(start, stop, num, endpoint=endpoint, dtype=dtype)
    expected = np.linspace(start, stop, num, endpoint=endpoint).astype(dtype)
    assert (x.dtype, x.shape) == (dtype, (num,))
    np.testing.assert_allclose(np.asarray(x), expected, rtol=4 * np.finfo(dtype).eps, atol=1e-9)
    if num:
        assert np.asarray(x)[0] == dtype.type(start)
    if endpoint and num > 1:
        assert np.asarray(x)[-1] == dtype.type(stop)


def test_linspace_elsewhere():
    check(xp.linspace(0, 1j, 3), np.array([0, 0.5j, 1j]))
    check(xp.linspace(0, 10, 4, dtype=xp.int64), np.array([0, 3, 6, 10]))
    assert np.isfinite(np.asarray(xp.linspace(-1.7e308, 1.7e308, 5))).all()
    assert xp.linspace(0, 1, 1).shape == (1,)


@given(st.integers(0, 6), st.none() | st.integers(0, 6), st.integers(-8, 8), DTYPES)
@example(3, None, -(2**70), dtypes.float64)
def test_eye(rows, columns, k, dtype):
    wanted = np.eye(rows, columns, k=max(min(k, 100), -100)).astype(dtype)
    check(xp.eye(rows, columns, k=k, dtype=dtype), wanted)


@given(arrays(min_dims=2), st.integers(-6, 6))
def test_triangles(x, k):
    check(xp.tril(xp.asarray(x), k=k), np.tril(x, k))
    check(xp.triu(xp.asarray(x), k=k), np.triu(x, k))


@given(st.lists(st.integers(0, 4), max_size=4), st.sampled_from(["xy", "ij"]))
def test_meshgrid(sizes, indexing):
    vectors = [np.arange(size, dtype=dtype) for size, dtype in zip(sizes, dtypes.INTEGERS)]
    found = xp.meshgrid(*(xp.asarray(vector) for vector in vectors), indexing=indexing)
    assert type(found) is tuple
    for mine, theirs in zip(found, np.meshgrid(*vectors, indexing=indexing), strict=True):
        check(mine, theirs)


def test_rules_take_no_memory():
    shape = (10**9, 10**6)
    x = xp.zeros(shape) + xp.ones(shape) * xp.full(shape, 2.5)
    assert x.shape == shape
    check(x[7, :3], np.full(3, 2.5))
    check(xp.eye(10**9)[5, 4:7], np.array([0.0, 1.0, 0.0]))
    assert Ops.BUFFER not in {node.op for node in toposort(node_of(xp.arange(10**12)))}
