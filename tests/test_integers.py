"""Rules for division, shifts and truth values against the interpreter: every pair of 8-bit integers, edges of
the wider ones, and that divisors and amounts are always safe, which the evaluator checks.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scalar_evaluator import evaluate, variable

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.codegen.integers import EXACT_QUOTIENT, INTEGER_RULES, LONGEST_PRODUCT, MOST_AS_FLOAT
from toonygrad.runtime.interpreter import operation
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.rewrite import graph_rewrite

UNSAFE = {Ops.FLOORDIV, Ops.REMAINDER, Ops.SHL, Ops.SHR}


def operands(*arrays: np.ndarray) -> tuple[UOp, ...]:
    return tuple(variable("xyz"[i], x.dtype) for i, x in enumerate(arrays))


def rewritten(op: Op, *arrays: np.ndarray) -> np.ndarray:
    leaves = operands(*arrays)
    node = graph_rewrite(UOp.new(op, leaves), INTEGER_RULES, "integers")
    assert not UNSAFE & {below.op for below in toposort(node)}
    return evaluate(node, dict(zip(leaves, arrays)))


def interpreted(op: Op, *arrays: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(operation(UOp.new(op, operands(*arrays)))(*arrays))


def pairs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(values, values.size), np.tile(values, values.size)


def integers(dtype: np.dtype) -> np.ndarray:
    """All of them, or the edges and some between."""
    limits = np.iinfo(dtype)
    if limits.bits == 8:
        return np.arange(limits.min, limits.max + 1).astype(dtype)
    near = [*range(70), limits.max, limits.max - 1, limits.max // 2, 1 << (limits.bits // 2)]
    if limits.bits == 64:  # beside what floats hold
        near += [bound + k for bound in (MOST_AS_FLOAT, 2**53, 2**62) for k in (-1, 0, 1)]
    if limits.min < 0:
        near += [*range(-70, 0), limits.min, limits.min + 1, limits.min // 2]
        near += [-bound + k for bound in (MOST_AS_FLOAT, 2**53) for k in (-1, 0, 1) if limits.bits == 64]
    random = np.random.default_rng(3).integers(limits.min, limits.max, 60, dtype, endpoint=True)
    return np.append(np.array(near, dtype), random)


@pytest.mark.parametrize("op", sorted(UNSAFE, key=str), ids=str)
@pytest.mark.parametrize("dtype", dtypes.INTEGERS, ids=str)
def test_every_pair(op, dtype):
    x, y = pairs(integers(dtype))
    np.testing.assert_array_equal(rewritten(op, x, y), interpreted(op, x, y))


@pytest.mark.parametrize("op", sorted(UNSAFE, key=str), ids=str)
@pytest.mark.parametrize("dtype", [dtypes.int8, dtypes.uint8, dtypes.int64], ids=str)
@pytest.mark.parametrize("constant", [0, 1, 3, 7, 8, 64, 100, -1, -3, -128])
def test_constant_operands(op, dtype, constant):
    if constant < 0 and dtype.kind == "u":
        constant += 256
    x = integers(dtype)
    (leaf,) = operands(x)
    node = graph_rewrite(leaf.alu(op, constant), INTEGER_RULES, "integers")
    wanted = interpreted(op, x, np.full_like(x, constant))
    np.testing.assert_array_equal(evaluate(node, {leaf: x}), wanted)


def test_a_safe_constant_needs_no_choice():
    x = variable("x", dtypes.int64)
    for op in (Ops.FLOORDIV, Ops.REMAINDER, Ops.SHL, Ops.SHR):
        node = graph_rewrite(x.alu(op, 5), INTEGER_RULES, "integers")
        assert not any(below.op is Ops.EQ for below in toposort(node))


# -- division of integers in kernels -----------------------------------------------------------------------


def divided_by_kernels_and_interpreted(x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """What // and % give, by arrays and by one number."""
    found = []
    for mode in ("always", "never"):
        with xp.config(compile=mode):
            a, b = xp.asarray(x), xp.asarray(y)
            results = [a // b, a % b, xp.floor_divide(a, b) * b + xp.remainder(a, b)]
            for divisor in y[:: max(1, y.size // 7)]:
                results += [a // divisor, a % divisor, divisor // b, divisor % b]
            found.append(tuple(np.asarray(result) for result in results))
    return found


@pytest.mark.parametrize("dtype", dtypes.INTEGERS, ids=str)
def test_kernels_divide_as_the_interpreter(dtype):
    compiled, interpreted = divided_by_kernels_and_interpreted(*pairs(integers(dtype)))
    for got, wanted in zip(compiled, interpreted):
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", dtypes.INTEGERS, ids=str)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_quotients_of_any_size(dtype, data):
    """Operands of every number of bits, and multiples and their neighbours, where a rounded quotient errs."""
    limits = np.iinfo(dtype)
    seed, bits = data.draw(st.integers(0, 2**32)), data.draw(st.integers(1, limits.bits))
    random = np.random.default_rng(seed)
    most = min(limits.max, 2**bits)
    y = random.integers(max(limits.min, -most), most, 3000, dtype, endpoint=True)
    x = random.integers(limits.min, limits.max, 3000, dtype, endpoint=True)
    with np.errstate(all="ignore"):
        whole = x // np.where(y == 0, 1, y).astype(dtype) * y
        beside = whole + random.integers(0, 3, 3000).astype(dtype) - np.ones(1, dtype)
    x = np.where(random.integers(0, 3, 3000) > 0, beside, x)
    for got, wanted in zip(*divided_by_kernels_and_interpreted(x, y)):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("place", [0, 1023, 1024, 2999])
def test_one_large_operand_changes_its_own_element_alone(place):
    x = np.arange(-1500, 1500)
    x[place] = -(2**63) + 5
    for got, wanted in zip(*divided_by_kernels_and_interpreted(x, np.full_like(x, -7))):
        np.testing.assert_array_equal(got, wanted)


FLOATS = np.array(
    [
        0.0,
        0.1,
        0.3,
        0.5,
        1.0,
        2.5,
        3.0,
        7.0,
        1e-30,
        1e-38,
        1e10,
        1e20,
        1e30,
        np.inf,
        np.nan,
        2.0**22,
        2.0**22 + 1,
    ]
)
WIDE = np.array([5e-324, 1e-310, 1e-300, 1e300, 1.7e308, 2.0**51, 2.0**51 + 1, 2.0**53, 9007199254740993.0])


def floats(dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    values = np.append(FLOATS, WIDE) if dtype == dtypes.float64 else FLOATS
    values = np.append(values, -values).astype(dtype)
    x, y = pairs(values)
    random = np.random.default_rng(5)
    size = 10.0 ** random.uniform(-8, 8, (2, 20000)) * random.choice([-1, 1], (2, 20000))
    whole = random.integers(-50, 50, (2, 5000))
    both = np.append(np.stack([x, y]), np.append(size, whole, axis=1), axis=1).astype(dtype)
    return both[0], both[1]


@pytest.mark.parametrize("op", [Ops.FLOORDIV, Ops.REMAINDER], ids=str)
@pytest.mark.parametrize("dtype", dtypes.REAL_FLOATING, ids=str)
def test_division_of_floats(op, dtype):
    x, y = floats(dtype)
    got, wanted = rewritten(op, x, y), interpreted(op, x, y)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, wanted)
    seen = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(got[seen]), np.signbit(wanted[seen]))


@pytest.mark.parametrize("dtype", dtypes.REAL_FLOATING, ids=str)
def test_division_of_floats_around_the_limit_of_exactness(dtype):
    random = np.random.default_rng(6)
    y = random.uniform(0.5, 2, 5000).astype(dtype)
    quotient = EXACT_QUOTIENT[dtype] * random.uniform(0.25, 4, 5000)
    x = (y * np.floor(quotient)).astype(dtype)
    for op in (Ops.FLOORDIV, Ops.REMAINDER):
        np.testing.assert_array_equal(rewritten(op, x, y), interpreted(op, x, y))


@pytest.mark.parametrize("dtype", dtypes.INTEGERS, ids=str)
def test_constant_powers(dtype):
    x = integers(dtype)
    (leaf,) = operands(x)
    for exponent in range(LONGEST_PRODUCT + 1):
        node = graph_rewrite(leaf.alu(Ops.POW, exponent), INTEGER_RULES, "integers")
        assert Ops.POW not in {below.op for below in toposort(node)}
        wanted = interpreted(Ops.POW, x, np.full_like(x, exponent))
        got = evaluate(node, {leaf: x})
        np.testing.assert_array_equal(np.broadcast_to(got, x.shape), wanted)


def test_other_powers_are_left_to_the_dialect():
    x, y = variable("x", dtypes.int32), variable("y", dtypes.int32)
    for exponent in (y, UOp.const(-1, dtypes.int32), UOp.const(LONGEST_PRODUCT + 1, dtypes.int32)):
        node = x.alu(Ops.POW, exponent)
        assert graph_rewrite(node, INTEGER_RULES, "integers") is node


@pytest.mark.parametrize("op", [Ops.ROUND, Ops.FLOOR, Ops.CEIL, Ops.TRUNC], ids=str)
@pytest.mark.parametrize("dtype", [dtypes.bool_, *dtypes.INTEGERS], ids=str)
def test_integers_are_integral(op, dtype):
    x = variable("x", dtype)
    assert graph_rewrite(x.alu(op), INTEGER_RULES, "integers") is x


def test_unsigned_numbers_have_no_sign():
    values = np.array([0, 1, 255], np.uint8)
    x = variable("x", dtypes.uint8)
    assert graph_rewrite(abs(x), INTEGER_RULES, "integers") is x
    assert list(rewritten(Ops.NEG, values)) == [0, 255, 1]


TRUTH = (np.array([False, False, True, True]), np.array([False, True, False, True]))


@pytest.mark.parametrize("op", [Ops.ADD, Ops.MUL, Ops.MAXIMUM, Ops.MINIMUM, Ops.LT, Ops.LE], ids=str)
def test_truth_values(op):
    leaves = operands(*TRUTH)
    node = graph_rewrite(UOp.new(op, leaves), INTEGER_RULES, "integers")
    assert {below.op for below in toposort(node)} <= {Ops.AND, Ops.OR, Ops.NOT, Ops.VARIABLE}
    np.testing.assert_array_equal(evaluate(node, dict(zip(leaves, TRUTH))), interpreted(op, *TRUTH))


def test_fused_multiplication_of_integers():
    x, y = pairs(integers(dtypes.int8))
    np.testing.assert_array_equal(rewritten(Ops.FMA, x, y, x), interpreted(Ops.FMA, x, y, x))


def test_bits_of_constants_are_of_their_type():
    """The modulus of a constant takes the difference of two int32, which is no index."""
    with xp.config(compile="always"):
        modulus = xp.abs(xp.zeros((3000,), dtype=xp.complex64))
        assert bool(xp.all(modulus <= 0.5)) and not bool(xp.any(modulus > 0.5))
