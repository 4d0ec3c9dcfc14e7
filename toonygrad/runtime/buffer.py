"""Memory: a Buffer is an array's bytes with their address, and the MemoryPool hands out buffers and takes
them back when they die.

Plans allocate outputs and temporaries here, and arrays made from NumPy or DLPack input are wrapped here.
Fresh pages cost more than the arithmetic on them (20 M float32: 50 ms to touch, 4 ms to write again), hence
the pool. May import config only.
"""

from __future__ import annotations

import ctypes
import gc
import math
import mmap
import os
import sys
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from operator import attrgetter
from typing import Any

import numpy as np

from toonygrad.config import counters

__all__ = ["Buffer", "MemoryPool", "SharedBuffer", "leased", "other_pools", "pool"]

# Of every block: a cache line, and the widest vector of AVX-512.
ALIGNMENT = 64

# Blocks from here on are mapped for themselves, start on a huge page and are advised to use them. First
# touch, fresh memory: 2 MiB 0.09 ms against 1.0 in small pages, 8 MiB 0.37 against 5.2, 80 MiB 13 against 41
# (Linux 6.18). Smaller ones cannot hold a huge page and come from malloc through NumPy.
HUGE_PAGE = 2 << 20

# What the pool may keep for reuse: enough for the temporaries of a large expression, little enough that a
# process which once needed much does not starve its neighbours; beyond some GiB even a first touch is a small
# part of what fills the memory.
KEPT_FRACTION = 1 / 8
KEPT_AT_MOST = 8 << 30

# Seconds of a period: what is kept and goes unused through a whole one goes back to the system. The clock is
# read once in so many bytes that come back. All this takes 40 of the 1050 ns for allocating and dropping a
# small array, 170 for a large one.
PERIOD = 5.0
BYTES_BETWEEN_LOOKS = 1 << 20

# ndarray.ctypes.data and __array_interface__ take 1.1 us here; the address is the first field of the array
# object, which is part of NumPy's binary interface (PyArray_DATA is a macro compiled into every extension).
# 0.12 us.
_DATA_FIELD = object.__basicsize__
_pointer_at = ctypes.c_void_p.from_address


class Buffer:
    """One N-dimensional array's memory.

    ``Buffer(array)`` wraps an existing array without copying. Whoever lets the array out of the engine hands
    out a view of it (``buffer.array.view()``), for `array` itself could be reshaped in place by its new
    owner.

    Attributes
    ----------
    array : numpy.ndarray
        The memory with its exact shape, strides and dtype.
    address : int
        Of the array's first element; found when first asked for.
    layout : tuple
        (dtype, shape, strides in bytes): what a plan depends on; found when first asked for.
    nbytes : int
        Bytes of its elements, not counting gaps between them.
    device : str
        Always ``"cpu"``.
    shared : bool
        Whether somebody outside the engine sees the memory, and is to see it written.
    checks : tuple
        Of indices, still to be looked at: none on the CPU.
    """

    __slots__ = ("__weakref__", "address", "array", "layout")

    array: np.ndarray[Any, np.dtype[Any]]
    address: int
    layout: tuple[np.dtype[Any], tuple[int, ...], tuple[int, ...]]
    device = "cpu"
    shared = False
    checks: tuple[Any, ...] = ()

    def __init__(self, array: np.ndarray[Any, np.dtype[Any]]) -> None:
        self.array = array

    def __getattr__(self, name: str) -> Any:
        # Called only while the slot is empty, so that every later read is one of a plain slot.
        if name == "address":
            self.address = _pointer_at(id(self.array) + _DATA_FIELD).value or 0
            return self.address
        if name == "layout":
            array = self.array
            self.layout = (array.dtype, array.shape, array.strides)
            return self.layout
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def nbytes(self) -> int:
        return self.array.nbytes

    @property
    def writeable(self) -> bool:
        """Whether the memory may be written."""
        return self.array.flags.writeable

    @property
    def is_seen(self) -> bool:
        """Whether there are other NumPy views of this memory, in the engine or outside."""
        # A view of `array` holds it, or what `array` itself is a view of.
        array = self.array
        return sys.getrefcount(array) != _UNSEEN or self._is_seen_beyond(array)

    def _is_seen_beyond(self, array: np.ndarray) -> bool:
        base = array.base
        return isinstance(base, np.ndarray) and sys.getrefcount(base) != _UNSEEN

    def __repr__(self) -> str:
        return f"Buffer(shape={self.array.shape}, dtype={self.array.dtype}, strides={self.array.strides})"


def _count_unseen() -> int:
    """References to an array that only its Buffer holds, as `is_seen` counts them."""
    buffer = Buffer(np.empty(0))
    array = buffer.array
    return sys.getrefcount(array)


_UNSEEN = _count_unseen()


class SharedBuffer(Buffer):
    """Memory that somebody outside the engine sees as well, and is to see written."""

    __slots__ = ()

    shared = True

    def move(self, other: Buffer) -> None:
        """Stand for other memory with the same elements from now on."""
        self.array = other.array
        for name in ("address", "layout"):
            with suppress(AttributeError):  # not asked for yet
                delattr(self, name)


class _PooledBuffer(Buffer):
    """A buffer of a pool's block, given back when the buffer dies: in any thread, inside any other code."""

    __slots__ = ("_block",)

    _block: _Block

    def _is_seen_beyond(self, array: np.ndarray) -> bool:
        # As when it dies, but that `array` is a view itself.
        return sys.getrefcount(self._block.memory) != self._block.idle_references + 1

    # Bound here, because at the end of the interpreter a buffer may outlive this module's globals.
    def __del__(self, references_to: Callable[[object], int] = sys.getrefcount) -> None:
        block = self._block
        # Every view made of this array holds, through its chain of bases, the block's memory. If one is left
        # (np.asarray, DLPack, memoryview), the memory is theirs from now on and is freed with the last of
        # them.
        del self.array
        if references_to(block.memory) == block.idle_references:
            block.pool._keep(block)


class _Lease:
    """What NumPy takes for an array's owner: a pool's buffer, which dies with the last view of the array."""

    __slots__ = ("__array_interface__", "_buffer")

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self.__array_interface__ = buffer.array.__array_interface__


def leased(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    """An array with undefined contents, whose memory goes back to the pool when nobody has a view of it.

    Raises
    ------
    MemoryError
        As of `MemoryPool.allocate`.
    """
    if math.prod(shape) * dtype.itemsize < HUGE_PAGE:
        return np.empty(shape, dtype)
    return np.asarray(_Lease(pool.allocate(shape, dtype)))


class _Block:
    """Memory that one buffer at a time uses.

    Attributes
    ----------
    memory : object
        What every view of the block keeps alive.
    exporter : buffer
        What NumPy makes those views of.
    idle_references : int
        The references to `memory` when there is no view.
    period : int
        Of the pool, in which it was last used.
    """

    __slots__ = ("address", "exporter", "idle_references", "memory", "offset", "period", "pool", "size")

    period: int

    def __init__(self, pool: MemoryPool, size: int) -> None:
        self.pool = pool
        self.size = size
        self.memory: np.ndarray[Any, np.dtype[Any]] | mmap.mmap
        self.exporter: memoryview | mmap.mmap
        if size >= HUGE_PAGE:
            self.memory = self.exporter = _mapping(size)
            alignment = HUGE_PAGE
        else:
            self.memory = np.empty(size + ALIGNMENT, np.uint8)
            # NumPy makes an array of a memoryview in half the time it takes for one of an array.
            self.exporter = self.memory.data
            alignment = ALIGNMENT
        start = _start_of(self.exporter)
        self.offset = -start % alignment
        self.address = start + self.offset
        self.idle_references = self._count_when_idle()

    def _count_when_idle(self) -> int:
        """The references to `memory` while there is no view, or -1 if a view would not add to them.

        Reusing memory that somebody still sees would corrupt data silently. So the count is measured for each
        block, and that a view raises it is not taken on trust.
        """
        idle = sys.getrefcount(self.memory)
        view = np.ndarray((self.size,), np.uint8, self.exporter, self.offset)
        seen = sys.getrefcount(self.memory)
        del view
        return idle if seen > idle else -1


def _start_of(memory: memoryview | mmap.mmap) -> int:
    return Buffer(np.frombuffer(memory, np.uint8)).address


def _mapping(size: int) -> mmap.mmap:
    """Private zeroed memory with room for `size` bytes from its first huge page on."""
    # Private: a forked child gets a copy. (Python's default would share the memory with it, and never use
    # huge pages.)
    mapping = mmap.mmap(-1, size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        start = _start_of(mapping)
        # Only the huge pages that are used whole: the rest of the last one would be memory for nothing.
        with suppress(OSError):  # a kernel built without huge pages
            mapping.madvise(mmap.MADV_HUGEPAGE, -start % HUGE_PAGE, size // HUGE_PAGE * HUGE_PAGE)
    return mapping


class MemoryPool:
    """Memory for outputs and temporaries, kept when its buffers die and handed out again.

    Free blocks wait in one list for each size class. Nothing is locked: a block is in a list or in one
    buffer's hand, and CPython's list pop and append are atomic, which also lets a buffer die inside any of
    the methods.

    A block that no buffer used through a whole period is freed: five to ten seconds after its last use, if
    buffers come back by then to notice it. A pause of the program is part of one period, however long, so
    what it used before the pause is there when it goes on.

    Parameters
    ----------
    limit : int, optional
        The most bytes kept for reuse; by default an eighth of the memory this process may use, and at most
        8 GiB.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = min(int(_usable_memory() * KEPT_FRACTION), KEPT_AT_MOST) if limit is None else limit
        # Updated like the counters, see config.LiveCounters. An exception between the two halves of an update
        # (Ctrl-C) may leave it off by a block; trim() puts it right.
        self.kept_bytes = 0
        # In each list by the time of their last use, since they are taken from the end and come back there.
        self._free: defaultdict[int, list[_Block]] = defaultdict(list)
        self._period = 0
        self._period_ends = time.monotonic() + PERIOD
        self._until_look = BYTES_BETWEEN_LOOKS

    def allocate(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], strides_order: Sequence[int] | None = None
    ) -> Buffer:
        """A buffer with undefined contents, aligned to 64 bytes.

        The caller just drops it when done: its memory is reused unless somebody still holds a view of it.

        Parameters
        ----------
        shape : tuple of int
        dtype : numpy.dtype
        strides_order : sequence of int, optional
            The axes from the largest stride to the smallest, without gaps between elements; by default C
            order.

        Returns
        -------
        Buffer

        Raises
        ------
        MemoryError
            If the memory cannot be had even after the pool has given up all it kept. Nothing else is changed
            then.
        """
        nbytes = math.prod(shape) * dtype.itemsize
        size = _size_class(nbytes)
        strides = None if strides_order is None else _strides(shape, dtype.itemsize, strides_order)
        try:
            block = self._free[size].pop()
        except IndexError:
            block = self._new_block(size, shape, dtype)
        else:
            self.kept_bytes -= size
        buffer = _PooledBuffer(np.ndarray(shape, dtype, block.exporter, block.offset, strides))
        buffer.address = block.address
        buffer._block = block
        counters.bytes_allocated += nbytes
        return buffer

    def trim(self) -> int:
        """Free everything kept for reuse; buffers in use are untouched.

        Returns
        -------
        int
            How many bytes were freed.
        """
        return self._free_unused_since(self._period + 1)

    def _free_unused_since(
        self,
        period: int,
        # Bound here for the same reason as in _PooledBuffer.__del__.
        first: Callable[..., int] = bisect_left,
        last_use: Callable[[_Block], int] = attrgetter("period"),
    ) -> int:
        freed = 0
        for size, blocks in list(self._free.items()):
            number = first(blocks, period, key=last_use)
            unused = blocks[:number]
            # Other threads take from the end: what one takes in this moment is its own and stays alive.
            del blocks[:number]
            freed += size * len(unused)
        self.kept_bytes = sum(size * len(blocks) for size, blocks in list(self._free.items()))
        return freed

    def _keep(self, block: _Block) -> None:
        size = block.size
        if self.kept_bytes + size > self.limit:
            if size > self.limit:
                return
            # What is kept has not been wanted lately, or there would be less of it.
            self.trim()
        block.period = self._period
        self.kept_bytes += size
        self._free[size].append(block)
        self._until_look -= size
        if self._until_look < 0:
            self._look_at_the_clock()

    def _look_at_the_clock(
        self,
        interval: int = BYTES_BETWEEN_LOOKS,
        length: float = PERIOD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._until_look = interval
        now = clock()
        if now >= self._period_ends:
            self._period_ends = now + length
            period = self._period
            self._period = period + 1
            self._free_unused_since(period)

    def _new_block(self, size: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Block:
        try:
            return _fresh_block(self, size)
        except MemoryError:
            self.trim()
            gc.collect()  # buffers in dead cycles come to the pool by this,
            self.trim()  # and out of it by that
        try:
            return _fresh_block(self, size)
        except MemoryError as error:
            raise MemoryError(
                f"cannot allocate {size:,} bytes for an array of shape {shape} and dtype {dtype}"
            ) from error


def _fresh_block(pool: MemoryPool, size: int) -> _Block:
    if size > sys.maxsize - HUGE_PAGE:
        raise MemoryError("larger than the address space")
    try:
        return _Block(pool, size)
    except OSError as error:  # how mmap says that there is no memory
        raise MemoryError(str(error)) from error


@lru_cache(maxsize=4096)
def _size_class(nbytes: int) -> int:
    """`nbytes` rounded up to one of eight sizes between powers of two, or to a multiple of the alignment.

    So at most an eighth is wasted above 512 bytes.
    """
    shift = max(nbytes.bit_length() - 4, 6)
    return -(-nbytes >> shift) << shift or ALIGNMENT


def _strides(shape: tuple[int, ...], itemsize: int, order: Sequence[int]) -> tuple[int, ...]:
    strides = [0] * len(shape)
    stride = itemsize
    for axis in reversed(order):
        strides[axis] = stride
        stride *= max(shape[axis], 1)
    return tuple(strides)


def _usable_memory() -> int:
    """Bytes of physical memory, or of the container's share of it."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(limit, encoding="ascii") as file:
                text = file.read().strip()
        except OSError:
            continue
        if text.isdigit():  # else "max": no limit
            return min(physical, int(text))
    return physical


pool = MemoryPool()
# What frees the memory that other devices keep for reuse, and answers how many bytes that was.
other_pools: list[Callable[[], int]] = []


def trim_memory() -> int:
    """Give the operating system, and GPUs, the memory that is kept for reuse.

    Memory of arrays that exist is untouched. The next results touch fresh pages, which costs more than the
    arithmetic.

    Returns
    -------
    int
        How many bytes were freed.
    """
    freed = pool.trim()
    # Blocks too small to be mapped went back to malloc, which keeps them in turn: after 625 MiB of 80 kB
    # blocks 360 MiB stayed resident. Only glibc can be told.
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)
    return freed + sum(trim() for trim in other_pools)
