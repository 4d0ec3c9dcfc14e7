"""Sorting on all cores, with the kernels of codegen/radix.py; what doesn't gain by them is left to NumPy.

Called by plans in place of the routines of `external.py`: the same values, and whatever the number of threads
the same order of equal elements. May import the other rooms of the runtime, and codegen.
"""

from __future__ import annotations

import functools
import time
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen import bisection, halves, radix
from toonygrad.codegen.python_source import KernelSource
from toonygrad.config import settings
from toonygrad.runtime.buffer import Buffer, pool
from toonygrad.runtime.cache import obtain_kernel
from toonygrad.runtime.external import EXTERNAL, Routine
from toonygrad.runtime.threads import launch

__all__ = ["ON_ALL_CORES"]

# Elements in all, and in a lane, from which on kernels sort: a pass takes three launches, and counts 256
# digits in each block. Kernels on one core were 1.4 times as fast as NumPy for 16,384 float32, 0.6 times for
# 8192, 1.2 times for lanes of 2000, 0.8 times for lanes of 1000; positions 3 times for 8192, 1.4 to 3
# times for lanes of 256.
LEAST_SORTED, LEAST_SORTED_LANE = 1 << 14, 1 << 11
LEAST_ORDERED, LEAST_ORDERED_LANE = 1 << 13, 1 << 8

# Keys of several lanes go through all their passes together, so many for each thread: they and the copy that
# a pass makes stay in the cache. 1000 lanes of 4000 float64 all at once took 1.5 times as long.
BYTES_AT_ONCE = 1 << 20

# Elements that are worth a thread where NumPy sorts short lanes: a millisecond, and a thread is made in 0.1.
LEAST_SHARED = 1 << 17

# Where NumPy sorts in vectors: what it is tried on, the time that tells, and elements of a sample, which
# leaves the halves within hundredths of each other.
SORTED_ON_TRIAL, VECTORS_SECONDS_A_BYTE, SAMPLED = 1 << 16, 3e-9, 4096
# From so many threads on kernels sort in any case: 4 M float32 on a Xeon in 12 ms with eight of them, NumPy
# in 19 with one.
MANY_THREADS = 6

# Values sought from which on a kernel finds their places.
LEAST_SOUGHT = 1 << 12

# The most blocks to share out, and the fewest elements of a lane's blocks.
MOST_BLOCKS, LEAST_BLOCK = 64, 1 << 13

# Positions have the lower half of a key.
POSITION_BITS = 32


def _sort(sources: Sequence[np.ndarray], parameters: tuple[Any, ...], out: np.ndarray) -> None:
    axis, descending, stable = parameters
    is_complex = out.dtype in dtypes.COMPLEX_FLOATING
    if is_complex or out.size < LEAST_SORTED or out.shape[axis] < LEAST_SORTED_LANE:
        _by_numpy("sort", sources[0], parameters, out)
        return
    given, result = _lanes(sources[0], axis), _lanes(out, axis)
    threads = settings.num_threads
    if threads < MANY_THREADS and out.itemsize >= 4 and _numpy_sorts_in_vectors(out.dtype):
        if threads < 2 or len(given) >= threads or given.shape[1] < 2 * LEAST_SHARED:
            _by_numpy("sort", sources[0], parameters, out)
            return
        for lane in range(len(given)):
            _sort_in_halves(given[lane], result[lane], descending, stable)
    else:
        for part in _parts(given.shape, given.itemsize):
            _sort_lanes(given[part], result[part], descending, stable)
    _put_back(result, out, axis)


@functools.cache
def _numpy_sorts_in_vectors(dtype: np.dtype) -> bool:
    """Whether NumPy's sort is one of those in vectors of AVX-512, on a processor where these are fast.

    Of 4 M float32 it then takes 8 ns an element, kernels 26; on a Zen 4, which has the instructions and is
    slow at one of them, 37 and 6. So it is tried, once a process: the result doesn't depend on who sorts.
    """
    values = np.random.default_rng(0).permutation(SORTED_ON_TRIAL).astype(dtype)
    times = []
    for _ in range(3):
        copy = values.copy()
        start = time.perf_counter()
        copy.sort()
        times.append(time.perf_counter() - start)
    return min(times) < SORTED_ON_TRIAL * dtype.itemsize * VECTORS_SECONDS_A_BYTE


def _sort_in_halves(given: np.ndarray, result: np.ndarray, descending: bool, stable: bool) -> None:
    """Elements shared out between two halves of their order, which NumPy sorts side by side."""
    given = np.ascontiguousarray(given)
    sample = np.sort(given[:: max(1, given.size // SAMPLED)])
    pivot = Buffer(sample[len(sample) // 2 :][:1])
    out = Buffer(result) if result.flags.c_contiguous else pool.allocate(given.shape, given.dtype)
    block = -(-given.size // MOST_BLOCKS)
    steps = -(-given.size // block)
    counts = pool.allocate((steps,), dtypes.int64)
    integers = [given.size, block]
    _run(halves.count_source(given.dtype), [counts, Buffer(given), pivot], integers, steps)
    low = counts.array
    high = np.minimum(np.arange(1, steps + 1) * block, given.size) - np.arange(steps) * block - low
    border = int(low.sum())
    places = Buffer(np.column_stack([np.cumsum(low) - low, border + np.cumsum(high) - high]))
    _run(halves.move_source(given.dtype), [out, places, Buffer(given), pivot], integers, steps)
    ordered = out.array
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(ordered[border:].sort)
        ordered[:border].sort()
    other.result()
    if stable and given.dtype.kind == "f":
        first, last = (np.searchsorted(ordered, 0.0, side) for side in ("left", "right"))
        if np.signbit(ordered[first:last]).any():
            zeros = given[given == 0]
            ordered[first:last] = zeros[::-1] if descending else zeros
    if descending or ordered is not result:
        result[...] = ordered[::-1] if descending else ordered


def _sort_lanes(given: np.ndarray, result: np.ndarray, descending: bool, stable: bool) -> None:
    bits, kind, out = _bits(given), given.dtype.kind, Buffer(_bits(result))
    keys = _Keys(bits.shape, bits.dtype, 0, descending)
    if keys.are_in_order(radix.disorder_source(kind, bits.dtype), bits):
        np.copyto(result, given)
        return
    room = out if result.flags.c_contiguous else None
    negative_zeros = keys.fill(radix.keys_source(kind, bits.dtype), bits, room)
    keys.sort(out, kind)
    if stable and negative_zeros:
        # Zeros are the only equal numbers that can be told apart: theirs go back in the order they came in.
        result[result == 0] = given[given == 0]


def _argsort(sources: Sequence[np.ndarray], parameters: tuple[Any, ...], out: np.ndarray) -> None:
    axis, descending, _ = parameters
    length = out.shape[axis]
    if out.size < LEAST_ORDERED or not LEAST_ORDERED_LANE <= length <= 1 << POSITION_BITS:
        _by_numpy("argsort", sources[0], parameters, out)
        return
    given, result = _lanes(sources[0], axis), _lanes(out, axis)
    for part in _parts(given.shape, radix.PACKED.itemsize):
        _order_lanes(given[part], result[part], descending)
    _put_back(result, out, axis)


def _order_lanes(given: np.ndarray, result: np.ndarray, descending: bool) -> None:
    bits, kind = _bits(given), given.dtype.kind
    keys = _Keys(bits.shape, radix.PACKED, POSITION_BITS, descending)
    if keys.are_in_order(radix.disorder_source(kind, bits.dtype), bits):
        result[...] = np.arange(given.shape[1])
        return
    if bits.itemsize < 8:
        keys.fill(radix.positions_source(kind, bits.dtype, "all"), bits)
    else:
        keys.fill(radix.positions_source(kind, bits.dtype, "low"), bits)
        keys.sort()
        keys.fill(radix.positions_source(kind, bits.dtype, "high"), bits)
    keys.sort(Buffer(result), "position")


def _searchsorted(sources: Sequence[np.ndarray], parameters: tuple[Any, ...], out: np.ndarray) -> None:
    ordered, values = (np.ascontiguousarray(source) for source in sources)
    if ordered.dtype in dtypes.COMPLEX_FLOATING or out.size < LEAST_SOUGHT or not ordered.size:
        EXTERNAL["searchsorted"](sources, parameters, out)
        return
    source = bisection.places_source(ordered.dtype, *parameters)
    integers = [ordered.size, (ordered.size - 1).bit_length(), out.size]
    buffers = [Buffer(out), Buffer(ordered), Buffer(values)]
    _run(source, buffers, integers, -(-out.size // bisection.GROUP), LEAST_SOUGHT // bisection.GROUP)


ON_ALL_CORES: dict[str, Routine] = {"sort": _sort, "argsort": _argsort, "searchsorted": _searchsorted}


# -- lanes ---------------------------------------------------------------------------------------------------


def _lanes(memory: np.ndarray, axis: int) -> np.ndarray:
    """What lies along an axis as rows: a view if strides can express that, else a copy."""
    return np.moveaxis(memory, axis, -1).reshape(-1, memory.shape[axis])


def _parts(shape: tuple[int, ...], itemsize: int) -> Iterator[slice]:
    """Which lanes are sorted together."""
    lanes, length = shape
    together = max(1, settings.num_threads * BYTES_AT_ONCE // (length * itemsize))
    return (slice(lane, lane + together) for lane in range(0, lanes, together))


def _put_back(lanes: np.ndarray, out: np.ndarray, axis: int) -> None:
    """Fill `out` with its lanes if those are a copy."""
    if not np.may_share_memory(lanes, out):
        moved = np.moveaxis(out, axis, -1)
        moved[...] = lanes.reshape(moved.shape)


def _bits(lanes: np.ndarray) -> np.ndarray:
    return lanes.view(f"u{lanes.itemsize}")


def _by_numpy(name: str, given: np.ndarray, parameters: tuple[Any, ...], out: np.ndarray) -> None:
    """The routine of `external.py`, on several threads if there are lanes enough: NumPy's sort lets go of the
    global interpreter lock.

    The threads live as long as the call, so none is there to be missed in a forked child.
    """
    sizes = [0 if axis == parameters[0] else size for axis, size in enumerate(out.shape)]
    cut = sizes.index(max(sizes))
    pieces = min(settings.num_threads, sizes[cut], out.size // LEAST_SHARED)
    if pieces < 2:
        EXTERNAL[name]([given], parameters, out)
        return
    bounds = [sizes[cut] * piece // pieces for piece in range(pieces + 1)]
    with ThreadPoolExecutor(pieces - 1) as threads:
        done = []
        for lo, hi in pairwise(bounds):
            part = (slice(None),) * cut + (slice(lo, hi),)
            arguments = ([given[part]], parameters, out[part])
            if hi == bounds[-1]:
                EXTERNAL[name](*arguments)
            else:
                done.append(threads.submit(EXTERNAL[name], *arguments))
    for one in done:
        one.result()


# -- passes --------------------------------------------------------------------------------------------------


class _Keys:
    """The keys of lanes of equal length, their digits from `first_bit` on to be sorted by."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, first_bit: int, descending: bool) -> None:
        lanes, length = shape
        blocks = max(1, min(length // LEAST_BLOCK, -(-MOST_BLOCKS // lanes)))
        self._steps = lanes * blocks
        self._sizes = (length, blocks, -(-length // blocks))
        self._first_bit, self._flip = first_bit, -int(descending)
        self._shape, self._dtype = shape, dtype
        self._keys: Buffer | None = None
        self._counts = pool.allocate((self._steps, radix.DIGITS), dtypes.int64)
        self._differing = 0

    def are_in_order(self, source: KernelSource, bits: np.ndarray) -> bool:
        """Whether there is nothing to sort; what isn't in order mostly shows in the first block."""
        disorder = pool.allocate((self._steps,), dtypes.int64)
        for steps in (1, self._steps):
            _run(source, [disorder, Buffer(bits)], [*self._sizes, *_strides(bits), self._flip], steps)
            if disorder.array[:steps].any():
                return False
        return True

    def fill(self, source: KernelSource, bits: np.ndarray, room: Buffer | None = None) -> bool:
        """Compute the keys, from those there are or else in `room`; whether the kernel noted a -0."""
        if self._keys is None:
            self._keys = pool.allocate(self._shape, self._dtype) if room is None else room
        some, every = (pool.allocate((self._steps,), self._dtype) for _ in range(2))
        zeros = pool.allocate((self._steps,), dtypes.int64)
        written = [self._keys, some, every, zeros]
        _run(source, [*written, Buffer(bits)], [*self._sizes, *_strides(bits), self._flip], self._steps)
        self._differing = int(np.bitwise_or.reduce(some.array) & ~np.bitwise_and.reduce(every.array))
        return bool(zeros.array.any())

    def sort(self, out: Buffer | None = None, form: str = "key") -> None:
        """Sort by the digits in which keys differ, the last pass into `out`, in a form of `move_source`."""
        everywhere = range(self._first_bit, 8 * self._dtype.itemsize, radix.BITS)
        shifts = [shift for shift in everywhere if self._differing >> shift & radix.DIGITS - 1]
        *before, last = shifts or everywhere[:1]
        keys, spare = self._keys, None
        assert keys is not None
        for shift in before:
            target = pool.allocate(self._shape, self._dtype) if spare is None else spare
            keys, spare = self._moved(keys, shift, target, "key"), keys
        if keys is out:  # filled there, and back after an even number of passes
            keys = pool.allocate(self._shape, self._dtype) if spare is None else spare
            np.copyto(keys.array, out.array)
        if out is None:
            out = pool.allocate(self._shape, self._dtype) if spare is None else spare
        self._keys = self._moved(keys, last, out, form)

    def _moved(self, keys: Buffer, shift: int, target: Buffer, form: str) -> Buffer:
        """Sort by one digit, into `target`."""
        dtype = self._dtype
        _run(radix.count_source(dtype), [self._counts, keys], [*self._sizes, shift], self._steps)
        _run(radix.starts_source(), [self._counts], [self._sizes[1]], self._shape[0])
        integers = [*self._sizes, *_strides(target.array), shift, self._flip]
        _run(radix.move_source(dtype, form), [target, self._counts, keys], integers, self._steps)
        return target


def _strides(lanes: np.ndarray) -> list[int]:
    return [stride // lanes.itemsize for stride in lanes.strides]


def _run(
    source: KernelSource, buffers: Sequence[Buffer], integers: Sequence[int], extent: int, grain: int = 1
) -> None:
    kernel = obtain_kernel(source.text, source.name, source.parameters)
    pointers, numbers = array("q", [buffer.address for buffer in buffers]), array("q", integers)
    launch(kernel.address, pointers.buffer_info()[0], numbers.buffer_info()[0], extent, grain)
