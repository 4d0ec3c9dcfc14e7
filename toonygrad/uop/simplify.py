"""Algebra on scalar nodes: constants folded, identities dropped. Codegen has these among its rules.

Only what IEEE arithmetic allows: x + 0 changes -0.0 and x * 0 hides a NaN, so those fold for integers alone.
Imports nodes, patterns and the data types.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from toonygrad import dtypes
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.pattern import PatternMatcher, UPat

_INTEGER_ARITHMETIC: dict[Op, Callable[[Any, Any], Any]] = {
    Ops.ADD: operator.add,
    Ops.SUB: operator.sub,
    Ops.MUL: operator.mul,
    Ops.AND: operator.and_,
    Ops.OR: operator.or_,
    Ops.XOR: operator.xor,
    Ops.MAXIMUM: max,
    Ops.MINIMUM: min,
}
_COMPARISON: dict[Op, Callable[[Any, Any], bool]] = {
    Ops.LT: operator.lt,
    Ops.LE: operator.le,
    Ops.EQ: operator.eq,
    Ops.NE: operator.ne,
}
_INTEGRAL = (dtypes.bool_, *dtypes.INTEGERS)


def wrapped(value: int, dtype: Any) -> int | bool:
    """An integer reduced to the range of an integer type, as its arithmetic wraps."""
    if dtype == dtypes.bool_:
        return bool(value)
    bits = 8 * dtype.itemsize
    value &= (1 << bits) - 1
    return value - (1 << bits) if dtype in dtypes.SIGNED and value >> (bits - 1) else value


def _fold_integers(node: UOp) -> UOp:
    x, y = node.src
    return UOp.const(wrapped(int(_INTEGER_ARITHMETIC[node.op](x.arg, y.arg)), node.dtype), node.dtype)


def _fold_comparison(node: UOp) -> UOp:
    x, y = node.src
    return UOp.const(_COMPARISON[node.op](x.arg, y.arg), dtypes.bool_)


def _fold_cast(node: UOp) -> UOp | None:
    value = node.src[0].arg
    if node.dtype == dtypes.bool_:
        return UOp.const(value != 0, node.dtype)
    if node.dtype in dtypes.INTEGERS:
        return UOp.const(wrapped(int(value), node.dtype), node.dtype) if isinstance(value, int) else None
    if node.dtype in dtypes.REAL_FLOATING and not isinstance(value, complex):
        return UOp.const(float(value), node.dtype)
    return None


def _neutral(x: UOp, c: UOp, value: int) -> UOp | None:
    return x if c.arg == value else None


_C = UPat(Ops.CONST)
_X, _NUMBER = UPat(name="x"), UPat(Ops.CONST, name="c")

SIMPLIFY = PatternMatcher(
    [
        (UPat(_INTEGER_ARITHMETIC, (_C, _C), dtype=_INTEGRAL, name="node"), _fold_integers),
        (UPat(_COMPARISON, (_C, _C), name="node"), _fold_comparison),
        (UPat(Ops.CAST, (_C,), name="node"), _fold_cast),
        (UPat(Ops.CAST, (_X,), name="node"), lambda x, node: x if x.dtype == node.dtype else None),
        (UPat((Ops.ADD, Ops.SUB), (_X, _NUMBER), dtype=dtypes.INTEGERS), lambda x, c: _neutral(x, c, 0)),
        (UPat(Ops.ADD, (_NUMBER, _X), dtype=dtypes.INTEGERS), lambda x, c: _neutral(x, c, 0)),
        (UPat((Ops.MUL, Ops.DIV), (_X, _NUMBER)), lambda x, c: _neutral(x, c, 1)),
        (UPat(Ops.MUL, (_NUMBER, _X)), lambda x, c: _neutral(x, c, 1)),
        (UPat(Ops.WHERE, (_NUMBER, _X, UPat(name="y"))), lambda c, x, y: x if c.arg else y),
        (UPat(Ops.WHERE, (UPat(), _X, _X)), lambda x: x),
        (UPat(Ops.NEG, (UPat(Ops.NEG, (_X,)),)), lambda x: x),
        (UPat(Ops.NOT, (UPat(Ops.NOT, (_X,)),)), lambda x: x),
    ]
)
