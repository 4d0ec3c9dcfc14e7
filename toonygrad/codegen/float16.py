"""float16 in kernels: sixteen bits, moved as they are; conversions are arithmetic on integers.

Nothing computes in float16, so a kernel knows it as uint16 and no word of the dialect is about it. Every
choice is a WHERE and loops over conversions vectorise. The lowering has FLOAT16_RULES among its own; this
file imports the graph alone.
"""

from __future__ import annotations

import numpy as np

from toonygrad import dtypes
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops
from toonygrad.uop.pattern import PatternMatcher, UPat

_BITS = dtypes.uint16
# For the floats that a float16 is rounded from: their bits' type, the width of their fraction, their bias.
_LAYOUT = {dtypes.float32: (dtypes.uint32, 23, 127), dtypes.float64: (dtypes.uint64, 52, 1023)}
_FRACTION, _BIAS = 10, 15
_INFINITY, _NAN = 0x7C00, 0x7E00


def widened(bits: UOp) -> UOp:
    """The float32 that a float16 of these bits is, exactly."""
    unsigned, fraction, bias = _LAYOUT[dtypes.float32]
    size = (bits & 0x7FFF).cast(unsigned)
    normal = (size << (fraction - _FRACTION)) + ((bias - _BIAS) << fraction)
    special = normal + ((bias - _BIAS) << fraction)  # an exponent of ones stays one of ones
    small = (size.cast(dtypes.float32) * 2.0**-24).bitcast(unsigned)
    wide = (size < 1 << _FRACTION).where(small, (size < _INFINITY).where(normal, special))
    return (wide | ((bits >> 15).cast(unsigned) << 31)).bitcast(dtypes.float32)


def narrowed(x: UOp) -> UOp:
    """The bits of the float16 next to a float32 or float64, of two the even one."""
    unsigned, fraction, bias = _LAYOUT[x.dtype]
    dropped = fraction - _FRACTION
    size = abs(x)
    bits = size.bitcast(unsigned)
    # With one less than half of what is dropped, and the last bit that stays, a carry rounds to even.
    rounding = (bits >> dropped & 1) + ((1 << dropped - 1) - 1)
    normal = (bits - ((bias - _BIAS) << fraction) + rounding) >> dropped
    # Added to the number whose last bit is worth 2**-24, as that of a subnormal float16, the sum rounds.
    exponent = fraction - 24
    small = (size + 2.0**exponent).bitcast(unsigned) - ((bias + exponent) << fraction)
    special = x.eq(x).where(UOp.const(_INFINITY, unsigned), _NAN)
    half = (size < 2.0**-14).where(small, (size < 2.0**16).where(normal, special))
    sign = x.bitcast(unsigned) >> 8 * unsigned.itemsize - 1
    return (half | sign << 15).cast(_BITS)


def stored(value: UOp) -> UOp:
    """`value` as a kernel stores it."""
    return value.bitcast(_BITS) if value.dtype == dtypes.float16 else value


def _access(node: UOp) -> UOp:
    number, _, coefficients, offset = node.arg
    return UOp.new(Ops.ACCESS, node.src, (number, _BITS, coefficients, offset)).bitcast(dtypes.float16)


def _number(node: UOp) -> UOp:
    return UOp.new(Ops.NUMBER, (), (node.arg[0], dtypes.float32)).cast(dtypes.float16)


def _constant(node: UOp) -> UOp:
    return UOp.const(int(np.float16(node.arg).view(np.uint16)), _BITS).bitcast(dtypes.float16)


def _choice(c: UOp, x: UOp, y: UOp) -> UOp:
    return c.where(x.bitcast(_BITS), y.bitcast(_BITS)).bitcast(dtypes.float16)


def _from(x: UOp, node: UOp) -> UOp:
    return widened(x.bitcast(_BITS)).cast(node.dtype)


def _to(x: UOp) -> UOp:
    return narrowed(x if x.dtype in _LAYOUT else x.cast(dtypes.float32)).bitcast(dtypes.float16)


_X, _Y = UPat(name="x"), UPat(name="y")
_HALF = UPat(name="x", dtype=dtypes.float16)

# What was float16 becomes the BITCAST of its bits, and every use of it undoes that.
FLOAT16_RULES = PatternMatcher(
    [
        (UPat(Ops.ACCESS, dtype=dtypes.float16, name="node"), _access),
        (UPat(Ops.NUMBER, dtype=dtypes.float16, name="node"), _number),
        (UPat(Ops.CONST, dtype=dtypes.float16, name="node"), _constant),
        (UPat(Ops.WHERE, (UPat(name="c"), _X, _Y), dtype=dtypes.float16), _choice),
        (UPat(Ops.CAST, (_HALF,), name="node"), _from),
        (UPat(Ops.CAST, (_X,), dtype=dtypes.float16), _to),
        (UPat(Ops.BITCAST, (UPat(Ops.BITCAST, (_X,), dtype=dtypes.float16),)), lambda x: x),
    ]
)
