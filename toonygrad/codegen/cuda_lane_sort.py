"""Sorting short lanes on a GPU, as a kernel in the dialect: each in the registers of a block's threads.

`runtime/cuda_sorting.py` runs it. Imports the dialect, the data types and the CPU's keys.
"""

from __future__ import annotations

import functools

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.cpu import Parameter
from toonygrad.codegen.python_source import KernelSource
from toonygrad.codegen.radix import key_lines

__all__ = ["HELD", "LONGEST", "THREADS", "lanes_source"]

# Elements that a thread holds; the longest lane; threads of a block where a lane needs no more.
HELD, LONGEST, THREADS = 4, 2048, 256

# From lanes of 2 ** WARPS_FROM elements on, partners are in several warps: HELD * 32 elements are in one.
WARPS_FROM = 7
_WIDE = "uint64"


@functools.cache
def lanes_source(dtype: np.dtype, positions: bool) -> KernelSource:
    """Lanes in order, or the positions of their elements in that order, stably: a bitonic network.

    A lane is filled up to 2 ** `levels` elements, at least `HELD`, with what comes last, and a thread holds
    `HELD` neighbours. Elements travel as their keys with their positions, which tell equal ones apart: in one
    integer where both fit. Partners are in the same thread, in the same warp, or meet in shared memory. `out`
    and `elements` are bits.
    """
    key = np.dtype(f"u{dtype.itemsize}")
    packed = key.itemsize < 8
    parts = ["key"] if packed else ["key", "place"]
    name = f"cuda_{'argsort' if positions else 'sort'}_lanes_{dtype.name}"
    lines = [f"{part}s = {'uint64' if part == 'key' else 'int64'}_shared({LONGEST})" for part in parts]
    lines += f"""\
span = 1 << (levels - {HELD.bit_length() - 1})
thread = thread_x()
lane = quotient(block_x() * threads_x() + thread, span)
own = thread & (span - 1)
first = lane * length
mask = where(flip != 0, {key.name}({(1 << 8 * key.itemsize) - 1}), {key.name}(0))""".split("\n")
    for e in range(HELD):
        lines += [
            f"at = own + {e} * span",
            "inside = (at < length) & (lane < lanes)",
            "bits = elements[where(inside, first + at, 0)]",
            *key_lines(dtype.kind, key, distinct_zeros=False),
        ]
        last = f"{_WIDE}({2**64 - 1})"
        if packed:
            lines += [f"key{e} = where(inside, ({_WIDE}(value) << {_WIDE}(32)) | {_WIDE}(at), {last})"]
        else:
            lines += [f"key{e} = where(inside, value, {last})", f"place{e} = at"]
    lines += _exchange(parts, 0, 1, "True") + _exchange(parts, 2, 3, "False")
    lines += ["for level in range(2, levels + 1):", "    size = 1 << level"]
    lines += [
        f"    up = (own * {HELD}) & size == 0",
        f"    for step in range(maximum(level - {WARPS_FROM}, 0)):",
    ]
    lines += [f"        apart = size >> (step + {HELD.bit_length()})"]
    lines += ["        less = ((own & apart) == 0) == up"]
    for part in parts:
        lines += _indented(2, [f"{part}s[{e} * threads_x() + thread] = {part}{e}" for e in range(HELD)])
    lines += ["        barrier()"]
    for e in range(HELD):
        at = f"{e} * threads_x() + (thread ^ apart)"
        lines += _indented(2, [f"other_{part} = {part}s[{at}]" for part in parts])
        lines += _indented(2, _chosen(parts, e))
    lines += ["        barrier()"]
    for apart in (16, 8, 4, 2, 1):
        lines += [f"    if size >= {2 * HELD * apart}:", f"        less = ((own & {apart}) == 0) == up"]
        for e in range(HELD):
            lines += _indented(2, [f"other_{part} = shuffle_xor({part}{e}, {apart})" for part in parts])
            lines += _indented(2, _chosen(parts, e))
    for one, other in ((0, 2), (1, 3), (0, 1), (2, 3)):
        lines += _indented(1, _exchange(parts, one, other, "up"))
    for e in range(HELD):
        place = f"int64(key{e} & {_WIDE}({2**32 - 1}))" if packed else f"place{e}"
        element = place if positions else f"elements[first + {place}]"
        lines += [
            f"at = own * {HELD} + {e}",
            "if (at < length) & (lane < lanes):",
            f"    out[first + at] = {element}",
        ]
    integers = ("lanes", "length", "levels", "flip")
    text = f"def {name}(out, elements, {', '.join(integers)}):\n" + "".join(f"    {line}\n" for line in lines)
    pointers = (("out", dtypes.int64 if positions else key), ("elements", key))
    parameters = [Parameter(pointer, "pointer", kind) for pointer, kind in pointers]
    parameters += [Parameter(integer, "integer", dtypes.int64) for integer in integers]
    return KernelSource(name, text, tuple(parameters))


def _before(parts: list[str], one: str, other: str) -> str:
    """The condition that the one comes before the other; each is named by what is put in for `?`."""
    keys = one.replace("?", "key"), other.replace("?", "key")
    if len(parts) == 1:
        return f"{keys[0]} < {keys[1]}"
    places = one.replace("?", "place"), other.replace("?", "place")
    return f"({keys[0]} < {keys[1]}) | (({keys[0]} == {keys[1]}) & ({places[0]} < {places[1]}))"


def _exchange(parts: list[str], one: int, other: int, up: str) -> list[str]:
    """Put two elements of a thread in order."""
    lines = [f"turned = ({_before(parts, f'?{other}', f'?{one}')}) == {up}"]
    for part in parts:
        lines += [f"held_{part} = where(turned, {part}{other}, {part}{one})"]
        lines += [f"{part}{other} = where(turned, {part}{one}, {part}{other})", f"{part}{one} = held_{part}"]
    return lines


def _chosen(parts: list[str], e: int) -> list[str]:
    """Of an element and another thread's keep the less one, or the greater."""
    lines = [f"turned = ({_before(parts, 'other_?', f'?{e}')}) == less"]
    return lines + [f"{part}{e} = where(turned, other_{part}, {part}{e})" for part in parts]


def _indented(by: int, lines: list[str]) -> list[str]:
    return ["    " * by + line for line in lines]
