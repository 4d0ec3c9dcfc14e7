"""Elements that a mask selects, and the positions of truths, on all cores: computed at the call.

Each chunk counts its truths, NumPy adds the counts up, and each chunk writes its elements in their place.
Called by indexing.py. The kernel is text in the dialect, compiled and kept as all others are.
"""

from __future__ import annotations

from array import array

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.cpu import Parameter
from toonygrad.config import settings
from toonygrad.runtime.buffer import Buffer, pool
from toonygrad.runtime.cache import obtain_kernel
from toonygrad.runtime.threads import launch

# Elements of a mask that one parallel step goes through. With fewer than two such chunks NumPy selects, which
# takes no longer than the launches.
CHUNK = 1 << 14

# What is selected in a block is gathered in scratch memory, without a branch on what the mask says, and
# copied; no further than the next chunk's place, for a mask in shared memory may have changed.
_TEXT = """\
def {name}({arguments}, lo, hi):
    selected = {element}_scratch({room})
    for step in range(lo, hi):
        start = step * chunk
        stop = minimum(start + chunk, length)
        if storing == 0:
            truths = 0
            for i in range(start, stop):
                truths = truths + int64(mask[i] != 0)
            offsets[step + 1] = truths
        if storing != 0:
            place = offsets[step]
            end = offsets[step + 1]
            for block in range(quotient(stop - start + 511, 512)):
                first = start + block * 512
                last = minimum(first + 512, stop)
                count = 0
                for i in range(first, last):
{gather}
                    count = count + int64(mask[i] != 0)
                count = minimum(count, end - place)
                for k in range({width} * count):
                    out0[{width} * place + k] = selected[k]
                place = place + count
"""


def selected(mask: np.ndarray, values: np.ndarray) -> Buffer:
    """The elements of `values` where `mask`, of the same shape, holds: one-dimensional, in row-major order.

    Raises
    ------
    MemoryError
        There is no memory for them.
    """
    if _is_small(mask):
        return Buffer(values[mask])
    return _run(mask, np.ascontiguousarray(values))


def true_positions(mask: np.ndarray) -> Buffer:
    """Where `mask` holds, as int64 positions in row-major order.

    Raises
    ------
    MemoryError
        There is no memory for them.
    """
    return Buffer(np.flatnonzero(mask)) if _is_small(mask) else _run(mask, None)


def _is_small(mask: np.ndarray) -> bool:
    return settings.compile == "never" or mask.size < 2 * CHUNK


def _run(mask: np.ndarray, values: np.ndarray | None) -> Buffer:
    mask = np.ascontiguousarray(mask)
    dtype = dtypes.INDEX if values is None else values.dtype
    # Bits are copied, whatever they mean; those of complex numbers as two words.
    width = 2 if dtype in dtypes.COMPLEX_FLOATING else 1
    element = np.dtype(f"uint{8 * dtype.itemsize // width}") if values is not None else dtypes.INDEX
    pointers = [("out0", element), ("mask", np.dtype(np.uint8)), ("offsets", dtypes.INDEX)]
    if values is not None:
        pointers.append(("in0", element))
    parameters = [Parameter(name, "pointer", kind) for name, kind in pointers]
    parameters += [Parameter(name, "integer", dtypes.INDEX) for name in ("length", "chunk", "storing")]
    name = "kernel_positions" if values is None else f"kernel_select_{width}_{element}"
    found = "i" if values is None else f"in0[{width} * i + {{part}}]"
    gather = "\n".join(
        f"{' ' * 20}selected[{width} * count + {part}] = {found.format(part=part)}" for part in range(width)
    )
    arguments = ", ".join(parameter.name for parameter in parameters)
    text = _TEXT.format(
        name=name, arguments=arguments, element=element, room=512 * width, gather=gather, width=width
    )
    native = obtain_kernel(text, name, parameters)
    steps = -(-mask.size // CHUNK)
    offsets = np.zeros(steps + 1, dtypes.INDEX)
    addresses = array("q", [0, mask.ctypes.data, offsets.ctypes.data])
    if values is not None:
        addresses.append(values.ctypes.data)
    integers = array("q", [mask.size, CHUNK, 0])
    pointed, counted = addresses.buffer_info()[0], integers.buffer_info()[0]
    launch(native.address, pointed, counted, steps, 1)
    np.add.accumulate(offsets, out=offsets)
    out = pool.allocate((int(offsets[-1]),), dtype)
    addresses[0], integers[2] = out.address, 1
    launch(native.address, pointed, counted, steps, 1)
    return out
