"""Elements that a mask selects, and the positions of truths, on a GPU: computed at the call.

One kernel counts the truths of each chunk; how many there are in all says how long the result is, which the
host waits for. Another kernel stores each chunk's behind those of the chunks before. Also positions that are
repeated, each as often as a number says. Called by indexing.py and writing.py, as selection.py is for the
CPU.
"""

from __future__ import annotations

import functools

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.cuda import VECTOR_BYTES, WARP
from toonygrad.runtime.cuda_texts import TextKernel
from toonygrad.runtime.device import DeviceBuffer

# Threads of a block, each with sixteen bytes of a tile of the mask; and how many chunks of tiles there are at
# most: each adds up the counts of those before it.
THREADS = 256
TILE = THREADS * VECTOR_BYTES
MOST_CHUNKS = 4096
# Elements that a thread has on their way at once.
AHEAD = 4

_TRUTHS = """\
        here = thread_x() * {width}
        first = (block_x() * tiles + tile) * {tile} + here
        count = 0
        if aligned != 0 and first + {width} <= length:
            load_vector(truths, 0, mask, first)
        else:
            for m in range({width}):
                unrolled()
                if first + m < length:
                    truths[m] = mask[first + m]
                else:
                    truths[m] = uint8(0)
        for m in range({width}):
            unrolled()
            count = count + int64(truths[m] != 0)
"""

_COUNT = (
    """\
    truths = uint8_scratch({width})
    warps = int64_shared({warp})
    total = 0
    for tile in range(tiles):
"""
    + _TRUTHS
    + """\
        total = total + count
    total = total + shuffle_xor(total, 16)
    total = total + shuffle_xor(total, 8)
    total = total + shuffle_xor(total, 4)
    total = total + shuffle_xor(total, 2)
    total = total + shuffle_xor(total, 1)
    if remainder(thread_x(), {warp}) == 0:
        warps[quotient(thread_x(), {warp})] = total
    barrier()
    if thread_x() == 0:
        whole = 0
        for each in range({warps}):
            whole = whole + warps[each]
        counts[block_x()] = whole
"""
)

# What a tile selects is put side by side in shared memory first, so that neighbouring threads store
# neighbouring elements. No further than the next chunk's place: a mask in shared memory may have changed.
_STORE = (
    """\
    truths = uint8_scratch({width})
    held = {element}_scratch({ahead} * {parts})
    places = int32_shared({tile})
    warps = int64_shared({warp})
    lane = remainder(thread_x(), {warp})
    warp = quotient(thread_x(), {warp})
    begin = 0
    for each in range(quotient(block_x() + {threads} - 1, {threads})):
        if each * {threads} + thread_x() < block_x():
            begin = begin + counts[each * {threads} + thread_x()]
    begin = begin + shuffle_xor(begin, 16)
    begin = begin + shuffle_xor(begin, 8)
    begin = begin + shuffle_xor(begin, 4)
    begin = begin + shuffle_xor(begin, 2)
    begin = begin + shuffle_xor(begin, 1)
    if lane == 0:
        warps[warp] = begin
    barrier()
    begin = 0
    for each in range({warps}):
        begin = begin + warps[each]
    barrier()
    end = begin + counts[block_x()]
    for tile in range(tiles):
"""
    + _TRUTHS
    + """\
        below = count
        other = shuffle_up(below, 1)
        below = below + where(lane >= 1, other, 0)
        other = shuffle_up(below, 2)
        below = below + where(lane >= 2, other, 0)
        other = shuffle_up(below, 4)
        below = below + where(lane >= 4, other, 0)
        other = shuffle_up(below, 8)
        below = below + where(lane >= 8, other, 0)
        other = shuffle_up(below, 16)
        below = below + where(lane >= 16, other, 0)
        if lane == {warp} - 1:
            warps[warp] = below
        barrier()
        place = below - count
        total = 0
        for each in range({warps}):
            part = warps[each]
            place = place + where(each < warp, part, 0)
            total = total + part
        for m in range({width}):
            unrolled()
            if truths[m] != 0:
                places[place] = int32(here + m)
                place = place + 1
        barrier()
        total = minimum(total, end - begin)
        for step in range(quotient(total + {ahead} * {threads} - 1, {ahead} * {threads})):
            for m in range({ahead}):
                unrolled()
                k = (step * {ahead} + m) * {threads} + thread_x()
                if k < total:
                    source = (block_x() * tiles + tile) * {tile} + int64(places[k])
{loads}
            for m in range({ahead}):
                unrolled()
                k = (step * {ahead} + m) * {threads} + thread_x()
                if k < total:
{stores}
        begin = begin + total
        barrier()
"""
)

_BISECT = """\
    each = block_x() * {threads} + thread_x()
    if each < length:
        low = 0
        high = count
        for step in range(steps):
            middle = quotient(low + high, 2)
            if low < high:
                if ends[middle] <= each:
                    low = middle + 1
                else:
                    high = middle
        out0[each] = low
"""

_SIZES = {
    "width": VECTOR_BYTES,
    "tile": TILE,
    "ahead": AHEAD,
    "threads": THREADS,
    "warp": WARP,
    "warps": THREADS // WARP,
}
_MASK = ("mask", np.dtype(np.uint8))
_COUNTS = ("counts", dtypes.INDEX)
_INTEGERS = ("length", "tiles", "aligned")
_SPAN = ("length", "count", "steps")


@functools.cache
def _counting() -> TextKernel:
    return TextKernel.made(_COUNT.format(**_SIZES), [_COUNTS, _MASK], _INTEGERS)


@functools.cache
def _storing(element: np.dtype | None, parts: int) -> TextKernel:
    """The kernel that stores elements of `parts` words, or positions where there is no word."""
    kind = dtypes.INDEX if element is None else element
    found = "source" if element is None else f"in0[source * {parts} + {{n}}]"

    def each_part(line: str) -> str:
        return "\n".join(" " * 20 + line.format(n=n) for n in range(parts))

    body = _STORE.format(
        **_SIZES,
        element=kind,
        parts=parts,
        loads=each_part(f"held[m * {parts} + {{n}}] = {found}"),
        stores=each_part(f"out0[(begin + k) * {parts} + {{n}}] = held[m * {parts} + {{n}}]"),
    )
    pointers = [("out0", kind), _COUNTS, _MASK]
    if element is not None:
        pointers.append(("in0", element))
    return TextKernel.made(body, pointers, _INTEGERS)


def selected(mask: DeviceBuffer, values: DeviceBuffer) -> DeviceBuffer:
    """The elements of `values` where `mask`, of the same shape, holds; both are row-major, on one device.

    Raises
    ------
    IndexError
        An index out of bounds led to the mask.
    MemoryError
        There is no memory for them.
    """
    result = _run(mask, values)
    result.checks = values.checks
    return result


def true_positions(mask: DeviceBuffer) -> DeviceBuffer:
    """Where a row-major `mask` holds, as int64 positions in row-major order.

    Raises
    ------
    IndexError
        An index out of bounds led to the mask.
    MemoryError
        There is no memory for them.
    """
    return _run(mask, None)


@functools.cache
def _bisecting() -> TextKernel:
    return TextKernel.made(_BISECT.format(**_SIZES), [("out0", dtypes.INDEX), ("ends", dtypes.INDEX)], _SPAN)


def repeated_positions(ends: DeviceBuffer) -> DeviceBuffer:
    """Each position as often as `ends`, running totals of int64, grow there.

    Raises
    ------
    IndexError
        An index out of bounds led to the totals.
    MemoryError
        There is no memory for them.
    """
    ends.raise_if_outside()
    device, (count,) = ends.place, ends.shape
    length = int(ends.view((count - 1) * 8, (1,), (8,)).array[0]) if count else 0
    result = device.allocate((length,), dtypes.INDEX)
    if length:
        arguments = (result.address, ends.address, length, count, count.bit_length())
        _bisecting().launch(device, (-(-length // THREADS), 1), (THREADS, 1), arguments)
    return result


def _run(mask: DeviceBuffer, values: DeviceBuffer | None) -> DeviceBuffer:
    mask.raise_if_outside()
    device, length = mask.place, mask.nbytes
    dtype = dtypes.INDEX if values is None else values.dtype
    if not length:
        return device.allocate((0,), dtype)
    tiles = -(-length // (TILE * MOST_CHUNKS))
    chunks = -(-length // (TILE * tiles))
    integers = (length, tiles, int(mask.address % VECTOR_BYTES == 0))
    counts = device.allocate((chunks,), dtypes.INDEX)
    _counting().launch(device, (chunks, 1), (THREADS, 1), (counts.address, mask.address, *integers))
    result = device.allocate((int(counts.array.sum()),), dtype)
    if not result.nbytes:
        return result
    pointers = [result.address, counts.address, mask.address]
    if values is None:
        kernel = _storing(None, 1)
    else:
        # Bits are copied, whatever they mean.
        parts = 2 if dtype in dtypes.COMPLEX_FLOATING else 1
        kernel = _storing(np.dtype(f"u{dtype.itemsize // parts}"), parts)
        pointers.append(values.address)
    kernel.launch(device, (chunks, 1), (THREADS, 1), (*pointers, *integers))
    return result
