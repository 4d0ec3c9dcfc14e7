"""Sorting by digits, as kernels in the dialect: least digit first, eight bits at a time, stable.

`runtime/sorting.py` runs them. A *key* is an unsigned integer in the order of the elements: one for each bit
pattern to sort, and for positions one in the upper half of 64 bits, the position in the lower. Lanes lie one
behind the other, each cut into blocks, which are the parallel steps. A pass over a digit counts it in each
block, makes the counts places, and moves the keys there. Imports the dialect and the data types.
"""

from __future__ import annotations

import functools

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.cpu import Parameter
from toonygrad.codegen.python_source import KernelSource

__all__ = [
    "BITS",
    "DIGITS",
    "PACKED",
    "count_source",
    "disorder_source",
    "key_lines",
    "keys_source",
    "move_source",
    "positions_source",
    "starts_source",
]

# Of a digit, and its values. 4 M random uint32 took 20 ms on one core with 8 bits, 42 with 11: 2048 places
# are on more pages than the processor has addresses of at hand.
BITS, DIGITS = 8, 256

# What keys are where a position travels in the lower half.
PACKED = np.dtype(np.uint64)


def _pointer(name: str, dtype: np.dtype) -> Parameter:
    return Parameter(name, "pointer", dtype)


def _integers(*names: str) -> tuple[Parameter, ...]:
    return tuple(Parameter(name, "integer", dtypes.int64) for name in names)


_SHAPE = _integers("length", "blocks", "block")
_ELEMENTS = (*_SHAPE, *_integers("lane_stride", "stride", "flip"))


def _source(name: str, parameters: tuple[Parameter, ...], body: str) -> KernelSource:
    signature = ", ".join([*(parameter.name for parameter in parameters), "lo", "hi"])
    return KernelSource(name, f"def {name}({signature}):\n{body}", parameters)


def _literals(key: np.dtype) -> tuple[str, str, str]:
    """A key's type, and as literals of it all ones and the sign bit."""
    width = 8 * key.itemsize
    return key.name, f"{key.name}({(1 << width) - 1})", f"{key.name}({1 << (width - 1)})"


def key_lines(kind: str, key: np.dtype, distinct_zeros: bool) -> list[str]:
    """`value` from the element's `bits`. NaNs are one key above infinity's."""
    name, ones, sign = _literals(key)
    if kind in "ub":
        return [f"value = {name}(bits ^ mask)"]
    if kind == "i":
        return [f"value = {name}(bits ^ {sign} ^ mask)"]
    infinity, nan = _infinity_and_nan(key)
    lines = [
        f"magnitude = {name}(bits & {name}({(1 << (8 * key.itemsize - 1)) - 1}))",
        f"order = {name}(bits ^ where(magnitude == bits, {sign}, {ones}))",
    ]
    if not distinct_zeros:
        lines.append(f"order = where(magnitude == {name}(0), {sign}, order)")
    return [*lines, f"value = {name}(where(magnitude > {infinity}, {nan}, order) ^ mask)"]


def _infinity_and_nan(key: np.dtype) -> tuple[str, str]:
    """As literals the bits of infinity, and the key of NaN."""
    floating = np.dtype(f"float{8 * key.itemsize}")
    infinity, nan = (int(np.array(value, floating).view(key)) for value in (np.inf, np.nan))
    return f"{key.name}({infinity})", f"{key.name}({nan | 1 << (8 * key.itemsize - 1)})"


@functools.cache
def disorder_source(kind: str, key: np.dtype) -> KernelSource:
    """Whether in each block an element comes before a lesser one: of the block, or the next block's first."""
    lines = "\n            ".join(key_lines(kind, key, distinct_zeros=False))
    body = f"""\
    mask = {key.name}(flip)
    for step in range(lo, hi):
        lane = quotient(step, blocks)
        first = remainder(step, blocks) * block
        found = 0
        for i in range(first, minimum(first + block, length - 1)):
            bits = x[lane * lane_stride + i * stride]
            {lines}
            before = value
            bits = x[lane * lane_stride + (i + 1) * stride]
            {lines}
            found = found | int64(value < before)
        disorder[step] = found
"""
    arrays = (_pointer("disorder", dtypes.int64), _pointer("x", key))
    return _source(f"radix_disorder_{kind}_{key.name}", (*arrays, *_ELEMENTS), body)


def _key_parameters(key: np.dtype, element: np.dtype) -> tuple[Parameter, ...]:
    outputs = (_pointer("keys", key), _pointer("some_bits", key), _pointer("all_bits", key))
    arrays = (*outputs, _pointer("zeros", dtypes.int64), _pointer("x", element))
    return (*arrays, *_ELEMENTS)


@functools.cache
def keys_source(kind: str, key: np.dtype) -> KernelSource:
    """Keys of elements of NumPy's `kind`, read as unsigned integers `key`.

    Each block says which bits some and which all of its keys have, and whether an element is -0.
    """
    name = key.name
    lines = "\n            ".join(key_lines(kind, key, distinct_zeros=True))
    zero = f"\n            zero = zero | int64(bits == {_literals(key)[2]})" if kind == "f" else ""
    body = f"""\
    mask = {name}(flip)
    for step in range(lo, hi):
        lane = quotient(step, blocks)
        first = remainder(step, blocks) * block
        some = {name}(0)
        every = {name}({(1 << (8 * key.itemsize)) - 1})
        zero = 0
        for i in range(first, minimum(first + block, length)):
            bits = x[lane * lane_stride + i * stride]
            {lines}
            keys[lane * length + i] = value
            some = {name}(some | value)
            every = {name}(every & value){zero}
        some_bits[step] = some
        all_bits[step] = every
        zeros[step] = zero
"""
    return _source(f"radix_keys_{kind}_{name}", _key_parameters(key, key), body)


@functools.cache
def positions_source(kind: str, key: np.dtype, half: str) -> KernelSource:
    """Keys with positions: `half` is "all" of a key up to 32 bits, "low" of one of 64, or "high".

    "high" takes the positions from the keys that are there, in their order.
    """
    name = key.name
    again = half == "high"
    lines = "\n            ".join(key_lines(kind, key, distinct_zeros=False))
    position = "int64(keys[lane * length + i] & uint64(4294967295))" if again else "i"
    upper = (
        "uint64(value) & uint64(18446744069414584320)" if again else "shift_left(uint64(value), uint64(32))"
    )
    body = f"""\
    mask = {name}(flip)
    for step in range(lo, hi):
        lane = quotient(step, blocks)
        first = remainder(step, blocks) * block
        some = uint64(0)
        every = uint64(18446744073709551615)
        for i in range(first, minimum(first + block, length)):
            position = {position}
            bits = x[lane * lane_stride + position * stride]
            {lines}
            packed = ({upper}) | uint64(position)
            keys[lane * length + i] = packed
            some = some | packed
            every = every & packed
        some_bits[step] = some
        all_bits[step] = every
        zeros[step] = 0
"""
    return _source(f"radix_positions_{half}_{kind}_{name}", _key_parameters(PACKED, key), body)


@functools.cache
def count_source(key: np.dtype) -> KernelSource:
    """How often each value of a digit occurs in each block."""
    name = key.name
    body = f"""\
    amount = {name}(shift)
    for step in range(lo, hi):
        lane = quotient(step, blocks)
        first = remainder(step, blocks) * block
        here = step * {DIGITS}
        for digit in range({DIGITS}):
            counts[here + digit] = 0
        for i in range(lane * length + first, lane * length + minimum(first + block, length)):
            place = here + int64(shift_right(keys[i], amount) & {name}({DIGITS - 1}))
            counts[place] = counts[place] + 1
"""
    pointers = (_pointer("counts", dtypes.int64), _pointer("keys", key))
    return _source(f"radix_count_{name}", (*pointers, *_SHAPE, *_integers("shift")), body)


@functools.cache
def starts_source() -> KernelSource:
    """Counts become places: where in its lane the first key of each block with each digit goes."""
    body = f"""\
    places = int64_scratch({DIGITS})
    for lane in range(lo, hi):
        for digit in range({DIGITS}):
            places[digit] = 0
        for step in range(lane * blocks, (lane + 1) * blocks):
            for digit in range({DIGITS}):
                count = counts[step * {DIGITS} + digit]
                counts[step * {DIGITS} + digit] = places[digit]
                places[digit] = places[digit] + count
        total = 0
        for digit in range({DIGITS}):
            count = places[digit]
            places[digit] = total
            total = total + count
        for step in range(lane * blocks, (lane + 1) * blocks):
            for digit in range({DIGITS}):
                counts[step * {DIGITS} + digit] = counts[step * {DIGITS} + digit] + places[digit]
"""
    return _source("radix_starts", (_pointer("counts", dtypes.int64), *_integers("blocks")), body)


@functools.cache
def move_source(key: np.dtype, result: str) -> KernelSource:
    """Keys to their places, or in the last pass what they stand for.

    `result` is "key", "position", or NumPy's kind of the elements: then it's their bits.
    """
    name, ones, sign = _literals(key)
    values = {
        "key": "key",
        "position": "int64(key & uint64(4294967295))",
        "u": f"{name}(key ^ mask)",
        "b": f"{name}(key ^ mask)",
        "i": f"{name}(key ^ mask ^ {sign})",
        "f": f"{name}(key ^ mask ^ where({name}(key ^ mask) >= {sign}, {sign}, {ones}))",
    }
    body = f"""\
    amount = {name}(shift)
    mask = {name}(flip)
    for step in range(lo, hi):
        lane = quotient(step, blocks)
        first = remainder(step, blocks) * block
        here = step * {DIGITS}
        for i in range(lane * length + first, lane * length + minimum(first + block, length)):
            key = keys[i]
            place = here + int64(shift_right(key, amount) & {name}({DIGITS - 1}))
            position = starts[place]
            starts[place] = position + 1
            out[lane * lane_stride + position * stride] = {values[result]}
"""
    pointers = (
        _pointer("out", dtypes.int64 if result == "position" else key),
        _pointer("starts", dtypes.int64),
        _pointer("keys", key),
    )
    integers = (*_SHAPE, *_integers("lane_stride", "stride", "shift", "flip"))
    return _source(f"radix_move_{result}_{name}", pointers + integers, body)
