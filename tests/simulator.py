"""Runs CUDA kernels in plain Python: what one thread does, for every thread, with real barriers and shuffles.

Each thread is a generator: at a barrier or a shuffle it waits until all threads it shares that with stand at
the same line. It is an error, `Diverged`, where some went another way; an index out of bounds, `IndexError`;
and a `Race`, where two threads touch one element between barriers and one of them writes.
"""

import ast
import ctypes
import functools
import itertools
import linecache
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from toonygrad.codegen import cpu
from toonygrad.codegen.cpu import Parameter
from toonygrad.codegen.cuda import VECTOR_BYTES, WARP, device_namespace

PLACES = ("thread_x", "thread_y", "block_x", "block_y", "block_z", "threads_x", "threads_y", "blocks_y")
# Pointers to memory that several threads may write.
SHARED = ("status", "owner", "same", "again")
WAITING = ("barrier", "shuffle_xor", "shuffle_up", "shuffle_from")


class Diverged(AssertionError):
    """Threads of a warp or of a block wait at different places, or for threads that have ended."""


class Race(AssertionError):
    """Two threads touch one element, one of them writing, with no barrier between."""


class Memory:
    """An array as a pointer: elements from `offset` on, bounds checked, each written by one thread alone.

    Parameters
    ----------
    array : numpy.ndarray
        Flat memory.
    offset : int
        Where the pointer points.
    shared_writes : bool
        Whether threads may write the same element: the status array is such, the one where elements claim
        their places, and what all of them write alike.
    """

    def __init__(self, array: np.ndarray, offset: int = 0, shared_writes: bool = False) -> None:
        self.array, self.offset, self.shared_writes = array, offset, shared_writes
        self.size = array.size
        self.writers: dict[int, int] = {}
        self.readers: dict[int, int] = {}

    def place(self, index: Any) -> int:
        place = self.offset + int(index)
        if not 0 <= place < self.size:
            raise IndexError(f"element {place} of {self.size}")
        return place

    def __getitem__(self, index: Any) -> Any:
        place = self.offset + int(index)
        if not 0 <= place < self.size:
            raise IndexError(f"element {place} of {self.size}")
        if not self.shared_writes:
            thread = running.thread
            if self.writers and self.writers.get(place, thread) != thread:
                raise Race(f"element {place} is read and was written by another thread")
            if self.readers.setdefault(place, thread) != thread:
                self.readers[place] = -1
        return self.array[place]

    def __setitem__(self, index: Any, value: Any) -> None:
        place = self.place(index)
        if not self.shared_writes:
            thread = running.thread
            if self.writers.setdefault(place, thread) != thread:
                raise Race(f"element {place} is written by two threads")
            if self.readers and self.readers.get(place, thread) != thread:
                raise Race(f"element {place} is written and was read by another thread")
        if isinstance(value, np.generic) and value.dtype != self.array.dtype:
            raise TypeError(f"{value.dtype} is stored where {self.array.dtype} is held")
        self.array[place] = value

    def barrier(self) -> None:
        self.writers.clear()
        self.readers.clear()


class Running:
    """Which thread runs now."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.thread = 0
        self.allocated = 0
        self.shared: list[Memory] = []


running = Running()


class _Waits(ast.NodeTransformer):
    """Calls for which a thread waits become yields of the call's word, operands and line."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in WAITING:
            what = [ast.Constant(node.func.id), ast.Constant(node.lineno), *node.args]
            return ast.copy_location(ast.Yield(ast.Tuple(what, ast.Load())), node)
        return node


def _scratch(element: str, length: int) -> Memory:
    return Memory(_noise(element, length).copy())


@functools.cache
def _noise(element: str, length: int) -> np.ndarray:
    return np.frombuffer(np.random.default_rng(0).bytes(length * np.dtype(element).itemsize), element)


def _c_function(name: str, kind: Any) -> Any:
    function = getattr(ctypes.CDLL("ucrtbase" if os.name == "nt" else None), name)
    function.argtypes, function.restype = (kind, kind, kind), kind
    return function


_FMA = {
    np.float32: _c_function("fmaf", ctypes.c_float),
    np.float64: _c_function("fma", ctypes.c_double),
}


def fma(a: Any, b: Any, c: Any) -> Any:
    """The CPU's word by C's function, which is a hundred times as fast as fractions."""
    kind = type(a)
    if kind not in _FMA or type(b) is not kind or type(c) is not kind:
        return cpu.fma(a, b, c)
    return kind(_FMA[kind](a, b, c))


def _shared(element: str, length: int) -> Memory:
    number = running.allocated
    running.allocated += 1
    if number == len(running.shared):
        running.shared.append(_scratch(element, length))
    return running.shared[number]


def _atomic(function: Callable[[Any, Any], Any], target: Memory, place: Any, value: Any) -> Any:
    where = target.place(place)
    assert value.dtype == target.array.dtype
    before = target.array[where]
    target.array[where] = function(before, value)
    return before


def _copy_vector(target: Memory, place: Any, source: Memory, start: Any, length: int = 0) -> None:
    length = length or VECTOR_BYTES // target.array.itemsize
    for array, first in ((target, place), (source, start)):
        if array.place(first) % length:
            raise ValueError(f"element {first} of a vector's memory is not aligned to {length}")
    for k in range(length):
        target[place + k] = source[start + k]


class Unpublished(AssertionError):
    """A block awaits what none of those before it has published."""


def _publish(words: Memory, place: Any, value: Any) -> None:
    halves = np.array([value]).view(np.uint32) if value.itemsize == 8 else [_bits(value)]
    for k, half in enumerate(halves):
        where = words.place(place * len(halves) + k)
        assert not words.array[where], f"element {place} is published twice"
        words.array[where] = 1 << 32 | int(half)


def _bits(value: Any) -> int:
    return int(value.view(f"u{value.itemsize}"))


def _awaited(element: str, words: Memory, place: Any) -> Any:
    dtype = np.dtype(element)
    count = max(1, dtype.itemsize // 4)
    found = words.array[words.place(place * count) : words.place(place * count + count - 1) + 1]
    if not all(found >> np.uint64(32)):
        raise Unpublished(f"element {place}")
    return found.astype(np.uint32).view(f"u{min(4, dtype.itemsize)}")[: dtype.itemsize].view(dtype)[0]


def _namespace() -> dict[str, Any]:
    names = device_namespace()
    for name in PLACES:
        names[name] = lambda name=name: running.places[name]
    for name in list(names):
        if name.startswith("awaited_"):
            names[name] = functools.partial(_awaited, name.removeprefix("awaited_"))
        element, _, kind = name.rpartition("_")
        if kind == "scratch":
            names[name] = functools.partial(_scratch, element)
        elif kind == "shared":
            names[name] = functools.partial(_shared, element)
    names["fma"] = fma
    names["load_vector"] = names["store_vector"] = _copy_vector
    names["atomic_maximum"] = functools.partial(_atomic, max)
    names["atomic_or"] = functools.partial(_atomic, operator.or_)
    names["publish"] = _publish
    names["resident"] = lambda blocks: None
    names["unrolled"] = lambda: None
    return names


@functools.cache
def _compiled(text: str, name: str) -> tuple[Any, bool]:
    file = f"<{name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    tree = ast.fix_missing_locations(_Waits().visit(ast.parse(text)))
    names = _namespace()
    exec(compile(tree, file, "exec"), names)
    waits = any(isinstance(node, ast.Yield) for node in ast.walk(tree))
    return names[name], waits


def simulate(
    text: str,
    name: str,
    parameters: Sequence[Parameter],
    grid: Sequence[int],
    block: Sequence[int],
    arguments: Sequence[Any],
) -> None:
    """Run a kernel.

    Parameters
    ----------
    text, name, parameters, grid, block
        As CudaSource has them.
    arguments : sequence
        In the order of parameters: for each pointer a Memory or a flat array (booleans as uint8), numbers.
    """
    given: list[Any] = []
    for parameter, value in zip(parameters, arguments, strict=True):
        if parameter.kind == "pointer":
            memory = value if isinstance(value, Memory) else Memory(value)
            dtype = np.dtype(np.uint8) if parameter.dtype == np.bool_ else parameter.dtype
            assert memory.array.dtype == dtype, (parameter, memory.array.dtype)
            memory.shared_writes = memory.shared_writes or parameter.name in SHARED
            given.append(memory)
        else:
            given.append(parameter.dtype.type(value))
    assert 0 < block[0] * block[1] * block[2] <= 512 and block[2] == 1, block
    assert grid[0] < 2**31 and max(grid[1:]) <= 65535 and min(grid) > 0, grid
    kernel, waits = _compiled(text, name)
    threads = list(itertools.product(range(block[1]), range(block[0])))
    fixed = {"threads_x": np.int64(block[0]), "threads_y": np.int64(block[1]), "blocks_y": np.int64(grid[1])}
    with np.errstate(all="ignore"):
        for number, (z, y, x) in enumerate(itertools.product(*map(range, reversed(grid)))):
            places = [
                {**fixed, **dict(zip(PLACES, map(np.int64, (tx, ty, x, y, z)), strict=False))}
                for ty, tx in threads
            ]
            first = number * len(threads)
            if waits:
                _Block(kernel, given, places, first).run()
                continue
            for k, place in enumerate(places):
                running.places, running.thread, running.allocated = place, first + k, 0
                kernel(*given)


class _Block:
    """The threads of one block, each to its next wait in turn."""

    def __init__(self, kernel: Any, given: Sequence[Any], places: list[dict[str, int]], first: int) -> None:
        self.places, self.first = places, first
        self.shared: list[Memory] = []
        self.allocated = [0] * len(places)
        self.threads: list[Iterator[Any]] = [kernel(*given) for _ in places]
        self.waits: list[Any] = [None] * len(places)

    def run(self) -> None:
        lanes = [range(k, min(k + WARP, len(self.threads))) for k in range(0, len(self.threads), WARP)]
        for k in range(len(self.threads)):
            self._advance(k, None)
        while any(wait is not None for wait in self.waits):
            for warp in lanes:
                self._shuffles(warp)
            at = {wait and wait[:2] for wait in self.waits}
            if len(at) > 1:
                raise Diverged(f"threads of a block stand at {sorted(map(str, at))}")
            if at != {None}:
                for memory in self.shared:
                    memory.barrier()
                for k in range(len(self.threads)):
                    self._advance(k, None)

    def _shuffles(self, warp: Sequence[int]) -> None:
        """Run a warp until it waits for its block."""
        while True:
            at = {self.waits[k] and self.waits[k][:2] for k in warp}
            if not any(place and place[0] != "barrier" for place in at):
                return
            if len(at) > 1:
                raise Diverged(f"lanes of a warp stand at {sorted(map(str, at))}")
            ((word, _),) = at
            values = [self.waits[k][2] for k in warp]
            lanes = self.waits[warp[0]][3]
            for lane, k in enumerate(warp):
                source = lane ^ lanes if word == "shuffle_xor" else lane - lanes if lane >= lanes else lane
                source = lanes if word == "shuffle_from" else source
                if source >= len(warp):
                    raise Diverged(f"lane {source} of a warp of {len(warp)} is asked for its value")
                self._advance(k, values[source])

    def _advance(self, k: int, value: Any) -> None:
        running.places, running.thread = self.places[k], self.first + k
        running.shared, running.allocated = self.shared, self.allocated[k]
        try:
            self.waits[k] = self.threads[k].send(value)
        except StopIteration:
            self.waits[k] = None
        self.allocated[k] = running.allocated
