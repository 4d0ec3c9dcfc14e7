"""Elements put where a mask or arrays of indices lead in a GPU's memory, in place. Called by writing.py.

One kernel looks at the indices, and another writes. Where an index is out of bounds nothing is written, and
readers are told. Of several elements for one place the last is written, as NumPy has it, whatever order
threads run in; where no place comes twice, which the first kernel finds, that costs little.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from toonygrad import dtypes
from toonygrad.config import counters
from toonygrad.runtime.cuda_texts import TextKernel
from toonygrad.runtime.device import Checks, DeviceBuffer, Layout, layout_of
from toonygrad.runtime.driver import Call
from toonygrad.uop.shape import size_of

THREADS = 256
# Elements that a thread has on their way at once; and how long rows are that it has so many of.
AHEAD, LONG = 4, 128
# Up to so many indices are compared with one another, which takes microseconds, and more where there are so
# many places that a number for each would be much memory. Of yet more a bit says whether any comes twice.
# With how many others a thread compares one.
MOST_COMPARED, MANY_PLACES, MOST_COMPARED_OF_MANY, COMPARED = 1 << 12, 1 << 26, 1 << 15, 64
# Blocks of the kernels that most of the time have nothing to do.
IDLE_BLOCKS = 1024

_BYTE, _WORD = np.dtype(np.uint8), np.dtype(np.int32)

# An axis: how many elements, and how far apart they lie.
Axis = tuple[int, int]
# What a program gives a kernel: which of its values, and what is added to it.
_Argument = tuple[int, int]


class Values(NamedTuple):
    """What is written: one element for each number of a place and each element of a row.

    Attributes
    ----------
    memory : of the first one, None where there is one for all
    bits : of that, one or two words
    step : elements from one number to the next; 0 where all have the same
    inner : elements from one of a row to the next, 0 or 1
    """

    memory: DeviceBuffer | None
    bits: tuple[int, ...] = ()
    step: int = 0
    inner: int = 0

    @staticmethod
    def single(value: np.ndarray) -> Values:
        """One element for all, on the host."""
        content, width = value.tobytes(), _word(value.dtype)[0].itemsize
        words = (content[start : start + width] for start in range(0, len(content), width))
        return Values(None, tuple(int.from_bytes(word, sys.byteorder, signed=True) for word in words))


def fill(target: DeviceBuffer, mask: DeviceBuffer, value: Values) -> None:
    """Put one value where a row-major mask of the target's shape holds."""
    word, parts = _word(target.dtype)
    axes = _axes(target, range(len(target.shape)))
    length = size_of(target.shape)
    if length:
        kernel = _filling(word, parts, len(axes), value.memory is None)
        given = value.bits if value.memory is None else (value.memory.address,)
        arguments = [target.address, mask.address, *given, length, *_flat(axes)]
        kernel.launch(target.place, (-(-length // (THREADS * AHEAD)), 1), (THREADS, 1), arguments)


def scatter_truths(target: DeviceBuffer, places: DeviceBuffer, values: DeviceBuffer) -> None:
    """Put elements to places in row-major order, int64, of which no two are the same."""
    word, parts = _word(target.dtype)
    axes = _axes(target, range(len(target.shape)))
    (count,) = places.shape
    if count:
        kernel = _to_places(word, parts, len(axes))
        arguments = [target.address, places.address, values.address, count, *_flat(axes)]
        kernel.launch(target.place, (-(-count // THREADS), 1), (THREADS, 1), arguments)


def scatter(
    call: str,
    target: DeviceBuffer,
    indexed: Sequence[int],
    names: Sequence[int],
    indices: Sequence[DeviceBuffer],
    values: Values,
    distinct: bool,
    earlier: Sequence[Checks],
) -> tuple[Checks, ...]:
    """Put elements where indices say; the checks tell whether all were in bounds, also of writes before.

    Parameters
    ----------
    call, names : what errors call it, and the axes
    target : the memory written to
    indexed : axes of it that the indices lead along; the rest is a row, written whole for each place
    indices : for each of these a contiguous array of integers, all of one length
    values : of the target's data type
    distinct : whether no place comes twice
    earlier : checks of the memory so far; where the last ones are alike, they go into the new ones

    Raises
    ------
    IndexError
        Of several indices that led to the values, one was out of bounds.
    """
    layout = target.layout
    device = layout.place
    checks = [(call, axis, layout.shape[along]) for axis, along in zip(names, indexed, strict=True)]
    before = earlier[-1].unread(checks) if earlier else None
    if before is not None and before.place is not device:
        before = None
    found = _doubtful(values.memory, earlier)
    others, led = ((), None) if found is None else (found[:1], found[1])
    (count,) = indices[0].shape
    form = None if values.memory is None else (values.step, values.inner)
    ordering = None
    if not distinct and values.step != 0 and count > 1:
        places = size_of([size for _, _, size in checks])
        ordering = "last" if count <= _most_compared(places) else "bits"
    kinds = tuple(index.dtype for index in indices)
    doubts = 0 if led is None else size_of(led.shape)
    key = (layout, tuple(indexed), kinds, count, form, ordering, before is not None, doubts)
    scattering = _kept.get(key)
    if scattering is None:
        scattering = _Scattering(*key)
        if len(_kept) >= _MOST_KEPT:
            _kept.pop(next(iter(list(_kept))), None)
        _kept[key] = scattering
    # All memory is taken before anything is written.
    temporary = [device.take(each) for each in scattering.temporary]
    words = temporary[0]
    given = [buffer.address for buffer in (target, *temporary, *indices)]
    given += values.bits if values.memory is None else [values.memory.address]
    given += [words.address for words in (before, led) if words is not None]
    device.run(scattering.program, *given)
    counters.kernels_launched += scattering.launches
    made = Checks(words.view(0, (len(indices),), (8,)), checks)
    return (*(earlier if before is None else earlier[:-1]), *others, made)


def _doubtful(values: DeviceBuffer | None, earlier: Sequence[Checks]) -> tuple[Checks, DeviceBuffer] | None:
    """What kernels are to look at of indices that led to the values, and write only if all was well.

    Raises
    ------
    IndexError
        Where those are of several kernels, somebody looks now, and one was out of bounds.
    """
    if values is None or not values.checks:
        return None
    doubtful = [checks for checks in values.checks if not checks.passed and checks not in earlier]
    if len(doubtful) == 1 and (words := doubtful[0].words) is not None and words.place is values.place:
        return doubtful[0], words
    if doubtful:
        values.raise_if_outside()
    return None


def _most_compared(places: int) -> int:
    return MOST_COMPARED if places <= MANY_PLACES else MOST_COMPARED_OF_MANY


class _Scattering:
    """A write to one layout as a program.

    It is given the addresses of the target, of temporary memory and of the indices; then that of the values,
    or one value's bits; and those of what was noted of indices before, and of those that led to the values.

    Parameters
    ----------
    layout, indexed : of the target
    kinds, count : of the indices
    form : step and inner of values that are in memory
    ordering : whether an element is the last for its place: "last" where all indices are compared, "bits"
        where it is asked once it's known that a place comes twice; None where it doesn't matter
    chained : whether something was noted before
    doubts : how many numbers say whether indices that led to the values were out of bounds

    Attributes
    ----------
    temporary : layouts of memory it needs; the first begins with a word for each axis that indices lead
        along, not zero where one was outside
    program, launches : which kernels are launched, and how many
    """

    def __init__(
        self,
        layout: Layout,
        indexed: tuple[int, ...],
        kinds: tuple[np.dtype, ...],
        count: int,
        form: tuple[int, int] | None,
        ordering: str | None,
        chained: bool,
        doubts: int,
    ) -> None:
        self._device = device = layout.place
        self._form, self._kinds, self._count = form, kinds, count
        self._word = word, parts = _word(layout.dtype)
        sizes = [layout.shape[axis] for axis in indexed]
        others = [axis for axis in range(len(layout.shape)) if axis not in indexed]
        self._rest, self._across = size_of([layout.shape[axis] for axis in others]), _axes(layout, others)
        self._steps = [layout.strides[axis] // word.itemsize for axis in indexed]
        length = size_of(sizes)
        # Whether an index was outside along each axis; whether a place came twice, or for each number.
        words = [(len(kinds) + (-(-count // 8) if ordering == "last" else 1), dtypes.INDEX)]
        if ordering == "bits":
            words.append((-(-length // 1024) * 32, _WORD))
            words.append((length, _WORD if count < 2**31 - 1 else dtypes.INDEX))
        self.temporary = [layout_of(device, dtype, (size,)) for size, dtype in words]
        self._calls: list[Call] = []
        target, noted, *more = range(1, len(words) + 2)
        self._indices = [len(words) + 2 + k for k in range(len(kinds))]
        first = len(words) + len(kinds) + 2
        self._values = [first + k for k in range(parts if form is None else 1)]
        last = first + len(self._values)
        self._target, self._noted = target, noted
        self._found: list[_Argument] = [(0, count), *((0, size) for size in sizes)]
        for number, each in zip((noted, *more[:1]), self.temporary, strict=False):
            self._calls.append(Call(None, (each.nbytes, 1, 1), (1, 1, 1), ((number, 0),)))
        again = (noted, 8 * len(kinds))
        asked = {"last": [again], "bits": [(more[0], 0)] if more else []}.get(ordering or "", [])
        blocks = -(-count // THREADS)
        noted_before = [(last + k, 0) for k in range(chained + (doubts > 0))]
        self._add(
            _looking(kinds, ordering, chained, doubts > 0),
            (blocks, -(-count // COMPARED) if ordering == "last" else 1),
            (THREADS, 1),
            [*asked, *self._pointers(), *noted_before, *self._found, *([(0, doubts)] if doubts else [])],
        )
        if self._rest and ordering != "bits":
            self._write(ordering or "all", asked)
        elif self._rest:
            owner = self.temporary[2].dtype
            self._write("single", [])
            few = min(blocks, IDLE_BLOCKS)
            for claim in (False, True):
                kernel = _claiming(kinds, owner, claim)
                arguments = [(more[1], 0), *self._pointers(), (0, few * THREADS), *self._found]
                self._add(kernel, (few, 1), (THREADS, 1), arguments)
            self._write(owner.name, [(more[1], 0)])
        self.launches = sum(1 for call in self._calls if call.kernel is not None)
        given = last - 1 + len(noted_before)
        self.program = device.asked(device.driver.program, device.number, given, self._calls, {})

    def _pointers(self) -> list[_Argument]:
        """What all kernels are given of the indices."""
        return [(number, 0) for number in (self._noted, *self._indices)]

    def _add(
        self,
        kernel: TextKernel,
        grid: tuple[int, int],
        block: tuple[int, int],
        arguments: Sequence[_Argument],
    ) -> None:
        code = self._device.kernel(kernel.text, kernel.name, kernel.parameters)
        self._calls.append(Call(code, (*grid, 1), (*block, 1), tuple(arguments)))

    def _write(self, whose: str, asked: Sequence[_Argument]) -> None:
        """Write all elements or some.

        Parameters
        ----------
        whose : "all"; "single", if no place has come twice; else a question to the memory `asked`: "last",
            whether an element is the last one for its place, or "int32" and "int64", by whom the place is
            owned, if one has come twice
        """
        rest, form = self._rest, self._form
        ahead = AHEAD if rest >= LONG else 1
        width = 1
        while width < min(THREADS, -(-rest // ahead)):
            width *= 2
        high = THREADS // width
        blocks = -(-self._count // high)
        if whose.startswith("int"):
            blocks = min(blocks, IDLE_BLOCKS)
        same = form is None or form[0] == 0
        kernel = _writing(*self._word, self._kinds, len(self._across), ahead, whose, form is None, same)
        values: list[_Argument] = [(number, 0) for number in self._values]
        arguments = [(self._target, 0), *asked, *(values if form is not None else []), *self._pointers()]
        arguments += [*self._found, *((0, n) for n in (*self._steps, rest, blocks * high))]
        arguments += values if form is None else [(0, n) for n in form]
        arguments += [(0, n) for n in _flat(self._across)]
        self._add(kernel, (blocks, 1), (width, high), arguments)


_MOST_KEPT = 256
_kept: dict[tuple[Any, ...], _Scattering] = {}


# -- layouts -------------------------------------------------------------------------------------------------


def _word(dtype: np.dtype) -> tuple[np.dtype, int]:
    """As what elements are copied, whatever their bits mean, and how many words each is."""
    parts = 2 if dtype in dtypes.COMPLEX_FLOATING else 1
    return np.dtype(f"u{dtype.itemsize // parts}"), parts


def _axes(buffer: DeviceBuffer | Layout, which: Sequence[int]) -> list[Axis]:
    """These axes in words, with neighbours that lie in one row made one."""
    axes: list[Axis] = []
    width = _word(buffer.dtype)[0].itemsize
    for axis in which:
        size, step = buffer.shape[axis], buffer.strides[axis] // width
        if size == 1:
            continue
        if axes and axes[-1][1] == size * step:
            axes[-1] = (axes[-1][0] * size, step)
        else:
            axes.append((size, step))
    return axes


def _flat(axes: Sequence[Axis]) -> list[int]:
    return [number for axis in axes for number in axis]


def _names(count: int) -> list[str]:
    return [f"{what}{k}" for k in range(count) for what in ("extent", "stride")]


def _steps(number: str, count: int) -> list[str]:
    """Statements that add to `at` where a row-major number leads along axes."""
    if count < 2:
        return [f"at = at + {number} * stride0"] * count
    lines = [f"left = {number}"]
    for k in reversed(range(1, count)):
        lines += [f"outer = quotient(left, extent{k})", f"at = at + (left - outer * extent{k}) * stride{k}"]
        lines.append("left = outer")
    return [*lines, "at = at + left * stride0"]


# -- texts ---------------------------------------------------------------------------------------------------


def _text(lines: Sequence[str], depth: int) -> str:
    return "".join(f"{'    ' * depth}{line}\n" for line in lines)


_EACH = f"""\
    number = block_x() * {THREADS} + thread_x()
    if number < length:
"""
# For what has fewer threads than elements.
_IN_TURN = f"""\
        for turn in range(quotient(length + threads - 1, threads)):
            number = turn * threads + block_x() * {THREADS} + thread_x()
            if number < length:
"""


@functools.cache
def _filling(word: np.dtype, parts: int, axes: int, given: bool) -> TextKernel:
    stores = [f"out0[at + {n}] = " + (f"{word}(value{n})" if given else f"in0[{n}]") for n in range(parts)]
    first = f"block_x() * {THREADS * AHEAD} + thread_x()"
    each = [f"for m in range({AHEAD}):", "    unrolled()", f"    number = {first} + m * {THREADS}"]
    lines = [f"truths = uint8_scratch({AHEAD})", *each]
    lines += ["    truths[m] = mask[minimum(number, length - 1)]", *each]
    lines += ["    if number < length and truths[m] != 0:", "        at = 0"]
    lines += [f"        {line}" for line in (*_steps("number", axes), *stores)]
    pointers = [("out0", word), ("mask", _BYTE), *([] if given else [("in0", word)])]
    integers = [f"value{n}" for n in range(parts)] if given else []
    return TextKernel.made(_text(lines, 1), pointers, [*integers, "length", *_names(axes)])


@functools.cache
def _to_places(word: np.dtype, parts: int, axes: int) -> TextKernel:
    lines = ["place = places[number]", "at = 0", *_steps("place", axes)]
    lines += [f"out0[at + {n}] = in0[number * {parts} + {n}]" for n in range(parts)]
    pointers = [("out0", word), ("places", dtypes.INDEX), ("in0", word)]
    return TextKernel.made(_EACH + _text(lines, 2), pointers, ["length", *_names(axes)])


def _index_pointers(kinds: Sequence[np.dtype]) -> list[tuple[str, np.dtype]]:
    return [(f"index{k}", kind) for k, kind in enumerate(kinds)]


def _read(kinds: Sequence[np.dtype], number: str, prefix: str) -> list[str]:
    """Statements that read the indices of a number, from the end where they are negative."""
    lines = []
    for k, kind in enumerate(kinds):
        raw = f"index{k}[{number}]"
        if kind == np.uint64:  # what int64 can't hold would wrap to an index that may exist
            raw = f"minimum({raw}, uint64({2**63 - 1}))"
        lines.append(f"{prefix}{k} = int64({raw})")
        if kind.kind == "i":
            lines.append(f"{prefix}{k} = where({prefix}{k} < 0, {prefix}{k} + size{k}, {prefix}{k})")
    return lines


def _place(count: int, prefix: str) -> str:
    """The number of a place along the indexed axes."""
    place = f"{prefix}0"
    for k in range(1, count):
        place = f"({place}) * size{k} + {prefix}{k}"
    return place


def _inside(count: int, prefix: str) -> str:
    return " and ".join(f"0 <= {prefix}{k} and {prefix}{k} < size{k}" for k in range(count))


@functools.cache
def _looking(kinds: tuple[np.dtype, ...], ordering: str | None, chained: bool, doubtful: bool) -> TextKernel:
    count = len(kinds)
    lines = _read(kinds, "number", "i")
    if chained:
        for k in range(count):
            lines += [f"if number == 0 and before[{k}] != 0:", f"    status[{k}] = 1"]
    if doubtful:
        lines += ["if number == 0:", "    for m in range(doubts):", "        if led[m] != 0:"]
        lines.append("            status[0] = 1")
    for k in range(count):
        lines += [f"if i{k} < 0 or i{k} >= size{k}:", f"    status[{k}] = 1"]
    pointers = [("status", dtypes.INDEX), *_index_pointers(kinds)]
    pointers += [("before", dtypes.INDEX)] if chained else []
    pointers += [("led", dtypes.INDEX)] if doubtful else []
    if ordering == "last":
        pointers.insert(0, ("again", _BYTE))
        lines += [f"place = {_place(count, 'i')}", "comes = 0", f"first = block_y() * {COMPARED}"]
        lines.append(f"for later in range(maximum(number + 1, first), minimum(length, first + {COMPARED})):")
        lines += [f"    {line}" for line in _read(kinds, "later", "j")]
        lines += [f"    comes = comes | int64({_place(count, 'j')} == place)", "if comes != 0:"]
        lines.append("    again[number] = uint8(1)")
    if ordering == "bits":
        pointers.insert(0, ("bits", _WORD))
        lines += [f"if {_inside(count, 'i')}:", f"    place = {_place(count, 'i')}"]
        # Neighbours have their bits in different words: threads of a warp would wait for one another.
        lines.append("    bit = shift_left(int32(1), int32(shift_right(place, int64(5)) & 31))")
        lines.append("    word = shift_right(place, int64(10)) * 32 + (place & 31)")
        lines.append("    others = atomic_or(bits, word, bit)")
        lines += ["    if others & bit != 0:", f"        status[{count}] = 1"]
    integers = ["length", *(f"size{k}" for k in range(count)), *(["doubts"] if doubtful else [])]
    return TextKernel.made(_EACH + _text(lines, 2), pointers, integers)


@functools.cache
def _claiming(kinds: tuple[np.dtype, ...], owner: np.dtype, claim: bool) -> TextKernel:
    """Each place that is led to is owned by nobody, or by the last number that leads there."""
    count = len(kinds)
    nobody = f"owner[place] = {owner}(0)"
    lines = [*_read(kinds, "number", "i"), f"place = {_place(count, 'i')}"]
    lines.append(f"atomic_maximum(owner, place, {owner}(number + 1))" if claim else nobody)
    none = " and ".join(f"status[{k}] == 0" for k in range(count))
    body = _text([f"if {none} and status[{count}] != 0:"], 1)
    body += _IN_TURN + _text(lines, 4)
    pointers = [("owner", owner), ("status", dtypes.INDEX), *_index_pointers(kinds)]
    return TextKernel.made(body, pointers, ["threads", "length", *(f"size{k}" for k in range(count))])


@functools.cache
def _writing(
    word: np.dtype,
    parts: int,
    kinds: tuple[np.dtype, ...],
    across: int,
    ahead: int,
    whose: str,
    given: bool,
    same: bool,
) -> TextKernel:
    """Threads along x share a row, and rows lie along y."""
    count = len(kinds)
    condition = " and ".join(f"status[{k}] == 0" for k in range(count))
    condition += f" and status[{count}] == 0" * (whose == "single")
    owned = whose.startswith("int")
    condition += f" and status[{count}] != 0" * owned
    body = _text([f"if {condition}:"], 1)
    first = "block_x() * threads_y() + thread_y()"
    if owned:
        body += _text(["for turn in range(quotient(length + rows - 1, rows)):"], 2)
        body += _text([f"    number = turn * rows + {first}", "    if number < length:"], 2)
    else:
        body += _text(["for turn in range(1):", f"    number = {first}", "    if number < length:"], 2)
    lines = _read(kinds, "number", "i")
    asked = {"last": "again[number] == 0"}.get(whose)
    if owned:
        lines.append(f"place = {_place(count, 'i')}")
        asked = "int64(owner[place]) == number + 1"
    lines.append("start = " + " + ".join(f"i{k} * step{k}" for k in range(count)))
    if asked is not None:
        lines += [f"if {asked}:"]
    depth = 5 if asked is not None else 4
    body += _text(lines, 4)
    # Where a place gets the same whoever writes, several threads may.
    out = "same" if same else "out0"
    loop = [f"for many in range(quotient(row + {ahead} * threads_x() - 1, {ahead} * threads_x())):"]
    held, place = f"held[m * {parts} + {{n}}]", f"(many * {ahead} + m) * threads_x() + thread_x()"
    each = [f"    for m in range({ahead}):", "        unrolled()", f"        inside = {place}"]
    each.append("        if inside < row:")
    if not given:
        body = _text([f"held = {word}_scratch({ahead * parts})"], 1) + body
        source = f"in0[(number * step + inside * inner) * {parts} + {{n}}]"
        loop += [*each, *(f"{' ' * 12}{held} = {source}".format(n=n) for n in range(parts))]
    loop += [*each, f"{' ' * 12}at = start", *(f"{' ' * 12}{line}" for line in _steps("inside", across))]
    value = f"{word}(value{{n}})" if given else held
    loop += [f"{' ' * 12}{out}[at + {{n}}] = {value}".format(n=n) for n in range(parts)]
    body += _text(loop, depth)
    pointers = [(out, word)]
    if asked is not None:
        pointers.append(("owner", np.dtype(whose)) if owned else ("again", _BYTE))
    pointers += [] if given else [("in0", word)]
    pointers += [("status", dtypes.INDEX), *_index_pointers(kinds)]
    integers = ["length", *(f"size{k}" for k in range(count)), *(f"step{k}" for k in range(count))]
    integers += ["row", "rows"]
    integers += [f"value{n}" for n in range(parts)] if given else ["step", "inner"]
    return TextKernel.made(body, pointers, [*integers, *_names(across)])
