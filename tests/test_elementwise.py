"""The element-wise functions against NumPy: every data type, special values, broadcasting, scalars."""

import inspect

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_reference import arrays, check, elements, same_bits, samples

import toonygrad as xp
from toonygrad import dtypes

# name -> NumPy's function, the categories of types, and how far it may be off in units in the last place.
UNARY = {
    "abs": (np.abs, "numeric", 2),
    "acos": (np.arccos, "floating", 4),
    "acosh": (np.arccosh, "floating", 4),
    "asin": (np.arcsin, "floating", 4),
    "asinh": (np.arcsinh, "floating", 4),
    "atan": (np.arctan, "floating", 4),
    "atanh": (np.arctanh, "floating", 4),
    "bitwise_invert": (np.invert, "integer or boolean", None),
    "ceil": (np.ceil, "real numeric", None),
    "conj": (np.conj, "numeric", None),
    "cos": (np.cos, "floating", 4),
    "cosh": (np.cosh, "floating", 4),
    "exp": (np.exp, "floating", 4),
    "floor": (np.floor, "real numeric", None),
    "imag": (np.imag, "numeric", None),
    "isfinite": (np.isfinite, "numeric", None),
    "isinf": (np.isinf, "numeric", None),
    "isnan": (np.isnan, "numeric", None),
    "log": (np.log, "floating", 4),
    "log10": (np.log10, "floating", 4),
    "log2": (np.log2, "floating", 4),
    "logical_not": (np.logical_not, "any", None),
    "negative": (np.negative, "numeric", None),
    "positive": (np.positive, "numeric", None),
    "real": (np.real, "numeric", None),
    "reciprocal": (lambda x: 1 / x, "floating", 4),
    "round": (np.round, "numeric", None),
    "signbit": (np.signbit, "real floating", None),
    "sin": (np.sin, "floating", 4),
    "sinh": (np.sinh, "floating", 4),
    "sqrt": (np.sqrt, "floating", 4),
    "square": (np.square, "numeric", 4),
    "tan": (np.tan, "floating", 4),
    "tanh": (np.tanh, "floating", 4),
    "trunc": (np.trunc, "real numeric", None),
}
# NumPy departs from the standard for complex numbers in these: reals only.
UNARY_OF_REALS = {
    "expm1": (np.expm1, "real floating", 4),
    "log1p": (np.log1p, "real floating", 4),
    "sign": (np.sign, "real numeric", None),
}

BINARY = {
    "add": (np.add, "numeric", None),
    "atan2": (np.arctan2, "real floating", 4),
    "bitwise_and": (np.bitwise_and, "integer or boolean", None),
    "bitwise_or": (np.bitwise_or, "integer or boolean", None),
    "bitwise_xor": (np.bitwise_xor, "integer or boolean", None),
    "copysign": (np.copysign, "real floating", None),
    "divide": (np.divide, "floating", 4),
    "equal": (np.equal, "any", None),
    "greater": (np.greater, "real numeric", None),
    "greater_equal": (np.greater_equal, "real numeric", None),
    "hypot": (np.hypot, "real floating", 4),
    "less": (np.less, "real numeric", None),
    "less_equal": (np.less_equal, "real numeric", None),
    "logaddexp": (np.logaddexp, "real floating", 4),
    "logical_and": (np.logical_and, "any", None),
    "logical_or": (np.logical_or, "any", None),
    "logical_xor": (np.logical_xor, "any", None),
    "maximum": (np.maximum, "real numeric", None),
    "minimum": (np.minimum, "real numeric", None),
    "multiply": (np.multiply, "numeric", 4),
    "nextafter": (np.nextafter, "real floating", None),
    "not_equal": (np.not_equal, "any", None),
    "remainder": (np.remainder, "real numeric", None),
    "subtract": (np.subtract, "numeric", None),
}
EXACT_ZEROS = (
    "abs",
    "ceil",
    "conj",
    "floor",
    "negative",
    "real",
    "round",
    "trunc",
    "add",
    "subtract",
    "copysign",
)


def cases(table):
    return [
        pytest.param(name, dtype, id=f"{name}-{dtype}")
        for name, (_, category, _) in table.items()
        for dtype in dtypes.CATEGORIES[category]
    ]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "dtype"), cases(UNARY | UNARY_OF_REALS))
def test_unary(name, dtype):
    function, _, ulp = (UNARY | UNARY_OF_REALS)[name]
    x = samples(dtype)
    expected = function(x)
    if expected.dtype.kind == "c" and ulp is not None:
        # Infinite parts of transcendentals: the standard and NumPy differ; the accuracy tests look at them.
        keep = np.isfinite(x) & np.isfinite(expected)
        x, expected = x[keep], expected[keep]
    check(getattr(xp, name)(xp.asarray(x)), expected, ulp)
    if name in EXACT_ZEROS and not (name == "abs" and dtype.kind == "c"):
        same_bits(getattr(xp, name)(xp.asarray(x)), expected)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "dtype"), cases(BINARY))
def test_binary(name, dtype):
    function, _, ulp = BINARY[name]
    a, b = samples(dtype)[:, None], samples(dtype)[None, ::-1]
    if dtype.kind == "c" and name in ("multiply", "divide"):
        a, b = (x[np.isfinite(x)].reshape([-1 if size > 1 else 1 for size in x.shape]) for x in (a, b))
        b = np.where(b == 0, dtype.type(1), b)
    expected = function(a, b)
    if name == "remainder" and dtype.kind in "iu":
        expected = np.where(b == 0, 0, expected).astype(dtype)
    if name == "remainder" and dtype.kind == "f":
        # With infinities the standard says more than NumPy.
        finite = np.isfinite(a) & np.isfinite(b)
        a, b = np.broadcast_arrays(a, b)
        a, b, expected = a[finite], b[finite], expected[finite]
    # Where the sum of two powers of e is close to one, its logarithm is what cancellation leaves.
    slack = 4.0 if name == "logaddexp" else 0.0
    check(getattr(xp, name)(xp.asarray(a), xp.asarray(b)), expected, ulp, slack)


@given(arrays(dtypes.REAL_NUMERIC, shape=(5,)), st.data())
def test_floor_divide_and_remainder_agree(x, data):
    y = data.draw(arrays(x.dtype, shape=(5,)))
    quotient = np.asarray(xp.floor_divide(xp.asarray(x), xp.asarray(y)))
    rest = np.asarray(xp.remainder(xp.asarray(x), xp.asarray(y)))
    for q, r, dividend, divisor in zip(quotient, rest, x, y):
        if np.isnan(dividend) or np.isnan(divisor) or (divisor == 0 and x.dtype.kind == "f"):
            continue
        if divisor == 0:
            assert q == 0 and r == 0
        elif x.dtype.kind in "iu":
            wrap = 1 << 8 * x.dtype.itemsize
            assert (int(q) * int(divisor) + int(r) - int(dividend)) % wrap == 0
            assert r == 0 or (r > 0) == (divisor > 0)
        else:
            assert abs(r) <= abs(divisor)


@pytest.mark.parametrize("dtype", dtypes.INTEGERS, ids=str)
def test_shifts_past_the_width_and_by_negative_numbers(dtype):
    bits = 8 * dtype.itemsize
    x = samples(dtype)
    for by in (0, 1, bits - 1, bits, bits + 3, 100, *((-1,) if dtype in dtypes.SIGNED else ())):
        amount = np.full_like(x, by)
        inside = 0 <= by < bits
        left = x << amount if inside else np.zeros_like(x)
        right = x >> amount if inside else np.where(x < 0, -1, 0).astype(dtype)
        check(xp.bitwise_left_shift(xp.asarray(x), xp.asarray(amount)), left)
        check(xp.bitwise_right_shift(xp.asarray(x), xp.asarray(amount)), right)


@pytest.mark.parametrize("dtype", dtypes.INTEGERS, ids=str)
def test_integers_never_trap(dtype):
    limits = np.iinfo(dtype)
    x = xp.asarray(np.array([limits.min, limits.max, 0, 1], dtype))
    check(x // 0, np.zeros(4, dtype))
    check(x % 0, np.zeros(4, dtype))
    if dtype in dtypes.SIGNED:
        check(x // -1, np.array([limits.min, -limits.max, 0, -1], dtype))
        check(x % -1, np.zeros(4, dtype))
        check(xp.abs(x), np.array([limits.min, limits.max, 0, 1], dtype))
        check(xp.pow(x, -1), np.array([0, 0, 0, 1], dtype))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", dtypes.NUMERIC, ids=str)
def test_pow(dtype):
    base, exponent = samples(dtype, finite=True)[:, None], np.array([0, 1, 2, 3, 5], dtype)
    expected = base**exponent
    fits = np.isfinite(expected) & (np.abs(expected) < 1e6 if dtype.kind != "i" else True)
    base, exponent = np.broadcast_arrays(base, exponent)
    check(xp.pow(xp.asarray(base[fits]), xp.asarray(exponent[fits])), expected[fits], 16)
    x = samples(dtype)
    check(xp.pow(xp.asarray(x), 2), x * x, 4)
    check(xp.asarray(x) ** 2, x * x, 4)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", dtypes.REAL_FLOATING, ids=str)
def test_pow_with_real_exponents(dtype):
    base, exponent = samples(dtype)[:, None], samples(dtype)
    check(xp.pow(xp.asarray(base), xp.asarray(exponent)), np.power(base, exponent), 4)


@pytest.mark.parametrize("dtype", dtypes.COMPLEX_FLOATING, ids=str)
def test_sign_of_complex_numbers(dtype):
    x = np.array([3 + 4j, -2, 0, 1e-30j, complex(np.nan, 1), complex(1, np.nan)], dtype)
    expected = np.array([0.6 + 0.8j, -1, 0, 1j, complex(np.nan, np.nan), complex(np.nan, np.nan)], dtype)
    check(xp.sign(xp.asarray(x)), expected, 2)


@pytest.mark.parametrize("dtype", dtypes.REAL_NUMERIC, ids=str)
def test_clip(dtype):
    x = samples(dtype)
    low, high = np.array(2, dtype), np.array([3, 7] * 12, dtype)
    check(xp.clip(xp.asarray(x)), x)
    check(xp.clip(xp.asarray(x), 2), np.maximum(x, low))
    check(xp.clip(xp.asarray(x), max=3), np.minimum(x, dtype.type(3)))
    check(xp.clip(xp.asarray(x), xp.asarray(low), xp.asarray(high)), np.clip(x, low, high))
    check(xp.clip(xp.asarray(x), min=2, max=xp.asarray(high)), np.clip(x, low, high))


def test_clip_with_nan_and_with_bounds_that_broadcast():
    x = xp.asarray([1.0, np.nan, 3.0])
    check(xp.clip(x, np.nan, 2.0), np.full(3, np.nan))
    check(xp.clip(x, 0.0, np.nan), np.full(3, np.nan))
    check(xp.clip(x, 0.0, 2.0), np.array([1.0, np.nan, 2.0]))
    bounds = xp.asarray([[1.5], [2.5]])
    check(xp.clip(x, bounds, None), np.maximum(np.array([1.0, np.nan, 3.0]), [[1.5], [2.5]]))
    check(xp.clip(xp.asarray([1, 5]), 1.5, 3.5), np.array([1.5, 3.5]))


@pytest.mark.parametrize("name", [name for name, (_, category, _) in UNARY.items() if category == "floating"])
def test_integers_become_the_default_float(name):
    x = np.array([1, 0, 1], np.int32)
    with np.errstate(all="ignore"):
        check(getattr(xp, name)(xp.asarray(x)), UNARY[name][0](x.astype(np.float64)), 4)


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4), st.data())
def test_broadcasting(shapes, data):
    a, b = (
        data.draw(hnp.arrays(np.float64, shape, elements=elements(dtypes.float64)))
        for shape in shapes.input_shapes
    )
    check(xp.add(xp.asarray(a), xp.asarray(b)), a + b)
    check(xp.where(xp.asarray(a) < xp.asarray(b), xp.asarray(a), 2.0), np.where(a < b, a, 2.0))


def test_scalars_on_either_side():
    x = xp.asarray(np.array([1.5, -2.0], np.float32))
    check(xp.subtract(1, x), np.array([-0.5, 3.0], np.float32))
    check(xp.subtract(x, 1), np.array([0.5, -3.0], np.float32))
    check(xp.greater(2.0, x), np.array([True, True]))
    check(xp.greater(x, 2.0), np.array([False, False]))
    check(xp.atan2(x, 1.0), np.arctan2(np.array([1.5, -2.0], np.float32), np.float32(1)), 4)
    check(xp.logical_and(True, xp.asarray([0, 2])), np.array([False, True]))
    check(xp.pow(2.0, x), np.power(np.float32(2), np.array([1.5, -2.0], np.float32)), 4)


@pytest.mark.parametrize("name", [*UNARY, *UNARY_OF_REALS, *BINARY, "pow", "clip"])
def test_functions_say_what_they_are(name):
    function = getattr(xp, name)
    parameters = list(inspect.signature(function).parameters.values())
    assert function.__name__ == name
    assert parameters[0].kind is inspect.Parameter.POSITIONAL_ONLY
    for section in ("Parameters", "Returns", "Raises", "standard"):
        assert section in function.__doc__
