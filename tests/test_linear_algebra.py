"""Products of vectors and matrices against NumPy."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_reference import check, elements

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.array import node_of
from toonygrad.uop.node import toposort
from toonygrad.uop.ops import Ops

DTYPES = st.sampled_from(dtypes.NUMERIC)


def drawn(data, dtype, shape):
    bounds = {"min_value": 0 if dtype.kind == "u" else -9, "max_value": 9} if dtype.kind in "iu" else {}
    return data.draw(hnp.arrays(dtype, shape, elements=elements(dtype, **bounds)))


def close(result, expected, a, b):
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind in "iu":
        check(result, expected)
    elif expected.size:
        largest = np.max(np.abs(a), initial=0) * np.max(np.abs(b), initial=0)
        slack = 512 * np.finfo(expected.dtype).eps * max(1e-30, largest)
        np.testing.assert_allclose(np.asarray(result), expected, rtol=1e-5, atol=slack)


@given(
    hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=4),
    DTYPES,
    st.data(),
)
def test_matmul(shapes, dtype, data):
    a, b = (drawn(data, dtype, shape) for shape in shapes.input_shapes)
    close(xp.matmul(xp.asarray(a), xp.asarray(b)), np.matmul(a, b), a, b)


@given(st.lists(st.integers(0, 3), max_size=4), st.lists(st.integers(0, 3), max_size=2), DTYPES, st.data())
def test_tensordot(first, rest, dtype, data):
    a = drawn(data, dtype, tuple(first))
    count = data.draw(st.integers(0, a.ndim))
    b = drawn(data, dtype, (*a.shape[a.ndim - count :], *rest))
    close(xp.tensordot(xp.asarray(a), xp.asarray(b), axes=count), np.tensordot(a, b, axes=count), a, b)
    left = data.draw(st.permutations(range(a.ndim)))[:count]
    c = drawn(data, dtype, (*(a.shape[axis] for axis in left), *rest))
    order = data.draw(st.permutations(range(c.ndim)))
    right = [order.index(k) - data.draw(st.sampled_from([0, c.ndim])) for k in range(count)]
    pair, turned = (list(left), right), c.transpose(order)
    found = xp.tensordot(xp.asarray(a), xp.asarray(turned), axes=pair)
    close(found, np.tensordot(a, turned, axes=pair), a, c)


@given(
    hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3),
    st.integers(0, 4),
    DTYPES,
    st.data(),
)
def test_vecdot(shapes, size, dtype, data):
    a, b = (drawn(data, dtype, (*shape, size)) for shape in shapes.input_shapes)
    expected = np.sum(np.conj(a) * b, axis=-1, dtype=dtype)
    close(xp.vecdot(xp.asarray(a), xp.asarray(b)), expected, a, b)
    axis = -data.draw(st.integers(1, min(a.ndim, b.ndim)))
    a, b = np.moveaxis(a, -1, axis), np.moveaxis(b, -1, axis)
    if a.ndim == b.ndim:
        close(xp.vecdot(xp.asarray(a), xp.asarray(b), axis=axis), expected, a, b)


def test_types_promote():
    x, y = xp.ones((2, 2), dtype=xp.float32), xp.ones((2, 2), dtype=xp.complex128)
    for function in (xp.matmul, xp.vecdot, xp.tensordot):
        assert function(x, y).dtype == dtypes.complex128
        assert function(xp.ones((2, 2), dtype=xp.int8), xp.ones((2, 2), dtype=xp.uint8)).dtype == dtypes.int16


def test_vecdot_is_a_reduction_and_conjugates():
    x = xp.asarray([1j, 2.0])
    assert complex(xp.vecdot(x, x)) == 5
    operations = {node.op for node in toposort(node_of(xp.vecdot(x, x)))}
    assert Ops.REDUCE in operations and Ops.EXTERNAL not in operations


@pytest.mark.parametrize("dtype", dtypes.NUMERIC, ids=str)
def test_products_over_nothing_are_zero(dtype):
    x, y = xp.zeros((3, 0), dtype=dtype), xp.zeros((0, 2), dtype=dtype)
    check(x @ y, np.zeros((3, 2), dtype))
    check(xp.tensordot(x, y, axes=1), np.zeros((3, 2), dtype))
    check(xp.vecdot(x, x), np.zeros(3, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize(
    "shapes", [((300, 70), (70,)), ((70,), (70, 5000)), ((300, 70), (70, 1)), ((90_000,), (90_000,))]
)
def test_a_product_with_a_vector_fuses(dtype, shapes):
    random = np.random.default_rng(3)
    a, b = (random.integers(-9, 9, shape).astype(dtype) for shape in shapes)
    with xp.config(compile="always"):
        result = xp.matmul(xp.asarray(a), xp.asarray(b)) * 2 + 1
        assert all(kernel.how == "compiled" for kernel in xp.explain(result).kernels)
        # A product of vectors is one value, which is combined from chunks before anything reads it.
        assert len(xp.explain(result).kernels) == (1 if result.ndim else 2)
        check(result, np.matmul(a, b) * a.dtype.type(2) + a.dtype.type(1))


def test_products_with_a_vector_are_at_least_as_exact_as_blas():
    random = np.random.default_rng(4)
    a, b = random.standard_normal((50, 40_000), np.float32), random.standard_normal(40_000, np.float32)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    ours, blas = np.asarray(xp.asarray(a) @ xp.asarray(b)), a @ b
    assert np.max(np.abs(ours - exact)) <= np.max(np.abs(blas - exact))


def test_a_transposed_matrix_is_read_in_its_own_order():
    x, y = xp.ones((5000, 64), dtype=xp.float32), xp.ones(5000, dtype=xp.float32)
    xp.realize(x, y)
    (kernel,) = xp.explain(x.T @ y).kernels
    # Lanes are neighbours in memory; one result after the other would take an element of each cache line.
    assert "for lane in range(width)" in kernel.function
