"""Complex operations, by the rules and by the interpreter: the standard's special cases one by one, accuracy
against mpmath, arithmetic against NumPy and Python.
"""

import itertools
from collections.abc import Iterator

import mpmath
import numpy as np
import pytest
from scalar_evaluator import evaluate, variable

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.codegen.complex_numbers import COMPLEX_RULES
from toonygrad.codegen.integers import INTEGER_RULES
from toonygrad.codegen.transcendental import TRANSCENDENTAL_RULES
from toonygrad.runtime.interpreter import operation
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.pattern import PatternMatcher
from toonygrad.uop.rewrite import graph_rewrite

INF, NAN, PI = np.inf, np.nan, np.pi

UNARY = (
    Ops.EXP, Ops.EXPM1, Ops.LOG, Ops.LOG1P, Ops.LOG2, Ops.LOG10, Ops.SQRT, Ops.SIN, Ops.COS, Ops.TAN,
    Ops.ASIN, Ops.ACOS, Ops.ATAN, Ops.SINH, Ops.COSH, Ops.TANH, Ops.ASINH, Ops.ACOSH, Ops.ATANH,
)  # fmt: skip


def operand(name: str, dtype: np.dtype) -> UOp:
    part = dtypes.REAL_PART[dtype]
    return UOp.new(Ops.COMPLEX, (variable(name + "_re", part), variable(name + "_im", part)))


def rewritten(
    op: Op, *arrays: np.ndarray, arg: object = None, rules: PatternMatcher = COMPLEX_RULES
) -> np.ndarray:
    """`op` of complex arrays through COMPLEX_RULES and the interpreter's real operations."""
    leaves = [operand("zwv"[i], x.dtype) for i, x in enumerate(arrays)]
    node = graph_rewrite(UOp.new(op, tuple(leaves), arg), rules, "complex")
    parts = [
        (leaf.src[k], part) for leaf, x in zip(leaves, arrays) for k, part in enumerate((x.real, x.imag))
    ]
    values = {leaf: np.ascontiguousarray(part) for leaf, part in parts}
    if node.dtype.kind != "c":
        return evaluate(node, values)
    assert node.op is Ops.COMPLEX
    assert not any(below.dtype.kind == "c" for below in toposort(*node.src))
    result = np.empty(arrays[0].shape, node.dtype)
    result.real, result.imag = (evaluate(part, values) for part in node.src)
    return result


ALL_RULES = COMPLEX_RULES + INTEGER_RULES + TRANSCENDENTAL_RULES


def decomposed(op: Op, *arrays: np.ndarray) -> np.ndarray:
    """As a kernel computes it: the real functions inside are arithmetic too."""
    return rewritten(op, *arrays, rules=ALL_RULES)


def interpreted(op: Op, *arrays: np.ndarray, arg: object = None) -> np.ndarray:
    leaves = tuple(variable("zwv"[i], x.dtype) for i, x in enumerate(arrays))
    with np.errstate(all="ignore"):
        return np.asarray(operation(UOp.new(op, leaves, arg))(*arrays))


EACH_WAY = pytest.mark.parametrize("compute", [rewritten, decomposed, interpreted])

# -- special cases -----------------------------------------------------------------------------------------

# As the standard's "Special cases" lists them, C99's Annex G: real and imaginary part, then those of the
# result. A zero or infinity without a sign may have either; `cis` gives it that of cos(b) or sin(b).
SPECIAL_CASES = {
    Ops.ACOS: """
        ±0 +0 -> π/2 -0
        ±0 nan -> π/2 nan
        finite +inf -> π/2 -inf
        nonzero nan -> nan nan
        -inf positive -> π -inf
        +inf positive -> +0 -inf
        -inf +inf -> 3π/4 -inf
        +inf +inf -> π/4 -inf
        ±inf nan -> nan inf
        nan finite -> nan nan
        nan +inf -> nan -inf
        nan nan -> nan nan""",
    Ops.ACOSH: """
        ±0 +0 -> +0 π/2
        finite +inf -> +inf π/2
        nonzero nan -> nan nan
        +0 nan -> nan ±π/2
        -inf positive -> +inf π
        +inf positive -> +inf +0
        -inf +inf -> +inf 3π/4
        +inf +inf -> +inf π/4
        ±inf nan -> +inf nan
        nan finite -> nan nan
        nan +inf -> +inf nan
        nan nan -> nan nan""",
    Ops.ASINH: """
        +0 +0 -> +0 +0
        positive +inf -> +inf π/2
        finite nan -> nan nan
        +inf positive -> +inf +0
        +inf +inf -> +inf π/4
        nan +0 -> nan +0
        nan nonzero -> nan nan
        nan +inf -> inf nan
        nan nan -> nan nan""",
    Ops.ATANH: """
        +0 +0 -> +0 +0
        +0 nan -> +0 nan
        1 +0 -> +inf +0
        positive +inf -> +0 π/2
        nonzero nan -> nan nan
        +inf positive -> +0 π/2
        +inf +inf -> +0 π/2
        +inf nan -> +0 nan
        nan finite -> nan nan
        nan +inf -> 0 π/2
        nan nan -> nan nan""",
    Ops.COSH: """
        +0 +0 -> 1 +0
        +0 +inf -> nan 0
        +0 nan -> nan 0
        nonzero +inf -> nan nan
        nonzero nan -> nan nan
        +inf +0 -> +inf +0
        +inf nonzero -> +inf*cis +inf*cis
        +inf +inf -> inf nan
        +inf nan -> +inf nan
        nan ±0 -> nan 0
        nan nonzero -> nan nan
        nan nan -> nan nan""",
    Ops.SINH: """
        +0 +0 -> +0 +0
        +0 +inf -> 0 nan
        +0 nan -> 0 nan
        positive +inf -> nan nan
        positive nan -> nan nan
        +inf +0 -> +inf +0
        +inf positive -> +inf*cis +inf*cis
        +inf +inf -> inf nan
        +inf nan -> inf nan
        nan +0 -> nan +0
        nan nonzero -> nan nan
        nan nan -> nan nan""",
    Ops.TANH: """
        +0 +0 -> +0 +0
        nonzero +inf -> nan nan
        +0 +inf -> +0 nan
        nonzero nan -> nan nan
        +0 nan -> +0 nan
        +inf positive -> 1 +0
        +inf +inf -> 1 0
        +inf nan -> 1 0
        nan +0 -> nan +0
        nan nonzero -> nan nan
        nan nan -> nan nan""",
    Ops.EXP: """
        ±0 +0 -> 1 +0
        finite +inf -> nan nan
        finite nan -> nan nan
        +inf +0 -> +inf +0
        -inf finite -> +0*cis +0*cis
        +inf nonzero -> +inf*cis +inf*cis
        -inf +inf -> 0 0
        +inf +inf -> inf nan
        -inf nan -> 0 0
        +inf nan -> inf nan
        nan +0 -> nan +0
        nan nonzero -> nan nan
        nan nan -> nan nan""",
    Ops.EXPM1: """
        ±0 +0 -> 0 +0
        finite +inf -> nan nan
        finite nan -> nan nan
        +inf +0 -> +inf +0
        -inf finite -> -1 +0*cis
        +inf nonzero -> +inf*cis +inf*cis
        -inf +inf -> -1 0
        +inf +inf -> inf nan
        -inf nan -> -1 0
        +inf nan -> inf nan
        nan +0 -> nan +0
        nan nonzero -> nan nan
        nan nan -> nan nan""",
    Ops.LOG: """
        -0 +0 -> -inf π
        +0 +0 -> -inf +0
        finite +inf -> +inf π/2
        finite nan -> nan nan
        -inf positive -> +inf π
        +inf positive -> +inf +0
        -inf +inf -> +inf 3π/4
        +inf +inf -> +inf π/4
        ±inf nan -> +inf nan
        nan finite -> nan nan
        nan +inf -> +inf nan
        nan nan -> nan nan""",
    Ops.LOG1P: """
        -1 +0 -> -inf +0
        finite +inf -> +inf π/2
        finite nan -> nan nan
        -inf positive -> +inf π
        +inf positive -> +inf +0
        -inf +inf -> +inf 3π/4
        +inf +inf -> +inf π/4
        ±inf nan -> +inf nan
        nan finite -> nan nan
        nan +inf -> +inf nan
        nan nan -> nan nan""",
    Ops.SQRT: """
        ±0 +0 -> +0 +0
        any +inf -> +inf +inf
        finite nan -> nan nan
        -inf positive -> +0 +inf
        +inf positive -> +inf +0
        -inf nan -> nan inf
        +inf nan -> +inf nan
        nan finite -> nan nan
        nan nan -> nan nan""",
}

CLASSES = {
    "±0": (0.0, -0.0), "+0": (0.0,), "-0": (-0.0,), "1": (1.0,), "-1": (-1.0,), "nan": (NAN,),
    "+inf": (INF,), "-inf": (-INF,), "±inf": (INF, -INF),
    "positive": (0.125, 0.5, 1.0, 2.0, 5.0, 1e3, 2.0**100),
    "nonzero": (-1e3, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 1e3),
    "finite": (-1e3, -2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0, 1e3), "any": (-INF, -2.0, 0.0, 2.0, INF, NAN),
}  # fmt: skip
ANGLES = {"π": PI, "π/2": PI / 2, "3π/4": 3 * PI / 4, "π/4": PI / 4}


def cases(op: Op) -> Iterator[tuple[str, float, float, str, str]]:
    for line in SPECIAL_CASES[op].strip().splitlines():
        given, expected = line.split("->")
        real, imaginary = expected.split()
        for a, b in itertools.product(*(CLASSES[word] for word in given.split())):
            yield line.strip(), a, b, real, imaginary


def agrees(value: float, wanted: str, trigonometric: float, digits: float) -> bool:
    """Whether a component is what the standard's word for it says."""
    if wanted.endswith("*cis"):
        value, wanted = value * np.copysign(1, trigonometric), wanted.removesuffix("*cis")
    if wanted == "nan":
        return np.isnan(value)
    if wanted in ("0", "inf"):
        return abs(value) == float(wanted)
    if wanted.startswith("±"):
        return abs(abs(value) - ANGLES[wanted[1:]]) < digits
    if wanted in ANGLES:
        return abs(value - ANGLES[wanted]) < digits
    return value == float(wanted) and np.signbit(value) == (wanted[0] == "-")


@EACH_WAY
@pytest.mark.parametrize("op", SPECIAL_CASES, ids=str)
@pytest.mark.parametrize("dtype", dtypes.COMPLEX_FLOATING, ids=str)
def test_special_cases_of_the_standard(op, dtype, compute):
    rows = list(cases(op))
    z = np.empty(len(rows), dtype)
    z.real, z.imag = [row[1] for row in rows], [row[2] for row in rows]
    result = compute(op, z)
    digits = 4 * np.finfo(dtype).eps
    with np.errstate(invalid="ignore"):
        cosines, sines = np.cos(z.imag), np.sin(z.imag)
    for (line, _, _, real, imaginary), given, got, cosine, sine in zip(rows, z, result, cosines, sines):
        assert agrees(float(got.real), real, cosine, digits), (line, given, got)
        assert agrees(float(got.imag), imaginary, sine, digits), (line, given, got)


@EACH_WAY
@pytest.mark.parametrize("dtype", dtypes.COMPLEX_FLOATING, ids=str)
def test_expm1_of_either_zero_is_a_positive_zero(dtype, compute):
    result = compute(Ops.EXPM1, np.array([complex(-0.0, 0.0), complex(0.0, 0.0)], dtype))
    assert_same(result, np.zeros(2, dtype))


SPECIAL = np.array(
    [-INF, -1e300, -2.0, -1.0, -0.5, -1e-300, -0.0, 0.0, 1e-300, 0.5, 1.0, 2.0, 1e300, INF, NAN]
)
GRID = np.empty(SPECIAL.size**2, dtypes.complex128)
GRID.real, GRID.imag = np.repeat(SPECIAL, SPECIAL.size), np.tile(SPECIAL, SPECIAL.size)


def assert_same(x: np.ndarray, y: np.ndarray) -> None:
    """Equal, signs of zeros and places of NaN included; signs of NaN don't count."""
    for p, q in ((x.real, y.real), (x.imag, y.imag)):
        np.testing.assert_array_equal(p, q)
        seen = ~np.isnan(p)
        np.testing.assert_array_equal(np.signbit(p[seen]), np.signbit(q[seen]))


# The signs that the standard leaves open keep the symmetry from holding where a part is NaN.
@EACH_WAY
@pytest.mark.parametrize("op", UNARY, ids=str)
def test_conjugate_symmetry(op, compute):
    z = GRID[~np.isnan(GRID)]
    result, other = compute(op, z), compute(op, z.conj())
    defined = ~(np.isnan(result.real) | np.isnan(result.imag))
    result, other = result[defined], other[defined].conj()
    np.testing.assert_allclose(other, result, rtol=5e-16)
    np.testing.assert_array_equal(np.signbit(other.real), np.signbit(result.real))
    np.testing.assert_array_equal(np.signbit(other.imag), np.signbit(result.imag))


def exchanged(z: np.ndarray) -> np.ndarray:
    result = np.empty_like(z)
    result.real, result.imag = z.imag, z.real
    return result


@pytest.mark.parametrize(
    "circular, hyperbolic",
    [(Ops.SIN, Ops.SINH), (Ops.TAN, Ops.TANH), (Ops.ASIN, Ops.ASINH), (Ops.ATAN, Ops.ATANH)],
    ids=str,
)
def test_circular_functions_are_hyperbolic_ones_turned(circular, hyperbolic):
    assert_same(rewritten(circular, GRID), exchanged(rewritten(hyperbolic, exchanged(GRID))))


def test_cosine_is_a_hyperbolic_one_turned():
    turned = exchanged(GRID)
    turned.real = -turned.real
    assert_same(rewritten(Ops.COS, GRID), rewritten(Ops.COSH, turned))


@pytest.mark.parametrize("op", UNARY, ids=str)
def test_rules_and_interpreter_agree_at_special_values(op):
    ours, reference = rewritten(op, GRID), interpreted(op, GRID)
    for x, y in ((ours.real, reference.real), (ours.imag, reference.imag)):
        finite = np.isfinite(y)
        np.testing.assert_array_equal(np.isnan(x), np.isnan(y))
        np.testing.assert_allclose(x[finite], y[finite], rtol=1e-13, atol=1e-307)


# -- accuracy ----------------------------------------------------------------------------------------------

EXACT = {
    Ops.EXP: mpmath.exp, Ops.EXPM1: lambda z: mpmath.exp(z) - 1, Ops.LOG: mpmath.log,
    Ops.LOG1P: lambda z: mpmath.log(1 + z), Ops.LOG2: lambda z: mpmath.log(z) / mpmath.log(2),
    Ops.LOG10: lambda z: mpmath.log(z) / mpmath.log(10), Ops.SQRT: mpmath.sqrt, Ops.SIN: mpmath.sin,
    Ops.COS: mpmath.cos, Ops.TAN: mpmath.tan, Ops.ASIN: mpmath.asin, Ops.ACOS: mpmath.acos,
    Ops.ATAN: mpmath.atan, Ops.SINH: mpmath.sinh, Ops.COSH: mpmath.cosh, Ops.TANH: mpmath.tanh,
    Ops.ASINH: mpmath.asinh, Ops.ACOSH: mpmath.acosh, Ops.ATANH: mpmath.atanh,
}  # fmt: skip

# The worst component seen over 3000 points was 3.3, of NumPy's own functions 3.7.
MOST_ULPS = 5
# The real part of expm1 vanishes along a curve through the plane, where it cancels as NumPy's does.
LEAST_TOTAL = {Ops.EXPM1: 0.1}


def points(count: int, dtype: np.dtype) -> np.ndarray:
    """Numbers of all sizes, many near the unit circle and near 1, where logarithms and inverses are hard."""
    random = np.random.default_rng(20)
    size = 10.0 ** random.uniform(-6, 1.8, count)
    size[: count // 4] = 1 + 1e-6 * random.standard_normal(count // 4)
    z = size * np.exp(1j * random.uniform(-PI, PI, count))
    near = count // 8
    z[-near:] = 1 + 1e-3 * (random.standard_normal(near) + 1j * random.standard_normal(near))
    return z.astype(dtype)


def ulps(value: float, exact: mpmath.mpf, unit: np.floating) -> float:
    return float(abs(mpmath.mpf(float(value)) - exact) / float(unit))


@EACH_WAY
@pytest.mark.parametrize("op", UNARY, ids=str)
@pytest.mark.parametrize("dtype", dtypes.COMPLEX_FLOATING, ids=str)
def test_accuracy(op, dtype, compute):
    z = points(240, dtype)
    result = compute(op, z)
    part = dtypes.REAL_PART[dtype].type
    with mpmath.workprec(200):
        for given, got in zip(z, result):
            exact = EXACT[op](mpmath.mpc(float(given.real), float(given.imag)))
            floor = part(float(abs(exact)) * LEAST_TOTAL.get(op, 0))
            for value, wanted in ((got.real, exact.real), (got.imag, exact.imag)):
                unit = np.spacing(max(part(abs(float(wanted))), floor))
                assert ulps(value, wanted, unit) <= MOST_ULPS, (given, got)


@pytest.mark.parametrize(
    "op", [Ops.LOG, Ops.LOG2, Ops.LOG10, Ops.SQRT, Ops.ASINH, Ops.ACOS, Ops.ACOSH, Ops.ATANH]
)
def test_nothing_overflows_or_underflows_on_the_way(op):
    sizes = [5e-324, 3e-320, 1e-310, 1e-200, 1e-160, 1e160, 1e200, 1e300, 1.2e308]
    z = np.array([complex(a, b) for a in sizes for b in sizes if max(a, b) / min(a, b) < 1e20])
    result = rewritten(op, z)
    with mpmath.workprec(3000):
        for given, got in zip(z, result):
            exact = EXACT[op](mpmath.mpc(given.real, given.imag))
            for value, wanted in ((got.real, exact.real), (got.imag, exact.imag)):
                # A part halved and doubled below the normal numbers may lose its last bit.
                assert abs(value - wanted) <= abs(wanted) * 1e-15 + 1e-323, (given, got)


def test_large_exponents_whose_results_are_finite():
    z = np.array([712 + 1.5707963j, 712 - 1e-5j, -712 + 3.1415926j])
    for op in (Ops.EXP, Ops.SINH, Ops.COSH):
        for given, got in zip(z, rewritten(op, z)):
            with mpmath.workprec(200):
                exact = EXACT[op](mpmath.mpc(given.real, given.imag))
            for value, wanted in ((got.real, exact.real), (got.imag, exact.imag)):
                assert value == pytest.approx(float(wanted), rel=1e-14) or abs(wanted) > np.finfo(float).max


# -- branch cuts -------------------------------------------------------------------------------------------


@EACH_WAY
@pytest.mark.parametrize(
    "op", [Ops.LOG, Ops.SQRT, Ops.LOG1P, Ops.ASIN, Ops.ACOS, Ops.ACOSH, Ops.ATANH], ids=str
)
def test_cuts_along_the_real_axis_follow_the_sign_of_zero(op, compute):
    x = np.array([-3.0, -2.0, -1.5, 1.5, 2.0, 3.0])
    for zero, offset in ((0.0, 1e-300), (-0.0, -1e-300)):
        z, beside = x.astype(complex), x.astype(complex)
        z.imag, beside.imag = zero, offset
        np.testing.assert_allclose(compute(op, z), compute(op, beside), rtol=1e-14, atol=1e-290)


@EACH_WAY
@pytest.mark.parametrize("op", [Ops.ATAN, Ops.ASINH], ids=str)
def test_cuts_along_the_imaginary_axis_follow_the_sign_of_zero(op, compute):
    y = np.array([-3.0, -2.0, -1.5, 1.5, 2.0, 3.0])
    for zero, offset in ((0.0, 1e-300), (-0.0, -1e-300)):
        z, beside = y * 1j, y * 1j
        z.real, beside.real = zero, offset
        np.testing.assert_allclose(compute(op, z), compute(op, beside), rtol=1e-14, atol=1e-290)


# -- arithmetic --------------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(4)
Z = RANDOM.standard_normal(500) + 1j * RANDOM.standard_normal(500)
W = RANDOM.standard_normal(500) + 1j * RANDOM.standard_normal(500)


@pytest.mark.parametrize("op", [Ops.ADD, Ops.SUB, Ops.MUL, Ops.DIV], ids=str)
@pytest.mark.parametrize("dtype", dtypes.COMPLEX_FLOATING, ids=str)
def test_arithmetic(op, dtype):
    z, w = Z.astype(dtype), W.astype(dtype)
    got, wanted = rewritten(op, z, w), interpreted(op, z, w)
    assert np.all(abs(got - wanted) <= 4 * np.finfo(dtype).eps * abs(wanted))


def test_products_of_special_values_are_the_textbooks():
    z, w = np.repeat(GRID, GRID.size), np.tile(GRID, GRID.size)
    with np.errstate(all="ignore"):
        real = z.real * w.real - z.imag * w.imag
        imaginary = z.real * w.imag + z.imag * w.real
    got = rewritten(Ops.MUL, z, w)
    np.testing.assert_array_equal(got.real, real)
    np.testing.assert_array_equal(got.imag, imaginary)


def test_quotients_neither_overflow_nor_underflow_in_squares():
    z = np.array([1e200 + 1e200j, 1e-200 - 3e-200j, 1 + 2j, 5e-324 + 0j])
    w = np.array([2e200 - 1e200j, 1e-200 + 1e-200j, 1e-308 + 1e-308j, 1e-310 + 0j])
    for given, by, got in zip(z, w, rewritten(Ops.DIV, z, w)):
        with mpmath.workprec(200):
            exact = mpmath.mpc(given) / mpmath.mpc(by)
            assert abs(mpmath.mpc(got) - exact) <= abs(exact) * 1e-15


def test_division_by_zero_gives_infinite_or_nan_components():
    z = np.array([1 + 2j, -1 + 0j, 0 + 0j])
    for zero in (0j, complex(-0.0, -0.0), complex(0.0, -0.0)):
        assert_same(rewritten(Ops.DIV, z, np.full(3, zero)), interpreted(Ops.DIV, z, np.full(3, zero)))


def test_parts_comparisons_and_choices():
    z, w = np.append(GRID, 1 + 2j), np.append(GRID[::-1], 1 + 2j)
    assert_same(rewritten(Ops.CONJ, z), z.conj())
    assert_same(rewritten(Ops.NEG, z), -z)
    assert_same(rewritten(Ops.ROUND, z + 0.5), np.rint(z + 0.5))
    np.testing.assert_array_equal(rewritten(Ops.REAL, z), z.real)
    np.testing.assert_array_equal(rewritten(Ops.IMAG, z), z.imag)
    np.testing.assert_array_equal(rewritten(Ops.ABS, z), np.hypot(z.real, z.imag))
    np.testing.assert_array_equal(rewritten(Ops.EQ, z, w), z == w)
    np.testing.assert_array_equal(rewritten(Ops.NE, z, w), z != w)


def test_choice_between_complex_values():
    condition = variable("condition", dtypes.bool_)
    x, y = (operand(name, dtypes.complex128) for name in "xy")
    node = graph_rewrite(condition.where(x, y), COMPLEX_RULES, "complex")
    values = {condition: np.array([True, False])}
    for leaf, value in zip((*x.src, *y.src), (1.0, 2.0, 3.0, 4.0)):
        values[leaf] = np.full(2, value)
    assert [list(evaluate(part, values)) for part in node.src] == [[1.0, 3.0], [2.0, 4.0]]


def test_parts_of_reals_and_complex_constants():
    x = variable("x", dtypes.float32)
    assert graph_rewrite(UOp.new(Ops.REAL, (x,)), COMPLEX_RULES, "complex") is x
    assert graph_rewrite(UOp.new(Ops.CONJ, (x,)), COMPLEX_RULES, "complex") is x
    zero = graph_rewrite(UOp.new(Ops.IMAG, (x,)), COMPLEX_RULES, "complex")
    assert zero is UOp.const(0.0, dtypes.float32)
    constant = graph_rewrite(UOp.const(1 - 2j, dtypes.complex64), COMPLEX_RULES, "complex")
    assert constant.src == (UOp.const(1.0, dtypes.float32), UOp.const(-2.0, dtypes.float32))


@pytest.mark.parametrize("target", dtypes.ALL, ids=str)
def test_casts_from_complex(target):
    z = np.append(GRID, [3.7 - 1j, -3.7 + 0j])
    got, wanted = rewritten(Ops.CAST, z, arg=target), interpreted(Ops.CAST, z, arg=target)
    assert got.dtype == wanted.dtype == target
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("source", [t for t in dtypes.ALL if t.kind != "c"], ids=str)
def test_casts_to_complex(source):
    x = variable("x", source)
    node = graph_rewrite(UOp.new(Ops.CAST, (x,), dtypes.complex64), COMPLEX_RULES, "complex")
    values = np.array([0, 1, 100]).astype(source)
    assert list(evaluate(node.src[0], {x: values})) == list(values.astype("float32"))
    assert list(evaluate(node.src[1], {x: values}) + np.zeros(3)) == [0, 0, 0]


# -- powers ------------------------------------------------------------------------------------------------


@EACH_WAY
def test_small_integer_powers_are_exact(compute):
    z = np.array([1 + 2j, -3 + 1j, 2j, 5 + 0j])
    for n in range(8):
        wanted = np.array([complex(mpmath.mpc(x) ** n) for x in z])
        np.testing.assert_array_equal(compute(Ops.POW, z, np.full(4, n + 0j)), wanted)
    np.testing.assert_allclose(compute(Ops.POW, z, np.full(4, -3 + 0j)), z**-3, rtol=1e-15)


@EACH_WAY
@pytest.mark.parametrize("dtype", dtypes.COMPLEX_FLOATING, ids=str)
def test_powers_against_mpmath(dtype, compute):
    z = points(240, dtype)
    z = z[abs(z) > 1e-3].astype(dtype)
    w = (2 * (RANDOM.standard_normal(z.size) + 1j * RANDOM.standard_normal(z.size))).astype(dtype)
    w[:60].imag = 0
    for given, exponent, got in zip(z, w, compute(Ops.POW, z, w)):
        with mpmath.workprec(200):
            exact = mpmath.mpc(complex(given)) ** mpmath.mpc(complex(exponent))
            grown = 1 + float(abs(mpmath.log(mpmath.mpc(complex(given))) * mpmath.mpc(complex(exponent))))
            error = float(abs(mpmath.mpc(complex(got)) - exact) / abs(exact))
        # float64's error grows with the size of exponent * log(base); complex64 is rounded from there.
        assert error <= (4 * grown if dtype == dtypes.complex128 else 1) * np.finfo(dtype).eps


@EACH_WAY
def test_powers_of_and_to_special_values(compute):
    everything = GRID
    assert_same(compute(Ops.POW, everything, np.zeros_like(everything)), np.ones_like(everything))

    def power(x: complex, y: complex) -> complex:
        return complex(compute(Ops.POW, np.array([x], complex), np.array([y], complex))[0])

    assert power(0, 2) == 0 and power(0, 0.5) == 0 and power(0, 2 + 1j) == 0
    assert power(0, -1) == complex(INF, 0)
    assert np.isnan(power(0, 1j))
    assert power(complex(INF, 0), 0.5) == complex(INF, 0)
    assert power(complex(INF, 0), -2) == 0
    assert power(4, 0.5) == 2 and power(-1, 0.5) == pytest.approx(1j)
    assert power(complex(-1, -0.0), 0.5) == pytest.approx(-1j)
    assert np.isnan(power(NAN, 0.5))


def test_powers_agree_at_special_values():
    exponents = np.array([0, 1, -1, 2, -3, 0.5, 8, 1j, 1 + 1j, -2.5, NAN])
    z, w = np.repeat(GRID, exponents.size), np.tile(exponents, GRID.size)
    ours, reference = rewritten(Ops.POW, z, w), interpreted(Ops.POW, z, w)
    for x, y in ((ours.real, reference.real), (ours.imag, reference.imag)):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_quotients_are_the_same_interpreted_and_compiled(dtype):
    """To the bit, also where NumPy's own division overflows on the way: by subnormal numbers."""
    tiny = np.finfo(dtype).smallest_subnormal
    parts = [0.0, -0.0, 1.0, -3.5, np.inf, -np.inf, np.nan, 1e30, 1e-30, tiny, 5 * tiny]
    numbers = np.array([complex(a, b) for a in parts for b in parts], dtype)
    x, y = xp.asarray(numbers[:, None]), xp.asarray(numbers)
    found = []
    for mode in ("always", "never"):
        with xp.config(compile=mode):
            found.append(np.array(x / y))
    compiled, interpreted = found
    for mine, other in ((compiled.real, interpreted.real), (compiled.imag, interpreted.imag)):
        np.testing.assert_array_equal(mine, other)
    with xp.config(compile="never"):
        quotient = xp.asarray(complex(6 * tiny), dtype=dtype) / xp.asarray(complex(2 * tiny), dtype=dtype)
    assert complex(quotient) == 3
