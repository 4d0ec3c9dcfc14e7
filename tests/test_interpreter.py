"""The interpreter against plain Python: every operation, every data type, and the values where NumPy and the
standard leave room or differ.
"""

import cmath
import itertools
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toonygrad import dtypes
from toonygrad.runtime.interpreter import interprets, leaf_value, operation
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import COMPARISONS, ELEMENTWISE, LEAVES, MOVEMENT, STATEMENTS, Op, Ops

INF, NAN = math.inf, math.nan
REALS = dtypes.REAL_FLOATING


class Memory:
    """What BUFFER holds, as far as the interpreter looks."""

    device = "cpu"

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


def leaf(array: np.ndarray) -> UOp:
    return UOp.new(Ops.BUFFER, (), Memory(array))


def run(op: Op, *arrays: object, arg: object = None) -> np.ndarray:
    """`op` of arrays; data type and shape are those that the graph inferred."""
    sources = [np.asarray(array) for array in arrays]
    node = UOp.new(op, tuple(leaf(source) for source in sources), arg)
    with np.errstate(all="ignore"):
        result = np.asarray(operation(node)(*sources))
    assert (result.dtype, result.shape) == (node.dtype, node.shape)
    return result


def assert_same(got: np.ndarray, wanted: object) -> None:
    """Equal, NaN and the signs of zeros included."""
    wanted = np.asarray(wanted, got.dtype)
    np.testing.assert_array_equal(got, wanted)
    if got.dtype.kind == "f":
        seen = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(got)[seen], np.signbit(wanted)[seen])


# -- the list is complete ----------------------------------------------------------------------------------

RECORDED = ELEMENTWISE | MOVEMENT | {Ops.IOTA, Ops.REDUCE, Ops.SCAN, Ops.GATHER, Ops.CONCAT}


WRITTEN_OUT = {Ops.EXTERNAL, Ops.REPLACE}  # by a routine, and as CONCATs


def test_every_recorded_operation_has_a_meaning():
    tensor_level = {op for op in Ops.all() if op.group != "kernel"} - STATEMENTS - LEAVES - WRITTEN_OUT
    assert tensor_level <= RECORDED
    assert {op for op in Ops.all() if interprets(op)} == RECORDED


@pytest.mark.parametrize("op", [Ops.QUOTIENT, Ops.GUARDED], ids=str)
def test_operations_of_kernels_have_none(op):
    x = leaf(np.zeros(2))
    with pytest.raises(KeyError):
        operation(UOp.new(op, (x,) * op.arity))


@pytest.mark.parametrize(
    "op, function",
    [
        (Ops.ADD, np.add), (Ops.SUB, np.subtract), (Ops.MUL, np.multiply), (Ops.DIV, np.true_divide),
        (Ops.NEG, np.negative), (Ops.SQRT, np.sqrt), (Ops.EXP, np.exp), (Ops.LT, np.less),
        (Ops.WHERE, np.where),
    ],
    ids=str,
)  # fmt: skip
def test_plain_operations_are_numpys_own(op, function):
    sources = [leaf(np.zeros(3, bool if op is Ops.WHERE and i == 0 else float)) for i in range(op.arity)]
    assert operation(UOp.new(op, tuple(sources))) is function


# Which data types an operation is recorded with; all of them is the rule for what isn't listed.
FLOATS_ONLY = {Ops.DIV, Ops.SQRT} | {op for op in Ops.all() if op.group == "transcendental"} - {Ops.POW}
REALS_ONLY = {Ops.COPYSIGN, Ops.NEXTAFTER, Ops.ATAN2, Ops.HYPOT, Ops.LOGADDEXP, Ops.COMPLEX, Ops.FMA}
ORDERED = {Ops.FLOORDIV, Ops.REMAINDER, Ops.MAXIMUM, Ops.MINIMUM, Ops.FLOOR, Ops.CEIL, Ops.TRUNC}
BITS = {Ops.AND, Ops.OR, Ops.XOR, Ops.NOT}
NUMBERS = {Ops.NEG, Ops.SUB, Ops.POW, Ops.ABS, Ops.ROUND, Ops.REAL, Ops.IMAG, Ops.CONJ}


def recorded_dtypes(op: Op) -> tuple[np.dtype, ...]:
    if op in REALS_ONLY:
        return REALS
    if op in FLOATS_ONLY:
        return dtypes.FLOATING
    if op in ORDERED:
        return dtypes.REAL_NUMERIC
    if op in BITS:
        return (dtypes.bool_, *dtypes.INTEGERS)
    if op in (Ops.SHL, Ops.SHR):
        return dtypes.INTEGERS
    if op in (Ops.LT, Ops.LE):
        return (dtypes.bool_, *dtypes.REAL_NUMERIC)
    return dtypes.NUMERIC if op in NUMBERS else dtypes.ALL


@pytest.mark.parametrize("op", sorted(ELEMENTWISE - {Ops.CAST, Ops.BITCAST}, key=str), ids=str)
def test_types_and_shapes_are_the_inferred_ones(op):
    for dtype in recorded_dtypes(op):
        for shapes in (((),) * 3, ((3,),) * 3, ((2, 1), (3,), ())):
            arrays = [np.ones(shape, dtype) for shape in shapes[: op.arity]]
            if op is Ops.WHERE:
                arrays[0] = arrays[0].astype(bool)
            run(op, *arrays)


def test_scalars_of_numpy_serve_as_sources():
    x = np.array(3.0)
    total = operation(UOp.new(Ops.ADD, (leaf(x), leaf(x))))(x, x)
    assert isinstance(total, np.float64)
    one = leaf(x)
    for op, arg in (
        (Ops.CAST, dtypes.int8),
        (Ops.RESHAPE, (1, 1)),
        (Ops.EXPAND, (2,)),
        (Ops.SLICE, ()),
        (Ops.PERMUTE, ()),
    ):
        node = UOp.new(op, (one,), arg)
        result = np.asarray(operation(node)(total))
        assert (result.dtype, result.shape) == (node.dtype, node.shape)
    for op in (Ops.MAXIMUM, Ops.FLOORDIV, Ops.POW):
        assert operation(UOp.new(op, (one, one)))(total, total) in (6.0, 1.0, 46656.0)


# -- elementwise, against Python ---------------------------------------------------------------------------


def ieee_divide(x: float, y: float) -> float:
    if y == 0:
        return NAN if x == 0 or x != x else math.copysign(INF, x) * math.copysign(1, y)
    return x / y


def real(function: Callable[..., float]) -> Callable[..., float]:
    """Python's function, NaN where it says ValueError, infinite where it says OverflowError."""

    def lenient(*values: float) -> float:
        try:
            return function(*values)
        except ValueError:
            return NAN
        except OverflowError:
            return INF

    return lenient


def integral(function: Callable[[float], int]) -> Callable[[float], float]:
    """Python's function, which makes an int, with the sign of a zero kept."""
    return lambda x: math.copysign(function(x), x) if math.isfinite(x) else x


def extremum(function: Callable) -> Callable[[float, float], float]:
    """Python's max or min, NaN if either is, and -0.0 below 0.0."""

    def of(x: float, y: float) -> float:
        signed = function((x, math.copysign(1, x)), (y, math.copysign(1, y)))
        return NAN if x != x or y != y else signed[0]

    return of


REAL_VALUES = [
    -INF,
    -1e300,
    -700.5,
    -3.5,
    -2.5,
    -1.0,
    -0.5,
    -1e-9,
    -0.0,
    0.0,
    1e-9,
    0.25,
    0.5,
    1.0,
    1.5,
    2.5,
    3.0,
    720.0,
    INF,
    NAN,
]
REAL_UNARY = MappingProxyType({
    Ops.NEG: operator.neg, Ops.ABS: abs, Ops.SQRT: math.sqrt,
    Ops.FLOOR: integral(math.floor), Ops.CEIL: integral(math.ceil), Ops.TRUNC: integral(math.trunc),
    Ops.ROUND: integral(round),
    Ops.EXP: math.exp, Ops.EXPM1: math.expm1, Ops.SIN: math.sin, Ops.COS: math.cos, Ops.TAN: math.tan,
    Ops.ASIN: math.asin, Ops.ACOS: math.acos, Ops.ATAN: math.atan, Ops.COSH: math.cosh,
    Ops.SINH: lambda x: math.copysign(real(math.sinh)(abs(x)), x), Ops.TANH: math.tanh,
    Ops.ASINH: math.asinh, Ops.ACOSH: math.acosh,
    Ops.LOG: lambda x: -INF if x == 0 else math.log(x), Ops.LOG2: lambda x: -INF if x == 0 else math.log2(x),
    Ops.LOG10: lambda x: -INF if x == 0 else math.log10(x),
    Ops.LOG1P: lambda x: -INF if x == -1 else math.log1p(x),
    Ops.ATANH: lambda x: math.copysign(INF, x) if abs(x) == 1 else math.atanh(x),
    Ops.REAL: lambda x: x, Ops.CONJ: lambda x: x, Ops.IMAG: lambda x: 0.0,
})  # fmt: skip


@pytest.mark.parametrize("op", REAL_UNARY, ids=str)
def test_functions_of_a_real(op):
    got = run(op, np.array(REAL_VALUES))
    wanted = np.array([real(REAL_UNARY[op])(x) for x in REAL_VALUES])
    np.testing.assert_allclose(got, wanted, rtol=1e-15)
    zeros = wanted == 0
    np.testing.assert_array_equal(np.signbit(got[zeros]), np.signbit(wanted[zeros]))


def log_of_sum(x: float, y: float) -> float:
    high, low = max(x, y), min(x, y)
    return high if math.isinf(high) else high + math.log1p(math.exp(low - high))


def power(x: float, y: float) -> float:
    if x == 0 and y < 0:
        return math.copysign(INF, x) if y % 2 == 1 else INF
    result = real(math.pow)(x, y)
    return math.copysign(result, x) if math.isinf(result) and y % 2 == 1 else result


REAL_BINARY = MappingProxyType({
    Ops.ADD: operator.add, Ops.SUB: operator.sub, Ops.MUL: operator.mul, Ops.DIV: ieee_divide,
    Ops.COPYSIGN: math.copysign, Ops.NEXTAFTER: math.nextafter, Ops.ATAN2: math.atan2, Ops.HYPOT: math.hypot,
    Ops.LT: operator.lt, Ops.LE: operator.le, Ops.EQ: operator.eq, Ops.NE: operator.ne, Ops.POW: power,
    Ops.LOGADDEXP: lambda x, y: NAN if x != x or y != y else log_of_sum(x, y),
    Ops.MAXIMUM: extremum(max), Ops.MINIMUM: extremum(min),
})  # fmt: skip


@pytest.mark.parametrize("op", REAL_BINARY, ids=str)
def test_functions_of_two_reals(op):
    x, y = (np.array(column) for column in zip(*itertools.product(REAL_VALUES, repeat=2)))
    got = run(op, x, y)
    wanted = np.array([real(REAL_BINARY[op])(float(p), float(q)) for p, q in zip(x, y)])
    np.testing.assert_allclose(got, wanted, rtol=1e-15)
    if op not in COMPARISONS:
        defined = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(got[defined]), np.signbit(wanted[defined]))


@pytest.mark.parametrize("dtype", REALS, ids=str)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_the_larger_and_smaller_of_zeros(dtype, size):
    minus, plus = np.full(size, -0.0, dtype), np.zeros(size, dtype)
    for x, y in ((minus, plus), (plus, minus)):
        assert_same(run(Ops.MAXIMUM, x, y), plus)
        assert_same(run(Ops.MINIMUM, x, y), minus)
    for op in (Ops.MAXIMUM, Ops.MINIMUM):
        assert_same(run(op, minus, minus), minus)
        assert_same(run(op, plus, plus), plus)
    assert_same(run(Ops.MAXIMUM, minus, -1 + plus), minus)


def test_choice():
    condition = np.array([True, False, True])
    assert list(run(Ops.WHERE, condition, np.array([1, 2, 3]), np.array(9))) == [1, 9, 3]


@pytest.mark.parametrize(
    "op", [Ops.EXP, Ops.LOG, Ops.SQRT, Ops.SIN, Ops.COS, Ops.SINH, Ops.TANH, Ops.ASIN, Ops.ACOSH]
)
def test_functions_of_a_complex_number(op):
    z = np.array([0.3 - 0.4j, -2 + 1j, 1j, 5 - 0.5j])
    wanted = [getattr(cmath, op.name.lower())(complex(x)) for x in z]
    np.testing.assert_allclose(run(op, z), wanted, rtol=1e-14)
    np.testing.assert_allclose(run(op, z.astype("complex64")), wanted, rtol=1e-6)


def test_parts_of_complex_numbers():
    z = run(Ops.COMPLEX, np.array([[1.0], [NAN]]), np.array([INF, -0.0]))
    assert_same(run(Ops.REAL, z), [[1, 1], [NAN, NAN]])
    assert_same(run(Ops.IMAG, z), [[INF, -0.0], [INF, -0.0]])
    assert_same(run(Ops.IMAG, run(Ops.CONJ, z)), [[-INF, 0.0], [-INF, 0.0]])
    assert_same(run(Ops.ABS, np.array([3 + 4j, complex(NAN, INF)])), [5, INF])


# -- integers ----------------------------------------------------------------------------------------------


def wrap(value: int, dtype: np.dtype) -> int:
    bits = dtype.itemsize * 8
    value &= (1 << bits) - 1
    return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value


def shifted_left(x: int, y: int, bits: int) -> int:
    return x << y if 0 <= y < bits else 0


def shifted_right(x: int, y: int, bits: int) -> int:
    return x >> (y if 0 <= y < bits else bits)


def integer_power(x: int, y: int, bits: int) -> int:
    if y >= 0:
        return pow(x, y, 1 << bits)
    return {1: 1, -1: -1 if y % 2 else 1}.get(x, 0)


INTEGER_BINARY: dict[Op, Callable[[int, int, int], int]] = {
    Ops.ADD: lambda x, y, bits: x + y, Ops.SUB: lambda x, y, bits: x - y, Ops.MUL: lambda x, y, bits: x * y,
    Ops.FLOORDIV: lambda x, y, bits: x // y if y else 0, Ops.REMAINDER: lambda x, y, bits: x % y if y else 0,
    Ops.MAXIMUM: lambda x, y, bits: max(x, y), Ops.MINIMUM: lambda x, y, bits: min(x, y),
    Ops.AND: lambda x, y, bits: x & y, Ops.OR: lambda x, y, bits: x | y, Ops.XOR: lambda x, y, bits: x ^ y,
    Ops.SHL: shifted_left, Ops.SHR: shifted_right, Ops.POW: integer_power,
}  # fmt: skip


@pytest.mark.parametrize("op", INTEGER_BINARY, ids=str)
@pytest.mark.parametrize("dtype", dtypes.INTEGERS, ids=str)
def test_arithmetic_of_integers(op, dtype):
    limits = np.iinfo(dtype)
    values = {0, 1, 2, 3, 7, 8, 31, 63, 64, 65, 100, limits.max, limits.max - 1, limits.max // 3, limits.min}
    values |= {limits.min + 1, *((-1, -2, -5, -8, -64) if limits.min else ())}
    rows = [(x, y, limits.bits) for x in sorted(values) for y in sorted(values)]
    x, y = (np.array(column, dtype) for column in list(zip(*rows))[:2])
    assert run(op, x, y).tolist() == [wrap(INTEGER_BINARY[op](*row), dtype) for row in rows]


@pytest.mark.parametrize("dtype", dtypes.INTEGERS, ids=str)
def test_functions_of_an_integer(dtype):
    limits = np.iinfo(dtype)
    values = [0, 1, 5, limits.max, limits.min, limits.min + 1]
    x = np.array(values, dtype)
    assert run(Ops.NEG, x).tolist() == [wrap(-v, dtype) for v in values]
    assert run(Ops.ABS, x).tolist() == [wrap(abs(v), dtype) for v in values]
    assert run(Ops.NOT, x).tolist() == [wrap(~v, dtype) for v in values]
    for op in (Ops.FLOOR, Ops.CEIL, Ops.TRUNC, Ops.ROUND, Ops.REAL, Ops.CONJ):
        assert run(op, x).tolist() == values
    assert run(Ops.IMAG, x).tolist() == [0] * 6
    assert run(Ops.FMA, x, x, x).tolist() == [wrap(v * v + v, dtype) for v in values]


def test_truth_values():
    x, y = np.array([False, False, True, True]), np.array([False, True, False, True])
    for op in (Ops.OR, Ops.ADD, Ops.MAXIMUM):
        assert run(op, x, y).tolist() == [False, True, True, True]
    for op in (Ops.AND, Ops.MUL, Ops.MINIMUM):
        assert run(op, x, y).tolist() == [False, False, False, True]
    assert run(Ops.NOT, x).tolist() == [True, True, False, False]
    assert run(Ops.LT, x, y).tolist() == [False, True, False, False]
    assert run(Ops.LE, x, y).tolist() == [True, True, False, True]


# -- floor division and remainder of floats ----------------------------------------------------------------

# x, y -> floor(x / y), the standard's special cases; None: any y of the sign makes the same.
FLOOR_QUOTIENTS = [
    (NAN, 1, NAN), (1, NAN, NAN), (INF, INF, NAN), (INF, -INF, NAN), (-INF, INF, NAN), (0.0, 0.0, NAN),
    (-0.0, 0.0, NAN), (0.0, 2, 0.0), (-0.0, 2, -0.0), (0.0, -2, -0.0), (-0.0, -2, 0.0), (2, 0.0, INF),
    (2, -0.0, -INF), (-2, 0.0, -INF), (-2, -0.0, INF), (INF, 2, INF), (INF, -2, -INF), (-INF, 2, -INF),
    (-INF, -2, INF), (2, INF, 0.0), (2, -INF, -0.0), (-2, INF, -0.0), (-2, -INF, 0.0), (7, -2, -4),
    (2.0**-100, 2.0**100, 0.0), (-(2.0**-100), 2.0**100, -1),
]  # fmt: skip
REMAINDERS = [
    (NAN, 1, NAN), (1, NAN, NAN), (INF, INF, NAN), (0.0, 0.0, NAN), (0.0, 2, 0.0), (-0.0, 2, 0.0),
    (0.0, -2, -0.0), (-0.0, -2, -0.0), (2, 0.0, NAN), (2, -0.0, NAN), (-2, 0.0, NAN), (INF, 2, NAN),
    (-INF, -2, NAN), (2, INF, 2), (2, -INF, -INF), (-2, INF, INF), (-2, -INF, -2), (6, 3, 0.0), (6, -3, -0.0),
    (-6, 3, 0.0), (5.5, -2, -0.5),
]  # fmt: skip


@pytest.mark.parametrize("dtype", REALS, ids=str)
@pytest.mark.parametrize("op, cases", [(Ops.FLOORDIV, FLOOR_QUOTIENTS), (Ops.REMAINDER, REMAINDERS)], ids=str)
def test_special_cases_of_division_with_floor(op, cases, dtype):
    x, y, wanted = (np.array(column, dtype) for column in zip(*cases))
    assert_same(run(op, x, y), wanted)


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite, finite.filter(lambda y: y != 0))
@example(0.7, 0.1)
@example(-5e-324, 1.0)
def test_division_with_floor_is_pythons(x, y):
    assert_same(run(Ops.REMAINDER, x, y), x % y)
    if abs(ieee_divide(x, y)) < 2.0**50:
        assert_same(run(Ops.FLOORDIV, x, y), x // y)
    else:
        assert_same(run(Ops.FLOORDIV, x, y), np.floor(ieee_divide(x, y)))


# -- multiply and add, rounded once ------------------------------------------------------------------------


def fused(x: float, y: float, z: float) -> float:
    if not all(map(math.isfinite, (x, y, z))):
        return z if math.isfinite(x) and math.isfinite(y) else x * y + z
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    if not exact:
        return x * y + z
    try:
        return float(exact)
    except OverflowError:
        return INF if exact > 0 else -INF


def rounded_to_float32(exact: Fraction) -> np.float32:
    """The float32 next to `exact`, ties to even; no overflow."""
    guess = np.float32(float(exact))
    near = [np.nextafter(guess, np.float32(-INF)), guess, np.nextafter(guess, np.float32(INF))]
    return min(near, key=lambda f: (abs(Fraction(float(f)) - exact), int(f.view(np.int32)) & 1))


@given(st.floats(), st.floats(), st.floats())
@example(0.1, 10.0, -1.0)
@example(1e200, 1e200, -INF)
@example(-0.0, 1.0, -0.0)
@example(1e-200, 1e-200, 5e-324)
def test_fused_multiplication(x, y, z):
    assert_same(run(Ops.FMA, x, y, z), fused(x, y, z))


def test_fused_multiplication_where_the_product_cancels():
    random = np.random.default_rng(1)
    for scale in (1.0, 1e-150, 1e150):
        x, y = random.standard_normal((2, 2000)) * scale
        z = -x * y * (1 + random.integers(-3, 4, 2000) * 2.0**-52)
        assert_same(run(Ops.FMA, x, y, z), [fused(*map(float, row)) for row in zip(x, y, z)])


def test_fused_multiplication_of_float32():
    random = np.random.default_rng(2)
    x, y = random.standard_normal((2, 2000)).astype("float32")
    z = (-x * y * (1 + random.integers(-3, 4, 2000) * 2.0**-24)).astype("float32")
    z[1000:] = random.standard_normal(1000) * 1e-8
    exact = [Fraction(float(p)) * Fraction(float(q)) + Fraction(float(r)) for p, q, r in zip(x, y, z)]
    assert_same(run(Ops.FMA, x, y, z), [rounded_to_float32(value) for value in exact])


# -- conversions -------------------------------------------------------------------------------------------


def to_integer(value: float, dtype: np.dtype) -> int:
    limits = np.iinfo(dtype)
    if value != value:
        return 0
    return (
        int(min(max(value, limits.min), limits.max))
        if math.isfinite(value)
        else limits.max
        if value > 0
        else limits.min
    )


FLOAT_VALUES = [
    0.0, -0.0, 0.9, -0.9, 1.5, -1.5, 126.9, 127.0, 127.5, 128.0, -128.9, -129.0, 255.9, 256.0, 1e5, -1e5,
    2.0**31 - 1, 2.0**31, -(2.0**31), 2.0**32, 2.0**53 + 2, 2.0**63, -(2.0**63), 2.0**64, 1e30, -1e30,
    INF, -INF, NAN, 9223372036854774784.0, 18446744073709549568.0,
]  # fmt: skip


@pytest.mark.parametrize("target", dtypes.INTEGERS, ids=str)
@pytest.mark.parametrize("source", dtypes.FLOATING, ids=str)
def test_floats_become_integers(source, target):
    with np.errstate(over="ignore"):
        x = np.array(FLOAT_VALUES, source)
    wanted = [to_integer(value, target) for value in x.real.tolist()]
    assert run(Ops.CAST, x, arg=target).tolist() == wanted
    inside = np.array([0.0, 1.5, 100.9], source)  # what fits takes a shorter way
    assert run(Ops.CAST, inside, arg=target).tolist() == [0, 1, 100]


@pytest.mark.parametrize("target", dtypes.ALL, ids=str)
@pytest.mark.parametrize("source", (dtypes.bool_, *dtypes.INTEGERS), ids=str)
def test_integers_become_anything(source, target):
    limits = np.iinfo(source) if source.kind != "b" else None
    values = [0, 1, limits.max, limits.min, limits.max // 2] if limits else [0, 1]
    got = run(Ops.CAST, np.array(values, source), arg=target).tolist()
    if target.kind in "iu":
        assert got == [wrap(value, target) for value in values]
    elif target.kind == "b":
        assert got == [value != 0 for value in values]
    else:
        assert got == [target.type(value) for value in values]


def test_floats_become_floats_and_truth_values():
    x = np.array([0.1, -0.0, INF, NAN, 1e300])
    assert_same(run(Ops.CAST, x, arg=dtypes.float32), [np.float32(0.1), -0.0, INF, NAN, INF])
    assert run(Ops.CAST, x, arg=dtypes.bool_).tolist() == [True, False, True, True, True]
    z = np.array([0j, 1j, complex(NAN, 0), 2 - 3j])
    assert run(Ops.CAST, z, arg=dtypes.bool_).tolist() == [False, True, True, True]


@pytest.mark.filterwarnings("error")
def test_complex_numbers_drop_their_imaginary_part_silently():
    z = np.array([1.5 + 2j, -3 - 1j])
    assert_same(run(Ops.CAST, z, arg=dtypes.float32), [1.5, -3])
    assert run(Ops.CAST, z, arg=dtypes.uint8).tolist() == [1, 0]


def test_bits():
    assert run(Ops.BITCAST, np.array([1.0, -0.0]), arg=dtypes.int64).tolist() == [0x3FF << 52, -(1 << 63)]
    assert run(Ops.BITCAST, np.array([[1], [2]], np.int8).T, arg=dtypes.uint8).tolist() == [[1, 2]]


# -- movement and positions --------------------------------------------------------------------------------

BLOCK = np.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "op, arg, wanted",
    [
        (Ops.RESHAPE, (6, 4), BLOCK.reshape(6, 4)),
        (Ops.PERMUTE, (2, 0, 1), BLOCK.transpose(2, 0, 1)),
        (Ops.EXPAND, (5, 2, 3, 4), np.stack([BLOCK] * 5)),
        (Ops.SLICE, ((0, 1, 2), (2, -1, 3), (1, 2, 2)), BLOCK[:, ::-1, 1::2]),
        (Ops.SLICE, ((1, -1, 1), (1, -1, 2), (3, -3, 2)), BLOCK[1:, 1::-1, ::-3]),
        (Ops.SLICE, ((0, 1, 0), (0, 1, 3), (0, 1, 4)), BLOCK[:0]),
    ],
)
def test_movement_gives_views(op, arg, wanted):
    source = leaf(BLOCK)
    result = operation(UOp.new(op, (source,), arg))(BLOCK)
    np.testing.assert_array_equal(result, wanted)
    assert result.size == 0 or np.shares_memory(result, BLOCK)


def test_positions():
    iota = operation(UOp.new(Ops.IOTA, (), ((2, 3), 1)))()
    assert iota.dtype == dtypes.INDEX and iota.tolist() == [[0, 1, 2]] * 2
    assert operation(UOp.new(Ops.IOTA, (), ((2, 3), 0)))().tolist() == [[0] * 3, [1] * 3]
    assert operation(UOp.new(Ops.IOTA, (), ((0, 3), 1)))().shape == (0, 3)


def test_concatenation():
    assert run(Ops.CONCAT, [[1, 2]], [[3, 4], [5, 6]], arg=0).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert run(Ops.CONCAT, [[1], [2]], np.zeros((2, 0), int), [[3], [4]], arg=1).tolist() == [[1, 3], [2, 4]]


# -- reductions --------------------------------------------------------------------------------------------

STEPS = {
    Ops.ADD: operator.add, Ops.MUL: operator.mul, Ops.MAXIMUM: max, Ops.MINIMUM: min,
    Ops.AND: operator.and_, Ops.OR: operator.or_,
}  # fmt: skip


@pytest.mark.parametrize("op", STEPS, ids=str)
@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_reductions_and_scans(op, dtype):
    if (op in (Ops.AND, Ops.OR) and dtype.kind in "fc") or (
        op in (Ops.MAXIMUM, Ops.MINIMUM) and dtype.kind == "c"
    ):
        return
    block = (np.arange(1, 25).reshape(2, 3, 4) % 7 + (1j if dtype.kind == "c" else 0)).astype(dtype)
    step: Callable = (
        {Ops.ADD: operator.or_, Ops.MUL: operator.and_}.get(op, STEPS[op]) if dtype.kind == "b" else STEPS[op]
    )
    if dtype.kind in "iu":
        step = {Ops.ADD: np.add, Ops.MUL: np.multiply}.get(op, step)
    with np.errstate(over="ignore"):
        rows = [list(itertools.accumulate(row, step)) for row in block.reshape(6, 4)]
        columns = np.array([row[-1] for row in rows]).reshape(2, 3)
        everything = list(itertools.accumulate(block.ravel(), step))[-1]
    np.testing.assert_array_equal(run(Ops.SCAN, block, arg=(op, 2)), np.array(rows).reshape(2, 3, 4))
    np.testing.assert_array_equal(run(Ops.REDUCE, block, arg=(op, (2,))), columns)
    np.testing.assert_allclose(run(Ops.REDUCE, block, arg=(op, (0, 1, 2))), everything, rtol=1e-6)
    np.testing.assert_array_equal(run(Ops.REDUCE, block, arg=(op, ())), block)


def test_nothing_reduces_to_the_neutral_element():
    empty = np.zeros((0, 2))
    assert_same(run(Ops.REDUCE, empty, arg=(Ops.ADD, (0,))), [0, 0])
    assert_same(run(Ops.REDUCE, empty, arg=(Ops.MUL, (0, 1))), 1)
    nothing = np.zeros(0, bool)
    assert run(Ops.REDUCE, nothing, arg=(Ops.AND, (0,))) and not run(Ops.REDUCE, nothing, arg=(Ops.OR, (0,)))


def test_sums_of_float32_are_rounded_once():
    random = np.random.default_rng(7)
    x = random.standard_normal((3, 10001)).astype("float32")
    exact = [np.float32(math.fsum(row)) for row in x.astype(float)]
    assert_same(run(Ops.REDUCE, x, arg=(Ops.ADD, (1,))), exact)
    assert_same(run(Ops.SCAN, x, arg=(Ops.ADD, 1))[:, -1], exact)
    z = (x + 1j * x[::-1]).astype("complex64")
    total = run(Ops.REDUCE, z, arg=(Ops.ADD, (1,)))
    assert_same(total.real, exact)
    assert_same(total.imag, exact[::-1])


@pytest.mark.parametrize("dtype", REALS, ids=str)
def test_extrema_of_nan_and_zeros(dtype):
    x = np.array(
        [[-0.0, 0.0, -0.0], [0.0, -0.0, 0.0], [-0.0, -0.0, -0.0], [-1, -0.0, -2], [1, NAN, 2]], dtype
    )
    assert_same(run(Ops.REDUCE, x, arg=(Ops.MAXIMUM, (1,))), [0.0, 0.0, -0.0, -0.0, NAN])
    assert_same(run(Ops.REDUCE, x[:3], arg=(Ops.MINIMUM, (1,))), [-0.0, -0.0, -0.0])
    assert_same(run(Ops.SCAN, x[:2], arg=(Ops.MAXIMUM, 1)), [[-0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert_same(run(Ops.SCAN, x[:2], arg=(Ops.MINIMUM, 1)), [[-0.0] * 3, [0.0, -0.0, -0.0]])


# -- gathering ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 1, 2])
def test_gathering_along_one_axis(position):
    index = np.array([[2, -1], [0, -3]])
    wanted = np.moveaxis(BLOCK[:, index, :], (1, 2), (position, position + 1))
    for dtype in (np.int8, np.int64):
        np.testing.assert_array_equal(
            run(Ops.GATHER, BLOCK, index.astype(dtype), arg=((1,), position, "take")), wanted
        )


def test_gathering_along_several_axes():
    i, k = np.array([[1], [-2]]), np.array([3, 0, -4], np.int16)
    np.testing.assert_array_equal(run(Ops.GATHER, BLOCK, i, k, arg=((0, 2), 0, "x[...]")), BLOCK[i, :, k])
    np.testing.assert_array_equal(
        run(Ops.GATHER, BLOCK, k, i, arg=((2, 0), 1, "x[...]")), np.moveaxis(BLOCK[i, :, k], 2, 0)
    )
    one = run(Ops.GATHER, BLOCK, np.array(1), np.array(2), np.array(-1), arg=((0, 1, 2), 0, "x[...]"))
    assert one == BLOCK[1, 2, -1]


def test_gathering_by_unsigned_integers():
    index = np.array([2, 0], np.uint64)
    np.testing.assert_array_equal(run(Ops.GATHER, BLOCK, index, arg=((1,), 1, "take")), BLOCK[:, [2, 0]])
    with pytest.raises(
        IndexError, match=r"^take: index 18446744073709551615 is out of bounds for axis 1 with size 3$"
    ):
        run(Ops.GATHER, BLOCK, np.array([2**64 - 1], np.uint64), arg=((1,), 1, "take"))


@pytest.mark.parametrize("index", [3, -4, 100, np.iinfo(np.int64).min])
@pytest.mark.parametrize("position", [0, 1])
def test_indices_out_of_bounds(index, position):
    message = f"^take: index {index} is out of bounds for axis 1 with size 3$"
    with pytest.raises(IndexError, match=message):
        run(Ops.GATHER, BLOCK, np.array([0, index]), arg=((1,), position, "take"))
    with pytest.raises(IndexError, match=message):
        run(Ops.GATHER, BLOCK, np.array([0, 1]), np.array([[0], [index]]), arg=((0, 1), position, "take"))


def test_gathering_nothing():
    assert run(Ops.GATHER, np.zeros((0, 2)), np.zeros(0, int), arg=((0,), 0, "take")).shape == (0, 2)
    with pytest.raises(IndexError, match="take: index 0 is out of bounds for axis 0 with size 0"):
        run(Ops.GATHER, np.zeros((0, 2)), np.array([0]), arg=((0,), 0, "take"))


# -- leaves ------------------------------------------------------------------------------------------------


def test_values_of_leaves():
    for make in (UOp.const, UOp.scalar):
        value = leaf_value(make(2.5, dtypes.float32))
        assert isinstance(value, np.ndarray) and (value.dtype, value.shape, value) == (
            dtypes.float32,
            (),
            2.5,
        )
    assert np.signbit(leaf_value(UOp.const(-0.0, dtypes.float64)))
    assert leaf_value(UOp.const(1 - 2j, dtypes.complex64)) == 1 - 2j
    assert leaf_value(UOp.const(True, dtypes.bool_)).dtype == dtypes.bool_
    assert leaf_value(UOp.const(2**64 - 1, dtypes.uint64)) == 2**64 - 1
    assert leaf_value(UOp.const(-1, dtypes.uint8)) == 255
    assert leaf_value(UOp.const(-5, dtypes.int64)) == -5
    memory = np.arange(3)
    assert leaf_value(leaf(memory)) is memory
