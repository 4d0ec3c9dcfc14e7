"""The extension for linear algebra against NumPy, and factorizations against what they were made of."""

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_reference import arrays, axes, check, elements

import toonygrad as xp
import toonygrad.linalg
from toonygrad import array_api, dtypes
from toonygrad.linalg import svdvals

la = xp.linalg
MODES = pytest.mark.parametrize("mode", ["never", "always"])
FLOATING = pytest.mark.parametrize("dtype", dtypes.FLOATING, ids=str)
STACKS = st.sampled_from([(), (3,), (2, 3), (0,), (2, 0)])
# How far a result may be off, in units of the type's precision times the sizes of what it is made of.
DIGITS = 256


def random(dtype, *shape):
    """Numbers of a normal distribution, the same on every run; integers of a small range."""
    numbers = np.random.default_rng(sum(shape) + len(shape)).normal(size=(2, *shape))
    if dtype.kind in "iu":
        return np.trunc(np.abs(numbers[0] * 4)).astype(dtype)
    if dtype.kind == "c":
        return (numbers[0] + 1j * numbers[1]).astype(dtype)
    return numbers[0].astype(dtype)


def regular(dtype, *shape):
    """Matrices far from singular."""
    return random(dtype, *shape) + (8 * np.eye(shape[-1])).astype(dtype)


def hermitian(dtype, *shape):
    """Positive definite matrices."""
    x = random(dtype, *shape) % 2 if dtype.kind in "iu" else random(dtype, *shape)  # products stay below 127
    return (x @ np.conj(np.swapaxes(x, -1, -2)) + np.eye(shape[-1])).astype(dtype)


def floating(dtype):
    return dtypes.float64 if dtype.kind in "iu" else dtype


def real(dtype):
    return dtypes.REAL_PART.get(floating(dtype), floating(dtype))


def close(result, expected, dtype=None, size=1.0):
    """Of the type of `expected`, or of `dtype`, its shape, and nearly its elements."""
    expected = np.asarray(expected)
    assert type(result) is xp.Array
    assert result.dtype == (dtype or expected.dtype)
    assert result.shape == expected.shape
    largest = max(1.0, size, float(np.max(np.abs(expected), initial=0)))
    slack = DIGITS * np.finfo(result.dtype).eps * largest
    np.testing.assert_allclose(np.asarray(result), expected, rtol=1e-5, atol=slack)


def adjoint(x):
    return np.conj(np.swapaxes(np.asarray(x), -1, -2))


def identity_like(x):
    return np.broadcast_to(np.eye(x.shape[-1]), x.shape).astype(x.dtype)


# -- of square matrices ----------------------------------------------------------------------------


@given(st.sampled_from(dtypes.NUMERIC), STACKS, st.integers(0, 5))
def test_what_is_made_of_square_matrices(dtype, stack, size):
    x = regular(dtype, *stack, size, size)
    given_x, kind = xp.asarray(x), floating(dtype)
    as_float = x.astype(kind)
    close(la.det(given_x), np.linalg.det(as_float), kind, size=12.0**size)
    close(la.inv(given_x), np.linalg.inv(as_float), kind)
    sign, logarithm = la.slogdet(given_x)
    for found, expected in zip((sign, logarithm), np.linalg.slogdet(as_float), strict=True):
        close(found, expected)
    assert (sign.dtype, logarithm.dtype) == (kind, real(dtype))
    for n in range(-3, 5):
        close(la.matrix_power(given_x, n), np.linalg.matrix_power(as_float, n), kind)


@MODES
@FLOATING
def test_both_ways_of_computing(dtype, mode):
    x = regular(dtype, 3, 4, 4)
    with xp.config(compile=mode):
        pending = xp.asarray(x) * 2 - xp.asarray(x)
        close(la.inv(pending) * 3, np.linalg.inv(x) * dtype.type(3))
        close(la.det(xp.matrix_transpose(pending)), np.linalg.det(x), size=12.0**4)
        close(la.solve(pending, pending[0, :, :1]), np.linalg.solve(x, x[0, :, :1]))
        close(la.svdvals(pending), np.linalg.svdvals(x))
        close(la.pinv(pending), np.linalg.pinv(x, rtol=None))
        check(la.matrix_rank(pending), np.array([4, 4, 4]))
        close(la.vector_norm(pending), np.linalg.vector_norm(x))
        close(la.matrix_norm(pending, ord=2), np.linalg.matrix_norm(x, ord=2))
        close(la.trace(pending), np.trace(x, axis1=-2, axis2=-1))


@given(st.sampled_from(dtypes.NUMERIC), STACKS, st.integers(0, 5), st.booleans())
def test_cholesky(dtype, stack, size, upper):
    x = hermitian(dtype, *stack, size, size)
    found = la.cholesky(xp.asarray(x), upper=upper)
    close(found, np.linalg.cholesky(x.astype(floating(dtype)), upper=upper))
    factor = np.asarray(found)
    np.testing.assert_array_equal(factor, np.triu(factor) if upper else np.tril(factor))


@given(st.sampled_from(dtypes.NUMERIC), STACKS, st.integers(0, 5))
def test_eigenvalues_of_hermitian_matrices(dtype, stack, size):
    x = hermitian(dtype, *stack, size, size)
    given_x, kind = xp.asarray(x), floating(dtype)
    values, vectors = found = la.eigh(given_x)
    assert found._fields == ("eigenvalues", "eigenvectors")
    close(values, np.linalg.eigvalsh(x.astype(kind)), real(dtype))
    close(la.eigvalsh(given_x), np.asarray(values))
    v = np.asarray(vectors)
    close(vectors @ xp.asarray(adjoint(v)), identity_like(v), kind)
    close(xp.asarray(v * np.asarray(values)[..., None, :] @ adjoint(v)), x.astype(kind))


@given(st.sampled_from(dtypes.NUMERIC), STACKS, st.integers(0, 5))
def test_eigenvalues(dtype, stack, size):
    x = random(dtype, *stack, size, size)
    given_x, kind = xp.asarray(x), dtypes.COMPLEX_OF.get(floating(dtype), floating(dtype))
    values, vectors = found = la.eig(given_x)
    assert found._fields == ("eigenvalues", "eigenvectors")
    assert (values.dtype, vectors.dtype) == (kind, kind)
    assert (values.shape, vectors.shape) == (x.shape[:-1], x.shape)
    v = np.asarray(vectors)
    close(xp.asarray(x.astype(kind) @ v), v * np.asarray(values)[..., None, :])
    close(la.eigvals(given_x), np.linalg.eigvals(x.astype(floating(dtype))).astype(kind))


def test_real_eigenvalues_are_complex_numbers_too():
    x = xp.asarray([[2.0, 0.0], [0.0, 3.0]], dtype=xp.float32)
    check(la.eigvals(x), np.array([2, 3], np.complex64))
    check(la.eig(x).eigenvalues, np.array([2, 3], np.complex64))


@given(
    st.sampled_from(dtypes.NUMERIC),
    st.integers(0, 4),
    st.integers(0, 3),
    hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3),
)
def test_solve(dtype, size, columns, stacks):
    first, second = stacks.input_shapes
    a, b = regular(dtype, *first, size, size), random(dtype, *second, size, columns)
    x, kind = xp.asarray(a), floating(dtype)
    close(la.solve(x, xp.asarray(b)), np.linalg.solve(a.astype(kind), b.astype(kind)))
    vector = random(dtype, size)
    expected = np.linalg.solve(a.astype(kind), vector.astype(kind))
    close(la.solve(x, xp.asarray(vector)), expected)
    assert expected.shape == (*first, size)


def test_solve_promotes():
    x = xp.asarray(np.eye(2, dtype=np.float32))
    assert la.solve(x, xp.ones(2)).dtype == dtypes.float64
    assert la.solve(x, xp.ones(2, dtype=xp.complex64)).dtype == dtypes.complex64
    assert la.solve(x, xp.ones((2, 1), dtype=xp.float32)).dtype == dtypes.float32


# -- of all matrices -------------------------------------------------------------------------------


SHAPES = st.tuples(st.integers(0, 5), st.integers(0, 5))


@given(st.sampled_from(dtypes.NUMERIC), STACKS, SHAPES, st.booleans())
def test_singular_values(dtype, stack, shape, full):
    x = random(dtype, *stack, *shape)
    kind, least = floating(dtype), min(shape)
    u, s, vh = found = la.svd(xp.asarray(x), full_matrices=full)
    assert found._fields == ("U", "S", "Vh")
    assert (u.dtype, s.dtype, vh.dtype) == (kind, real(dtype), kind)
    assert u.shape == (*stack, shape[0], shape[0] if full else least)
    assert vh.shape == (*stack, shape[1] if full else least, shape[1])
    close(la.svdvals(xp.asarray(x)), np.asarray(s))
    left, right = np.asarray(u), np.asarray(vh)
    close(
        xp.asarray(adjoint(left) @ left),
        np.broadcast_to(np.eye(u.shape[-1]), (*stack, *u.shape[-1:] * 2)),
        kind,
    )
    product = left[..., :least] * np.asarray(s)[..., None, :] @ right[..., :least, :]
    close(xp.asarray(product), x.astype(kind))
    assert np.all(np.diff(np.asarray(s)) <= 0)


@given(st.sampled_from(dtypes.NUMERIC), STACKS, SHAPES, st.sampled_from(["reduced", "complete"]))
def test_qr(dtype, stack, shape, mode):
    x = random(dtype, *stack, *shape)
    kind, least = floating(dtype), min(shape)
    q, r = found = la.qr(xp.asarray(x), mode=mode)
    assert found._fields == ("Q", "R")
    columns = least if mode == "reduced" else shape[0]
    assert (q.shape, r.shape) == ((*stack, shape[0], columns), (*stack, columns, shape[1]))
    assert (q.dtype, r.dtype) == (kind, kind)
    left, right = np.asarray(q), np.asarray(r)
    close(xp.asarray(left @ right), x.astype(kind))
    close(
        xp.asarray(adjoint(left) @ left), np.broadcast_to(np.eye(columns), (*stack, columns, columns)), kind
    )
    np.testing.assert_array_equal(right, np.triu(right))
    assert np.all(np.diagonal(right, axis1=-2, axis2=-1).imag == 0)


@given(st.sampled_from(dtypes.NUMERIC), STACKS, SHAPES, st.integers(0, 3))
def test_pseudo_inverses_and_ranks(dtype, stack, shape, rank):
    x = random(dtype, *stack, shape[0], rank) @ random(dtype, *stack, rank, shape[1])
    given_x, as_float = xp.asarray(x), x.astype(floating(dtype))
    eps = float(np.finfo(real(dtype)).eps)
    precision = 64 * max(1, *shape) * eps
    check(la.matrix_rank(given_x, rtol=precision), np.linalg.matrix_rank(as_float, rtol=precision))
    found = la.pinv(given_x, rtol=precision)
    assert (found.dtype, found.shape) == (as_float.dtype, (*stack, shape[1], shape[0]))
    inverse = np.asarray(found)
    size = float(np.max(np.abs(as_float), initial=1)) ** 2 * float(np.max(np.abs(inverse), initial=1))
    close(xp.asarray(as_float @ inverse @ as_float), as_float, size=size)


@MODES
def test_tolerances_of_a_stack(mode):
    with xp.config(compile=mode):
        x = xp.asarray(np.stack([np.diag([1.0, 0.1, 0.01]), np.diag([2.0, 1.0, 0.5])]))
        for rtol, ranks in ((0.5, [1, 1]), (0.05, [2, 3]), (1, [0, 0]), (None, [3, 3])):
            check(la.matrix_rank(x, rtol=rtol), np.array(ranks))
        stack = xp.asarray([0.05, 0.3]) + 0.0
        check(la.matrix_rank(x, rtol=stack), np.array([2, 2]))
        expected = [np.diag([1.0, 10.0, 0.0]), np.diag([0.5, 1.0, 0.0])]
        close(la.pinv(x, rtol=stack), np.stack(expected))
        close(la.pinv(x, rtol=xp.asarray(0.3)), np.stack([np.diag([1.0, 0, 0]), expected[1]]))
        narrow = xp.astype(x, xp.float32)
        assert la.pinv(narrow, rtol=stack).dtype == dtypes.float32
        check(la.matrix_rank(narrow, rtol=stack), np.array([2, 2]))


def test_ranks_of_nothing():
    check(la.matrix_rank(xp.zeros((2, 0, 3))), np.zeros(2, np.int64))
    check(la.matrix_rank(xp.zeros((3, 3))), np.array(0))


# -- diagonals and products ------------------------------------------------------------------------


@given(arrays(min_dims=2), st.integers(-7, 7), st.booleans())
def test_diagonals(x, offset, transposed):
    given_x = xp.asarray(x)
    if transposed:
        x, given_x = np.swapaxes(x, -1, -2), xp.matrix_transpose(given_x)
    expected = np.diagonal(x, offset=offset, axis1=-2, axis2=-1)
    check(la.diagonal(given_x, offset=offset), expected)
    if x.dtype.kind != "b":
        wide = {"i": dtypes.int64, "u": dtypes.uint64}.get(x.dtype.kind, x.dtype)
        found = la.trace(given_x, offset=offset)
        check(found, np.sum(expected, axis=-1, dtype=wide), 16, slack=16 * 1000)


def test_traces_in_another_type():
    x = xp.asarray([[100, 1], [1, 100]], dtype=xp.int8)
    check(la.trace(x), np.array(200))
    check(la.trace(x, dtype=xp.float32), np.array(200, np.float32))
    check(la.trace(x, offset=5), np.array(0))


@given(st.sampled_from(dtypes.NUMERIC), st.data())
def test_outer(dtype, data):
    vectors = hnp.array_shapes(min_dims=1, max_dims=1, min_side=0, max_side=5)
    bounds = {"min_value": 0 if dtype.kind == "u" else -9, "max_value": 9} if dtype.kind in "iu" else {}
    a, b = (data.draw(hnp.arrays(dtype, vectors, elements=elements(dtype, **bounds))) for _ in range(2))
    check(la.outer(xp.asarray(a), xp.asarray(b)), np.outer(a, b), 8, slack=8 * 1e6)


@given(
    st.sampled_from(dtypes.NUMERIC),
    hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3),
    st.data(),
)
def test_cross(dtype, shapes, data):
    first, second = shapes.input_shapes
    axis = -data.draw(st.integers(1, min(len(first), len(second)) + 1))
    a, b = (np.moveaxis(random(dtype, *shape, 3), -1, axis) for shape in (first, second))
    expected = np.cross(a, b, axis=axis) if a.size and b.size else None
    if expected is None:
        shape = (*np.broadcast_shapes(a.shape, b.shape),)
        expected = np.zeros(shape, dtype)
    found = la.cross(xp.asarray(a), xp.asarray(b), axis=axis)
    if dtype.kind in "iu":
        check(found, expected)
    else:
        close(found, expected)


def test_products_promote():
    x, y = xp.ones(3, dtype=xp.int8), xp.ones(3, dtype=xp.float32)
    for function in (la.outer, la.cross):
        assert function(x, y).dtype == dtypes.PROMOTION[dtypes.int8, dtypes.float32]


# -- norms -----------------------------------------------------------------------------------------

ORDERS = [0, 1, 2, 3, 0.5, 2.5, -1, -2, -0.5, math.inf, -math.inf]


@given(arrays(dtypes.NUMERIC), st.sampled_from(ORDERS), st.booleans(), st.data())
def test_vector_norms(x, order, keepdims, data):
    x[np.abs(x.astype(complex)) < 1e-60] = 0  # powers of smaller numbers have few digits
    axis = data.draw(axes(x.ndim))
    wide = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    along = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    sizes = np.abs(wide)
    given_x = xp.asarray(x)
    if order == -math.inf and not math.prod(x.shape[one] for one in along):
        with pytest.raises(ValueError, match="vector_norm: no elements to choose from"):
            la.vector_norm(given_x, axis=axis, ord=order)
        return
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        if order == 0:
            expected = np.sum(sizes != 0, axis=along, keepdims=keepdims)
        elif math.isinf(order):
            choose = np.max if order > 0 else np.min
            extra = {"initial": 0} if order > 0 else {}
            expected = choose(sizes, axis=along, keepdims=keepdims, **extra)
        else:
            expected = np.sum(sizes**order, axis=along, keepdims=keepdims) ** (1 / order)
    kind = real(x.dtype)
    with np.errstate(over="ignore"):
        expected = np.asarray(expected).astype(kind)
    found = la.vector_norm(given_x, axis=axis, keepdims=keepdims, ord=order)
    check(found, expected, 64)


def test_squares_of_float32_do_not_overflow():
    x = xp.asarray([3e30, 4e30], dtype=xp.float32)
    check(la.vector_norm(x), np.array(5e30, np.float32), 2)
    check(la.vector_norm(x, ord=3), np.array(np.cbrt(91) * 1e30, np.float32), 2)
    check(la.vector_norm(x * (1j)), np.array(5e30, np.float32), 2)


MATRIX_ORDERS = ["fro", "nuc", None, 1, -1, 2, -2, math.inf, -math.inf]


@given(st.sampled_from(dtypes.NUMERIC), STACKS, SHAPES, st.sampled_from(MATRIX_ORDERS), st.booleans())
def test_matrix_norms(dtype, stack, shape, order, keepdims):
    x = random(dtype, *stack, *shape)
    given_x = xp.asarray(x)
    if 0 in shape:
        least = {-1: shape[1], -2: min(shape), -math.inf: shape[0]}.get(order, 1)
        if not least:
            with pytest.raises(ValueError, match="matrix_norm: no elements to choose from"):
                la.matrix_norm(given_x, ord=order)
            return
        expected = np.zeros((*stack, 1, 1) if keepdims else stack, real(dtype))
    else:
        expected = np.linalg.matrix_norm(
            x.astype(floating(dtype)), ord="fro" if order is None else order, keepdims=keepdims
        )
    close(la.matrix_norm(given_x, ord=order, keepdims=keepdims), expected, real(dtype), size=10)


# -- the namespace ---------------------------------------------------------------------------------


def test_the_namespace_is_a_module():
    assert toonygrad.linalg is la
    assert svdvals is la.svdvals
    for name in la.__all__:
        function = getattr(la, name)
        assert function.__name__ == name
        assert function.__module__.startswith(array_api.__name__)
        assert "standard's" in function.__doc__
    for name in ("matmul", "matrix_transpose", "tensordot", "vecdot"):
        assert getattr(la, name) is getattr(xp, name)
    assert len(la.__all__) == 25


@MODES
def test_neighbours_fuse(mode):
    x = regular(dtypes.float64, 20, 4, 4)
    with xp.config(compile=mode):
        before = xp.counters()
        result = xp.sum(la.inv(xp.asarray(x) * 2.0 - 1.0) + 1.0, axis=0)
        close(result, np.sum(np.linalg.inv(x * 2 - 1) + 1, axis=0))
        assert (xp.counters() - before).kernels_launched == (2 if mode == "always" else 0)


# -- failures --------------------------------------------------------------------------------------

SINGULAR = xp.asarray([[1.0, 2.0], [2.0, 4.0]])
NANS = xp.asarray([[math.nan, 1.0], [1.0, math.nan]])


@MODES
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("inv", lambda: la.inv(SINGULAR)),
        ("matrix_power", lambda: la.matrix_power(SINGULAR, -2)),
        ("solve", lambda: la.solve(SINGULAR, xp.ones(2))),
        ("cholesky", lambda: la.cholesky(-SINGULAR)),
        ("eigvals", lambda: la.eigvals(NANS)),
        ("eig", lambda: la.eig(NANS)[0]),
        ("svdvals", lambda: la.svdvals(NANS)),
        ("svd", lambda: la.svd(NANS)[1]),
        ("pinv", lambda: la.pinv(NANS)),
        ("matrix_rank", lambda: la.matrix_rank(NANS)),
        ("matrix_norm", lambda: la.matrix_norm(NANS, ord="nuc")),
    ],
)
def test_failures_name_the_call(name, call, mode):
    with xp.config(compile=mode), pytest.raises(np.linalg.LinAlgError, match=f"^{name}: "):
        call().block_until_ready()


@MODES
def test_failures_lose_nothing(mode):
    with xp.config(compile=mode):
        x = xp.asarray([[1.0, 2.0], [2.0, 4.0]])
        doubled = x * 2
        result = la.inv(doubled) + 1
        for _ in range(2):
            with pytest.raises(np.linalg.LinAlgError, match="inv: Singular"):
                result.block_until_ready()
        check(doubled, np.array([[2.0, 4.0], [4.0, 8.0]]))


def test_determinants_of_singular_matrices():
    close(la.det(SINGULAR), np.array(0.0))
    sign, logarithm = la.slogdet(xp.zeros((2, 2)))
    check(sign, np.array(0.0))
    check(logarithm, np.array(-math.inf))


# -- bad input -------------------------------------------------------------------------------------

VECTOR = xp.asarray([1.0, 2.0])
WIDE = xp.asarray(np.arange(6.0).reshape(2, 3))
TRUTHS = WIDE > 1
OF_SQUARES = {
    "cholesky": la.cholesky,
    "det": la.det,
    "eig": la.eig,
    "eigh": la.eigh,
    "eigvals": la.eigvals,
    "eigvalsh": la.eigvalsh,
    "inv": la.inv,
    "matrix_power": lambda x: la.matrix_power(x, 2),
    "slogdet": la.slogdet,
    "solve": lambda x: la.solve(x, VECTOR),
}
OF_MATRICES = OF_SQUARES | {
    name: getattr(la, name)
    for name in ("matrix_norm", "matrix_rank", "pinv", "qr", "svd", "svdvals", "trace")
}


@pytest.mark.parametrize("name", OF_SQUARES)
def test_matrices_must_be_square(name):
    with pytest.raises(ValueError, match=rf"^{name}: takes square matrices, not the shape \(2, 3\)"):
        OF_SQUARES[name](WIDE)


@pytest.mark.parametrize("name", OF_MATRICES)
def test_bad_matrices(name):
    function = OF_MATRICES[name]
    with pytest.raises(ValueError, match=rf"^{name}: needs at least two dimensions, not the shape \(2,\)"):
        function(VECTOR)
    with pytest.raises(TypeError, match=f"^{name}: numeric data types are allowed, not bool"):
        function(TRUTHS)
    for stranger in ([[1.0]], np.eye(2), 1.0, None):
        with pytest.raises(TypeError, match=f"^{name}: takes an Array, not {type(stranger).__name__}"):
            function(stranger)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: la.solve(SINGULAR, WIDE.T),
            ValueError,
            r"solve: right-hand sides of shape \(3, 2\) .*\(2, 2\)",
        ),
        (lambda: la.solve(SINGULAR, xp.ones(3)), ValueError, r"solve: right-hand sides of shape \(3,\)"),
        (lambda: la.solve(SINGULAR, xp.asarray(1.0)), ValueError, r"solve: right-hand sides of shape \(\)"),
        (
            lambda: la.solve(xp.ones((3, 2, 2)), xp.ones((2, 2, 1))),
            ValueError,
            r"solve: shapes \(3, 2, 2\) and \(2, 2, 1\) do not broadcast",
        ),
        (lambda: la.solve(SINGULAR, TRUTHS), TypeError, "solve: numeric .*not bool"),
        (lambda: la.matrix_power(SINGULAR, 0.5), TypeError, "matrix_power: n must be an integer, not float"),
        (lambda: la.qr(WIDE, mode="raw"), ValueError, "qr: mode is .*not 'raw'"),
        (lambda: la.pinv(WIDE, rtol=1j), TypeError, "pinv: rtol must be real"),
        (lambda: la.pinv(WIDE, rtol="1"), TypeError, "pinv: takes numbers, not str"),
        (lambda: la.pinv(WIDE, rtol=xp.asarray([1])), TypeError, "pinv: real floating .*not int64"),
        (lambda: la.pinv(WIDE, rtol=VECTOR), ValueError, r"pinv: rtol of shape \(2,\) .*\(2, 3\)"),
        (
            lambda: la.matrix_rank(xp.ones((3, 2, 2)), rtol=VECTOR),
            ValueError,
            r"matrix_rank: shapes \(2,\) and \(3,\) do not broadcast",
        ),
        (lambda: la.matrix_norm(WIDE, ord=3), ValueError, "matrix_norm: there is no norm 3"),
        (lambda: la.matrix_norm(WIDE, ord="l2"), ValueError, "matrix_norm: there is no norm 'l2'"),
        (lambda: la.matrix_norm(WIDE, ord=[1]), TypeError, "matrix_norm: takes numbers, not list"),
        (lambda: la.vector_norm(WIDE, ord="fro"), TypeError, "vector_norm: takes numbers, not str"),
        (lambda: la.vector_norm(WIDE, ord=1j), TypeError, "vector_norm: ord must be real"),
        (lambda: la.vector_norm(WIDE, axis=2), IndexError, "vector_norm: axis 2 is out of bounds"),
        (lambda: la.vector_norm(WIDE, axis=(0, -2)), ValueError, "vector_norm: .*twice"),
        (lambda: la.vector_norm(TRUTHS), TypeError, "vector_norm: numeric .*not bool"),
        (lambda: la.vector_norm([1.0]), TypeError, "vector_norm: takes an Array, not list"),
        (lambda: la.diagonal(VECTOR), ValueError, r"diagonal: needs at least two dimensions, .*\(2,\)"),
        (lambda: la.diagonal(WIDE, offset=0.5), TypeError, "diagonal: offset must be an integer"),
        (lambda: la.trace(WIDE, offset="1"), TypeError, "trace: offset must be an integer, not str"),
        (lambda: la.trace(WIDE, dtype="S4"), TypeError, "trace: 'S4' is none"),
        (lambda: la.trace(WIDE * 1j, dtype=xp.float64), TypeError, "trace: complex128 can't be float64"),
        (lambda: la.outer(WIDE, VECTOR), ValueError, r"outer: takes vectors, not .*\(2, 3\) and \(2,\)"),
        (lambda: la.outer(VECTOR, xp.asarray(1.0)), ValueError, "outer: takes vectors"),
        (lambda: la.outer(TRUTHS[0, :], TRUTHS[0, :]), TypeError, "outer: numeric .*not bool"),
        (lambda: la.outer(VECTOR, [1.0]), TypeError, "outer: takes an Array, not list"),
        (lambda: la.cross(VECTOR, VECTOR), ValueError, r"cross: \(2,\) and \(2,\) aren't both of size 3"),
        (lambda: la.cross(WIDE, WIDE[:, :1]), ValueError, r"cross: \(2, 3\) and \(2, 1\) aren't both"),
        (lambda: la.cross(WIDE, WIDE, axis=1), ValueError, "cross: the axis counts from the last one"),
        (lambda: la.cross(WIDE, WIDE, axis=-3), IndexError, "cross: axis -3 is out of bounds"),
        (lambda: la.cross(WIDE, xp.ones((3, 3))), ValueError, r"cross: shapes \(2, 3\) and \(3, 3\)"),
        (lambda: la.cross(TRUTHS, TRUTHS), TypeError, "cross: numeric .*not bool"),
    ],
)
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=f"^{words}"):
        call()
