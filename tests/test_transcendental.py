"""Every transcendental against mpmath, in units in the last place over the whole range, and the standard's
special cases.

The decompositions are tested by themselves: a small compiler here writes one expression as a loop in the
kernels' dialect, and Numba compiles it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import mpmath
import numba
import numpy as np
import pytest
from mpmath import mp, mpf

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.codegen.cpu import PRIMITIVES, kernel_namespace, register, two_over_pi
from toonygrad.codegen.transcendental import DECOMPOSITIONS, TRANSCENDENTAL_RULES
from toonygrad.codegen.transcendental_trigonometric import FAST_LIMIT
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import TRANSCENDENTAL, Op, Ops
from toonygrad.uop.pattern import PatternMatcher, UPat
from toonygrad.uop.rewrite import graph_rewrite

# The largest errors seen with many more points are in docs/transcendentals.md.
MOST_ULPS = {dtypes.float64: 0.95, dtypes.float32: 0.95}
POINTS = 600  # of each kind

# -- a small compiler of expressions -------------------------------------------------------------------------

INFIX = {
    Ops.ADD: "+", Ops.SUB: "-", Ops.MUL: "*", Ops.DIV: "/", Ops.AND: "&", Ops.OR: "|", Ops.XOR: "^",
    Ops.LT: "<", Ops.LE: "<=", Ops.EQ: "==", Ops.NE: "!=",
}  # fmt: skip
PREFIX = {Ops.NEG: "-", Ops.NOT: "~"}
CALLS = {
    Ops.ABS: "absolute", Ops.SQRT: "sqrt", Ops.TRUNC: "trunc", Ops.COPYSIGN: "copysign", Ops.FMA: "fma",
    Ops.MAXIMUM: "maximum", Ops.MINIMUM: "minimum", Ops.WHERE: "where", Ops.SHIFT_LEFT: "shift_left",
    Ops.SHIFT_RIGHT: "shift_right", Ops.TWO_OVER_PI: "two_over_pi",
}  # fmt: skip
BITCASTS = {
    ("float64", "int64"): "bits_of_float64", ("int64", "float64"): "float64_of_bits",
    ("float32", "int32"): "bits_of_float32", ("int32", "float32"): "float32_of_bits",
}  # fmt: skip


def literal(node: UOp) -> str:
    value = node.arg
    if node.dtype.kind == "f":
        text = "float64(1e999 - 1e999)" if math.isnan(value) else repr(value).replace("inf", "1e999")
        return text if node.dtype == dtypes.float64 else f"float32({text})"
    return f"uint64({value})" if node.dtype == dtypes.uint64 else f"{node.dtype.name}({value})"


def expression_source(root: UOp, alternative: int | None) -> str:
    """A function of arrays that evaluates `root` for every element; of GUARDED one alternative, or what it
    means."""
    if alternative is not None:
        chosen = (UPat(Ops.GUARDED, name="node"), lambda node: node.src[alternative])
        root = graph_rewrite(root, PatternMatcher([chosen]), "alternative")
    order = toposort(root)
    inputs = sorted(node.arg[0] for node in order if node.op is Ops.VARIABLE)
    names: dict[UOp, str] = {}
    lines = [f"def function(out, {', '.join(inputs)}):", "    for i in range(len(out)):"]
    for node in order:
        arguments = [names[source] for source in node.src]
        if node.op is Ops.VARIABLE:
            text = f"{node.arg[0]}[i]"
        elif node.op is Ops.CONST:
            names[node] = literal(node)
            continue
        elif node.op in INFIX:
            text = f" {INFIX[node.op]} ".join(arguments)
        elif node.op in PREFIX:
            text = f"{PREFIX[node.op]}{arguments[0]}"
        elif node.op is Ops.CAST:
            text = f"{node.dtype.name}({arguments[0]})"
        elif node.op is Ops.BITCAST:
            name = BITCASTS.get((node.src[0].dtype.name, node.dtype.name), node.dtype.name)
            text = f"{name}({arguments[0]})"
        elif node.op is Ops.GUARDED:
            text = f"where({arguments[2]}, {arguments[0]}, {arguments[1]})"
        else:
            text = f"{CALLS[node.op]}({', '.join(arguments)})"
        if node.dtype == dtypes.int32:
            text = f"int32({text})"  # Numba widens sums of int32
        names[node] = f"t{len(names)}"
        lines.append(f"        {names[node]} = {text}")
    lines.append(f"        out[i] = {names[root]}")
    return "\n".join(lines)


def decomposed(op: Op, dtype: np.dtype) -> UOp:
    names = "xy"[: op.arity]
    node = UOp.new(op, tuple(UOp.new(Ops.VARIABLE, (), (name, dtype)) for name in names))
    return graph_rewrite(node, TRANSCENDENTAL_RULES, "transcendental")


@cache
def register_once() -> None:
    register(list(PRIMITIVES.values()))


@cache
def compiled(op: Op, dtype: np.dtype, alternative: int | None = None) -> Callable[..., None]:
    register_once()
    namespace = kernel_namespace() | {"len": len}
    exec(expression_source(decomposed(op, dtype), alternative), namespace)
    array = numba.from_dtype(dtype)[::1]
    signature = numba.void(*[array] * (1 + (op.arity or 0)))
    return numba.njit(signature, error_model="numpy")(namespace["function"])


def evaluate(op: Op, dtype: np.dtype, *operands: np.ndarray, alternative: int | None = None) -> np.ndarray:
    arrays = [np.ascontiguousarray(operand, dtype) for operand in np.broadcast_arrays(*operands)]
    out = np.empty(arrays[0].shape, dtype)
    compiled(op, dtype, alternative)(out, *arrays)
    return out


# -- the references ------------------------------------------------------------------------------------------


def logaddexp(x: mpf, y: mpf) -> mpf:
    return max(x, y) + mpmath.log1p(mpmath.exp(-abs(x - y)))


def log_of_base(base: int) -> Callable[[mpf], mpf]:
    return lambda x: mpmath.log(x) / mpmath.log(base)


REFERENCES: dict[Op, Callable[..., mpf]] = {
    op: getattr(mpmath, op.name.lower())
    for op in TRANSCENDENTAL
    if op not in (Ops.LOG2, Ops.LOG10, Ops.POW, Ops.LOGADDEXP)
} | {
    Ops.LOG2: log_of_base(2), Ops.LOG10: log_of_base(10), Ops.POW: mpmath.power, Ops.LOGADDEXP: logaddexp,
}  # fmt: skip


def exact(op: Op, operands: tuple[float, ...]) -> mpf:
    """The value with at least 80 bits beyond float64's, NaN where there is no real one."""
    precision = 160
    if op in (Ops.SIN, Ops.COS, Ops.TAN):
        precision += max(0, math.frexp(operands[0])[1])
    if op is Ops.LOGADDEXP:
        precision = 300
    with mp.workprec(precision):
        try:
            value = REFERENCES[op](*map(mpf, operands))
        except (ValueError, ZeroDivisionError):
            return mpf("nan")
        return mpf("nan") if isinstance(value, mpmath.mpc) else +value


def error_in_ulps(found: float, value: mpf, dtype: np.dtype) -> float:
    """|found - value| in spacings of `dtype` at the correctly rounded value; infinite where the kinds
    differ."""
    if mpmath.isnan(value) or found != found:
        return 0.0 if mpmath.isnan(value) and found != found else math.inf
    limits = np.finfo(dtype)
    least = int(limits.minexp) - int(limits.nmant)
    magnitude = abs(value)
    if value == 0 or mpmath.isinf(value):
        return 0.0 if found == value else math.inf
    exponent = max(mpmath.frexp(magnitude)[1] - int(limits.nmant) - 1, least)
    with mp.workprec(400):
        rounded = mpmath.ldexp(mpmath.nint(mpmath.ldexp(magnitude, -exponent)), exponent)
        if rounded > float(limits.max) or math.isinf(found):
            return (
                0.0 if rounded > float(limits.max) and found == math.copysign(math.inf, value) else math.inf
            )
        return float(mpmath.ldexp(abs(mpf(found) - value), -exponent))


# -- where to look -------------------------------------------------------------------------------------------


class Points:
    """Arguments of one type: all exponents, and what is hard."""

    def __init__(self, dtype: np.dtype, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.dtype = dtype
        self.double = dtype == dtypes.float64
        self.digits = 52 if self.double else 23
        self.least, self.most = (-1074, 1024) if self.double else (-149, 128)

    def patterns(self) -> np.ndarray:
        bits = np.uint64 if self.double else np.uint32
        patterns = self.random.integers(0, 2 ** (8 * bits().itemsize), POINTS, dtype=bits)
        with np.errstate(invalid="ignore"):  # signalling NaN
            return patterns.view(self.dtype).astype(float)

    def between(self, low: float, high: float) -> np.ndarray:
        return self.random.uniform(low, high, POINTS)

    def powers(self, low: float, high: float) -> np.ndarray:
        """Of both signs, their exponents even between two."""
        return np.exp2(self.between(low, high - 1e-3)) * self.random.choice([-1, 1], POINTS)

    def near(self, *centres: float) -> np.ndarray:
        steps = [c * (1 + self.powers(-self.digits - 1, -1)) for c in centres]
        exact = np.array(centres, self.dtype)
        beside = [np.nextafter(exact, self.dtype.type(to)) for to in (-math.inf, math.inf)]
        return np.concatenate([*steps, exact, *beside]).astype(float)

    def anywhere(self) -> np.ndarray:
        return np.concatenate(
            [
                self.patterns(),
                self.powers(self.least, self.least + 60),
                self.powers(-60, 5),
                self.between(-2, 2),
            ]
        )


def exponential_points(points: Points) -> np.ndarray:
    overflow = points.most * math.log(2)
    underflow = points.least * math.log(2)
    edges = [
        overflow,
        overflow + math.log(2),
        underflow,
        underflow - math.log(2),
        (points.least + points.digits) * math.log(2),
    ]
    halves = math.log(2) * (np.arange(-40, 40) + 0.5)
    return np.concatenate(
        [
            points.anywhere(),
            points.between(underflow, overflow),
            points.between(-40, 40),
            points.near(*edges),
            points.near(0.35),
            halves,
        ]
    )


def logarithm_points(points: Points) -> np.ndarray:
    positive = abs(points.anywhere())
    around = points.near(
        1.0, math.sqrt(0.5), math.sqrt(2), 2.0, 10.0, 2.0**30, float(np.finfo(points.dtype).tiny)
    )
    return np.concatenate(
        [positive, -positive[:POINTS], around, 1 + points.powers(-60, 1), 10.0 ** np.arange(-30, 30)]
    )


def trigonometric_points(points: Points) -> np.ndarray:
    multiples = points.random.integers(1, 2**20, POINTS) * (math.pi / 4)
    rounded = multiples.astype(points.dtype)
    limit = np.array([FAST_LIMIT.double, 1e22] if points.double else [FAST_LIMIT.single, 1e10])
    worst = [6381956970095103 * 2.0**797] if points.double else [16367173 * 2.0**72]
    huge = [points.powers(30, 60), points.powers(60, points.most)]
    return np.concatenate(
        [
            points.anywhere(),
            points.between(-100, 100),
            rounded,
            np.nextafter(rounded, points.dtype.type(0)),
            *huge,
            limit,
            worst,
        ]
    )


def bounded_points(points: Points) -> np.ndarray:
    return np.concatenate(
        [points.anywhere(), points.between(-1, 1), points.near(1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 2.0**30)]
    )


ARGUMENTS: dict[Op, Callable[[Points], np.ndarray]] = {
    **dict.fromkeys((Ops.EXP, Ops.EXPM1, Ops.SINH, Ops.COSH, Ops.TANH), exponential_points),
    **dict.fromkeys((Ops.LOG, Ops.LOG1P, Ops.LOG2, Ops.LOG10, Ops.ACOSH), logarithm_points),
    **dict.fromkeys((Ops.SIN, Ops.COS, Ops.TAN), trigonometric_points),
    **dict.fromkeys((Ops.ASIN, Ops.ACOS, Ops.ATAN, Ops.ASINH, Ops.ATANH), bounded_points),
}


def planar_points(points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Of one magnitude, of very different ones, and with ratios where the reduction changes."""
    x = np.concatenate([points.powers(points.least, points.most) for _ in range(3)])
    nearby = np.exp2(
        np.clip(np.log2(abs(x)) + np.tile(points.between(-60, 60), 3), points.least, points.most - 1e-3)
    )
    ratio = points.random.choice([0.5, 1.0, 2.0], 3 * POINTS) * (
        1 + np.tile(points.powers(-points.digits, -3), 3)
    )
    small = points.between(-2, 2)
    return (
        np.concatenate([x, x / 4, points.patterns(), small]),
        np.concatenate([nearby, ratio * (x / 4), points.patterns(), points.between(-2, 2)]),
    )


def power_points(points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Results over the whole range, from bases over the whole range and from bases next to 1; whole
    exponents, negative bases."""
    bases = [
        abs(points.powers(points.least, points.most)),
        points.between(0.5, 2),
        1 + points.powers(-points.digits, -1),
        points.between(0, 20),
    ]
    x = np.concatenate(bases).astype(points.dtype).astype(float)
    x[x == 0] = 3.0
    logarithm = np.log2(x)
    wanted = points.random.uniform(points.least - 3, points.most + 1, len(x))
    y = np.divide(wanted, logarithm, out=np.full(len(x), 3.0), where=logarithm != 0)
    y[::3] = np.clip(np.round(y[::3]), -(2.0**53), 2.0**53)
    y[1::5] = points.random.uniform(-4, 4, len(y[1::5]))
    negative = (y == np.round(y)) & (points.random.random(len(y)) < 0.5)
    return np.where(negative, -x, x), y


def sum_points(points: Points) -> tuple[np.ndarray, np.ndarray]:
    x = np.concatenate(
        [
            points.between(-5, 5),
            points.between(-1, 1),
            points.between(-800, 800),
            points.anywhere(),
            np.zeros(POINTS),
        ]
    )
    difference = points.random.choice([1, 10, 40, 750], len(x)) * points.random.uniform(-1, 1, len(x))
    # And where the result cancels, its zero being at y = log(1 - e ** x).
    below = -np.exp2(points.random.uniform(points.least, -1, 2 * POINTS))
    beside = np.log(-np.expm1(below)) + np.concatenate([points.between(-0.5, 0.5), points.powers(-20, -2)])
    return np.concatenate([x, below]), np.concatenate([x + difference, beside])


PAIRS: dict[Op, Callable[[Points], tuple[np.ndarray, np.ndarray]]] = {
    Ops.ATAN2: planar_points, Ops.HYPOT: planar_points, Ops.POW: power_points, Ops.LOGADDEXP: sum_points,
}  # fmt: skip


def finite_operands(op: Op, dtype: np.dtype) -> list[np.ndarray]:
    points = Points(dtype, seed=[*TRANSCENDENTAL].index(op))
    with np.errstate(all="ignore"):
        columns = PAIRS[op](points) if op in PAIRS else (ARGUMENTS[op](points),)
        rounded = [column.astype(dtype) for column in columns]
    # mpmath has no negative zero, on which atan2 depends.
    finite = np.all(
        [np.isfinite(column) & ((column != 0) | (op is not Ops.ATAN2)) for column in rounded], axis=0
    )
    return [column[finite] for column in rounded]


# -- the tests -----------------------------------------------------------------------------------------------

FLOATS = pytest.mark.parametrize("dtype", dtypes.REAL_FLOATING, ids=str)
OPS = sorted(DECOMPOSITIONS, key=lambda op: op.name)


def test_every_transcendental_has_a_decomposition() -> None:
    assert set(DECOMPOSITIONS) == set(TRANSCENDENTAL)


@FLOATS
@pytest.mark.parametrize("op", OPS, ids=str)
def test_accuracy(op: Op, dtype: np.dtype) -> None:
    operands = finite_operands(op, dtype)
    found = evaluate(op, dtype, *operands)
    worst, where = 0.0, ()
    for result, *values in zip(found.tolist(), *(column.tolist() for column in operands)):
        error = error_in_ulps(result, exact(op, tuple(values)), dtype)
        if error > worst:
            worst, where = error, (*values, result)
    assert worst <= MOST_ULPS[dtype], f"{worst} ULP at {where}"


IN_NUMPY = {
    Ops.ASIN: np.arcsin, Ops.ACOS: np.arccos, Ops.ATAN: np.arctan,
    Ops.ASINH: np.arcsinh, Ops.ACOSH: np.arccosh, Ops.ATANH: np.arctanh,
}  # fmt: skip


@pytest.mark.parametrize("op", ARGUMENTS, ids=str)
def test_accuracy_all_over_float32(op: Op) -> None:
    """One float32 in 1999, specials included, against NumPy's float64. Every one has been, by hand."""
    x = np.arange(0, 2**32, 1999, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.append(x, np.float32([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf]))
    found = evaluate(op, dtypes.float32, x)
    with np.errstate(all="ignore"):
        exact = IN_NUMPY.get(op, getattr(np, op.name.lower(), None))(x.astype(np.float64))
        rounded = exact.astype(np.float32)
        error = abs(found - exact) / np.spacing(abs(rounded))
    kinds = ~np.isfinite(rounded) | (exact == 0)
    np.testing.assert_array_equal(found[kinds], rounded[kinds])
    np.testing.assert_array_equal(np.signbit(found)[exact == 0], np.signbit(exact)[exact == 0])
    worst = np.argmax(error[~kinds])
    assert error[~kinds][worst] <= MOST_ULPS[dtypes.float32], x[~kinds][worst]


INF, NAN, PI = math.inf, math.nan, math.pi
ODD = [(0.0, 0.0), (-0.0, -0.0), (NAN, NAN)]

# The standard's tables, operation by operation: (operand, result).
SPECIAL: dict[Op, list[tuple[float, float]]] = {
    Ops.EXP: [(NAN, NAN), (0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0)],
    Ops.EXPM1: [*ODD, (INF, INF), (-INF, -1.0)],
    Ops.LOG: [
        (NAN, NAN),
        (-1.0, NAN),
        (-INF, NAN),
        (-5e-324, NAN),
        (0.0, -INF),
        (-0.0, -INF),
        (1.0, 0.0),
        (INF, INF),
    ],
    Ops.LOG1P: [*ODD, (-1.5, NAN), (-INF, NAN), (-1.0, -INF), (INF, INF)],
    Ops.SIN: [*ODD, (INF, NAN), (-INF, NAN)],
    Ops.COS: [(NAN, NAN), (0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN)],
    Ops.TAN: [*ODD, (INF, NAN), (-INF, NAN)],
    Ops.ASIN: [*ODD, (1.5, NAN), (-1.5, NAN), (INF, NAN), (-INF, NAN), (1.0, PI / 2), (-1.0, -PI / 2)],
    Ops.ACOS: [
        (NAN, NAN),
        (1.5, NAN),
        (-1.5, NAN),
        (INF, NAN),
        (-INF, NAN),
        (1.0, 0.0),
        (-1.0, PI),
        (0.0, PI / 2),
    ],
    Ops.ATAN: [*ODD, (INF, PI / 2), (-INF, -PI / 2)],
    Ops.SINH: [*ODD, (INF, INF), (-INF, -INF)],
    Ops.COSH: [(NAN, NAN), (0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, INF)],
    Ops.TANH: [*ODD, (INF, 1.0), (-INF, -1.0)],
    Ops.ASINH: [*ODD, (INF, INF), (-INF, -INF)],
    Ops.ACOSH: [(NAN, NAN), (0.5, NAN), (-2.0, NAN), (-INF, NAN), (0.0, NAN), (1.0, 0.0), (INF, INF)],
    Ops.ATANH: [*ODD, (-2.0, NAN), (2.0, NAN), (INF, NAN), (-INF, NAN), (-1.0, -INF), (1.0, INF)],
}
SPECIAL[Ops.LOG2] = SPECIAL[Ops.LOG10] = SPECIAL[Ops.LOG]


def same(found: float, expected: float, tolerance: float) -> bool:
    """Equal with their signs, zeros and NaN included."""
    if expected != expected:
        return found != found
    if expected == 0 or math.isinf(expected):
        return found == expected and math.copysign(1, found) == math.copysign(1, expected)
    return abs(found - expected) <= tolerance * abs(expected)


@FLOATS
@pytest.mark.parametrize("op", SPECIAL, ids=str)
def test_special_values(op: Op, dtype: np.dtype) -> None:
    operands, expected = zip(*((x, y) for x, y in SPECIAL[op] if x == 0 or dtype.type(x) != 0))
    found = evaluate(op, dtype, np.array(operands))
    tolerance = float(np.finfo(dtype).eps) / 2  # what pi / 2 and the like differ by from float64's
    wrong = [row for row in zip(operands, expected, found.tolist()) if not same(row[2], row[1], tolerance)]
    assert not wrong


def whole_and_odd(y: float) -> bool:
    return math.isfinite(y) and y % 2 == 1


def expected_pow(x: float, y: float) -> float:
    """The standard's list, in its order; 1 ** NaN is 1, which it leaves open."""
    if y == 0 or x == 1:
        return 1.0
    if x != x or y != y:
        return NAN
    if math.isinf(y):
        if abs(x) == 1:
            return 1.0
        return INF if (abs(x) > 1) == (y > 0) else 0.0
    if math.isinf(x) or x == 0:
        magnitude = INF if (math.isinf(x)) == (y > 0) else 0.0
        return math.copysign(magnitude, x) if whole_and_odd(y) else magnitude
    if x < 0 and y != math.floor(y):
        return NAN
    return x**y


def expected_atan2(y: float, x: float) -> float:
    return math.atan2(y, x)  # IEEE 754's table, which is the standard's


def expected_hypot(x: float, y: float) -> float:
    if math.isinf(x) or math.isinf(y):
        return INF
    return NAN if x != x or y != y else math.sqrt(x * x + y * y)


def expected_logaddexp(x: float, y: float) -> float:
    if x != x or y != y:
        return NAN
    larger = max(x, y)
    return larger if math.isinf(larger) else larger + math.log1p(math.exp(min(x, y) - larger))


EXPECTED = {
    Ops.POW: expected_pow,
    Ops.ATAN2: expected_atan2,
    Ops.HYPOT: expected_hypot,
    Ops.LOGADDEXP: expected_logaddexp,
}


@FLOATS
@pytest.mark.parametrize("op", EXPECTED, ids=str)
def test_special_pairs(op: Op, dtype: np.dtype) -> None:
    values = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 2.0**60, INF]
    values = [*values, *(-value for value in values), NAN]
    pairs = [(x, y) for x in values for y in values]
    found = evaluate(op, dtype, *np.array(pairs).T)
    wrong = []
    for (x, y), result in zip(pairs, found.tolist()):
        try:
            expected = EXPECTED[op](x, y)
        except OverflowError:
            expected = math.copysign(INF, x) if whole_and_odd(y) else INF
        with np.errstate(over="ignore"):
            rounded = dtype.type(expected)
        if not same(result, float(rounded), 2 * float(np.finfo(dtype).eps)):
            wrong.append((x, y, result, expected))
    assert not wrong


@FLOATS
def test_nextafter_is_the_neighbour(dtype: np.dtype) -> None:
    points = Points(dtype, seed=1)
    special = [
        0.0,
        -0.0,
        INF,
        -INF,
        NAN,
        float(np.finfo(dtype).max),
        float(np.finfo(dtype).smallest_subnormal),
    ]
    x = np.concatenate([points.patterns(), np.repeat(special, len(special)), points.between(-1, 1)]).astype(
        dtype
    )
    y = np.concatenate([points.patterns(), np.tile(special, len(special)), points.between(-1, 1)]).astype(
        dtype
    )
    with np.errstate(all="ignore"):
        expected = np.nextafter(x, y)
    found = evaluate(Ops.NEXTAFTER, dtype, x, y)
    np.testing.assert_array_equal(found, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found)[numbers], np.signbit(expected)[numbers])


@FLOATS
def test_symmetries_the_standard_asks_for(dtype: np.dtype) -> None:
    x = Points(dtype, seed=2).anywhere().astype(dtype)
    y = Points(dtype, seed=3).anywhere().astype(dtype)
    for op, sign in ((Ops.SINH, -1), (Ops.TANH, -1), (Ops.COSH, 1)):
        np.testing.assert_array_equal(evaluate(op, dtype, -x), sign * evaluate(op, dtype, x))
    hypot = evaluate(Ops.HYPOT, dtype, x, y)
    for other in (
        evaluate(Ops.HYPOT, dtype, y, x),
        evaluate(Ops.HYPOT, dtype, -x, y),
        evaluate(Ops.HYPOT, dtype, x, -y),
    ):
        np.testing.assert_array_equal(hypot, other)


@FLOATS
@pytest.mark.parametrize("op", (Ops.SIN, Ops.COS, Ops.TAN), ids=str)
def test_both_alternatives_of_a_guard_agree_where_it_holds(op: Op, dtype: np.dtype) -> None:
    """A block is computed again as a whole where one element needs it: the others must keep their bits."""
    x = trigonometric_points(Points(dtype, seed=4)).astype(dtype)
    x = x[abs(x) <= (FAST_LIMIT.double if dtype == dtypes.float64 else FAST_LIMIT.single)]
    fast, slow = (evaluate(op, dtype, x, alternative=alternative) for alternative in (0, 1))
    np.testing.assert_array_equal(fast, slow)


@FLOATS
@pytest.mark.parametrize("op", [*OPS, Ops.NEXTAFTER], ids=str)
def test_plain_python_gives_the_same_bits(op: Op, dtype: np.dtype) -> None:
    """A kernel's source runs without Numba too."""
    points = Points(dtype, seed=5)
    special = [0.0, -0.0, 1.0, math.inf, -math.inf, math.nan]
    operands = [
        np.concatenate([points.patterns()[:6], points.between(-3, 3)[:12], special]).astype(dtype)
        for _ in range(op.arity or 0)
    ]
    namespace = kernel_namespace() | {"len": len}
    exec(expression_source(decomposed(op, dtype), None), namespace)
    plain = np.empty_like(operands[0])
    with np.errstate(all="ignore"):
        namespace["function"](plain, *operands)
    np.testing.assert_array_equal(plain, evaluate(op, dtype, *operands))


def test_two_over_pi_is_its_binary_fraction() -> None:
    with mp.workprec(1400):
        bits = int(mpmath.floor(mpmath.ldexp(2 / mp.pi, 64 * 19)))
    assert sum(int(two_over_pi(word)) << 64 * (18 - word) for word in range(19)) == bits
    assert {int(two_over_pi(word)) for word in range(-17, 0)} == {0}


PRIMITIVE = {*INFIX, *PREFIX, *CALLS, Ops.CAST, Ops.BITCAST, Ops.CONST, Ops.VARIABLE, Ops.GUARDED}


@FLOATS
@pytest.mark.parametrize("op", [*OPS, Ops.NEXTAFTER], ids=str)
def test_only_primitives_are_left(op: Op, dtype: np.dtype) -> None:
    root = decomposed(op, dtype)
    assert root.dtype == dtype
    assert {node.op for node in toposort(root)} <= PRIMITIVE


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cubes(dtype):
    random = np.random.default_rng(5)
    x = (random.uniform(-2, 2, 400) * 2.0 ** random.integers(-30, 30, 400)).astype(dtype)
    limits = np.finfo(dtype)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, limits.max, -limits.max, limits.tiny]
    x = np.concatenate([x, np.array([*special, limits.smallest_subnormal], dtype)])
    with xp.config(compile="always"):
        found = np.asarray(xp.asarray(x) ** 3)
        same_as = np.asarray(xp.pow(xp.asarray(x), 3.0))
    assert found.dtype == dtype and np.array_equal(found, same_as, equal_nan=True)
    for base, cube in zip(x[:400].tolist(), found[:400].tolist(), strict=True):
        assert error_in_ulps(cube, mpf(base) ** 3, np.dtype(dtype)) <= 0.51
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(found[400:], x[400:] * x[400:] * x[400:])
        assert np.array_equal(np.signbit(found[400:404]), [False, True, False, True])
