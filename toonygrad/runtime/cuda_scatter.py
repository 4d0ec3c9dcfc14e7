"""Elements put where positions or a mask lead in a GPU's memory, in place. Called by writing.py.

Of several elements for one place the last is written, as NumPy has it, whatever order threads run in: each
element claims its place first, by an atomic maximum of its number.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from toonygrad import dtypes
from toonygrad.runtime.cuda_texts import TextKernel
from toonygrad.runtime.device import Device, DeviceBuffer
from toonygrad.uop.shape import size_of

THREADS = 256
# Up to so many elements compare their places one by one, in a kernel of some microseconds; more claim them in
# memory with a number for every place there is.
MOST_COMPARED = 1024
# Numbers that aren't many times as many as the elements are cleared all at once, which is memory in order.
FEW_PLACES = 16

# An axis: how many elements, and how far apart they lie.
Axis = tuple[int, int]


class Values(NamedTuple):
    """What is written: one element for each number and each place of the rest.

    Attributes
    ----------
    memory : of the first one
    step : elements from one number to the next; 0 where all have the same
    inner : elements from one place of the rest to the next, 0 or 1
    """

    memory: DeviceBuffer
    step: int
    inner: int


def fill(target: DeviceBuffer, mask: DeviceBuffer, value: DeviceBuffer) -> None:
    """Put one value where a row-major mask of the target's shape holds."""
    word, parts = _word(target)
    axes = _axes(target, range(len(target.shape)), word)
    kernel = _filling(word, parts, len(axes))
    length = size_of(target.shape)
    pointers = (target.address, mask.address, value.address)
    if length:
        kernel.launch(target.place, -(-length // THREADS), THREADS, (*pointers, length, *_flat(axes)))


def scatter(
    target: DeviceBuffer,
    indexed: Sequence[int],
    places: DeviceBuffer,
    values: Values,
    ordered: bool,
) -> None:
    """Put elements where `places` say.

    Nothing is written where a check of the places has failed.

    Parameters
    ----------
    target : the memory written to
    indexed : axes of it that `places` lead along; the rest is written whole for each place
    places : int32 or int64, contiguous: numbers of the places along the indexed axes, in row-major order
    values : of the target's data type
    ordered : whether several places may be the same
    """
    word, parts = _word(target)
    others = [axis for axis in range(len(target.shape)) if axis not in indexed]
    along, across = _axes(target, indexed, word), _axes(target, others, word)
    device, count = target.place, size_of(places.shape)
    rest = size_of([target.shape[axis] for axis in others])
    if not count * rest:
        return
    claims = None
    if ordered and count > 1 and values.step:
        claims = _claimed(device, places, count, size_of([target.shape[axis] for axis in indexed]))
    checks = [c.words for c in places.checks if c.words is not None]
    asked = None if claims is None else claims.dtype
    kernel = _scattering(
        word, parts, places.dtype, len(along), len(across), asked, len(checks), not values.step
    )
    pointers = [target.address, places.address, values.memory.address, *(w.address for w in checks)]
    if claims is not None:
        pointers.append(claims.address)
    integers = (count * rest, rest, values.step, values.inner, *(size_of(w.shape) for w in checks))
    blocks = -(-count * rest // THREADS)
    kernel.launch(device, blocks, THREADS, (*pointers, *integers, *_flat(along), *_flat(across)))


def _claimed(device: Device, places: DeviceBuffer, count: int, length: int) -> DeviceBuffer:
    """Memory that says which elements are the last ones for their place: by uint8 for each element, or by
    the number behind the last one's for each place.
    """
    blocks = -(-count // THREADS)
    if count <= MOST_COMPARED:
        last = device.allocate((count,), np.dtype(np.uint8))
        _comparing(places.dtype).launch(device, blocks, THREADS, (last.address, places.address, count))
        return last
    owner = device.allocate((length,), np.dtype(np.int32 if count < 2**31 - 1 else np.int64))
    arguments = (owner.address, places.address, count)
    if length <= FEW_PLACES * count:
        device.driver.use(device.number)
        device.driver.clear(device.number, owner.address, owner.nbytes)
    else:
        _clearing(places.dtype, owner.dtype).launch(device, blocks, THREADS, arguments)
    _claiming(places.dtype, owner.dtype).launch(device, blocks, THREADS, arguments)
    return owner


# -- layouts -------------------------------------------------------------------------------------------------


def _word(buffer: DeviceBuffer) -> tuple[np.dtype, int]:
    """As what elements are copied, whatever their bits mean, and how many words each is."""
    parts = 2 if buffer.dtype in dtypes.COMPLEX_FLOATING else 1
    return np.dtype(f"u{buffer.dtype.itemsize // parts}"), parts


def _axes(buffer: DeviceBuffer, which: Sequence[int], word: np.dtype) -> list[Axis]:
    """These axes in words, with neighbours that lie in one row made one."""
    axes: list[Axis] = []
    for axis in which:
        size, stride = buffer.shape[axis], buffer.strides[axis]
        if size == 1:
            continue
        step = stride // word.itemsize
        if axes and axes[-1][1] == size * step:
            axes[-1] = (axes[-1][0] * size, step)
        else:
            axes.append((size, step))
    return axes


def _flat(axes: Sequence[Axis]) -> list[int]:
    return [number for axis in axes for number in axis]


def _names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}_{what}{k}" for k in range(count) for what in ("size", "step")]


def _lines(prefix: str, number: str, count: int) -> list[str]:
    """Statements that add to `at` where a row-major number leads along axes."""
    if not count:
        return []
    if count == 1:
        return [f"at = at + {number} * {prefix}_step0"]
    lines = [f"left_{prefix} = {number}"]
    for k in reversed(range(1, count)):
        lines += [
            f"outer_{prefix} = quotient(left_{prefix}, {prefix}_size{k})",
            f"at = at + (left_{prefix} - outer_{prefix} * {prefix}_size{k}) * {prefix}_step{k}",
            f"left_{prefix} = outer_{prefix}",
        ]
    return [*lines, f"at = at + left_{prefix} * {prefix}_step0"]


# -- texts ---------------------------------------------------------------------------------------------------


def _text(lines: Sequence[str], depth: int) -> str:
    return "".join(f"{'    ' * depth}{line}\n" for line in lines)


_EACH = f"""\
    each = block_x() * {THREADS} + thread_x()
    if each < length:
"""


@functools.cache
def _filling(word: np.dtype, parts: int, axes: int) -> TextKernel:
    stores = [f"out0[at + {n}] = in0[{n}]" for n in range(parts)]
    body = _EACH + _text(["if mask[each] != 0:"], 2)
    body += _text(["at = 0", *_lines("along", "each", axes), *stores], 3)
    pointers = [("out0", word), ("mask", np.dtype(np.uint8)), ("in0", word)]
    return TextKernel.made(body, pointers, ["length", *_names("along", axes)])


@functools.cache
def _scattering(
    word: np.dtype,
    parts: int,
    places: np.dtype,
    along: int,
    across: int,
    claims: np.dtype | None,
    checks: int,
    same: bool,
) -> TextKernel:
    head = ["number = quotient(each, rest)", "inside = each - number * rest"]
    if not across:
        head = ["number = each", "inside = 0"]
    head += ["place = int64(places[number])", "outside = 0"]
    for k in range(checks):
        head += [f"for check in range(checks{k}):", f"    outside = outside | words{k}[check]"]
    stores = ["at = 0", *_lines("along", "place", along), *_lines("across", "inside", across)]
    stores.append(f"source = (number * step + inside * inner) * {parts}")
    # Where a place gets the same whoever writes, several threads may.
    out = "same" if same else "out0"
    stores += [f"{out}[at + {n}] = in0[source + {n}]" for n in range(parts)]
    is_last = "claims[number] != 0" if claims == np.uint8 else "int64(claims[place]) == number + 1"
    condition = "outside == 0" if claims is None else f"outside == 0 and {is_last}"
    body = _EACH + _text([*head, f"if {condition}:"], 2) + _text(stores, 3)
    pointers = [(out, word), ("places", places), ("in0", word)]
    pointers += [(f"words{k}", dtypes.INDEX) for k in range(checks)]
    if claims is not None:
        pointers.append(("claims", claims))
    integers = ["length", "rest", "step", "inner", *(f"checks{k}" for k in range(checks))]
    return TextKernel.made(body, pointers, [*integers, *_names("along", along), *_names("across", across)])


@functools.cache
def _clearing(places: np.dtype, owner: np.dtype) -> TextKernel:
    body = _EACH + _text([f"owner[int64(places[each])] = {owner}(0)"], 2)
    return TextKernel.made(body, [("owner", owner), ("places", places)], ["length"])


@functools.cache
def _claiming(places: np.dtype, owner: np.dtype) -> TextKernel:
    body = _EACH + _text([f"atomic_maximum(owner, int64(places[each]), {owner}(each + 1))"], 2)
    return TextKernel.made(body, [("owner", owner), ("places", places)], ["length"])


@functools.cache
def _comparing(places: np.dtype) -> TextKernel:
    lines = ["place = places[each]", "is_last = 1", "for later in range(each + 1, length):"]
    lines += ["    is_last = is_last & int64(places[later] != place)", "last[each] = uint8(is_last)"]
    pointers = [("last", np.dtype(np.uint8)), ("places", places)]
    return TextKernel.made(_EACH + _text(lines, 2), pointers, ["length"])
