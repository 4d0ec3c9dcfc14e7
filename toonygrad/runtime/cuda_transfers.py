"""Copies between the host's memory and a GPU's, through page-locked memory, which the GPU reads by itself.

The driver of cuda.py copies here. One core moves memory at a fifth of what the bus takes, so that several
threads copy pieces of what is large: each has two halves of page-locked memory, one of which is on its way
while the other is filled or emptied.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from cuda.bindings import driver as cuda

# Up to this many bytes the driver keeps what is to be copied itself.
KEPT_BY_DRIVER = 1 << 16
# Bytes of a half. Of 256 MiB eight threads upload 40 to 44 GB/s and download 22 into fresh memory, one thread
# 9 and 5; the bus takes 55 (H100, 16 cores). 16 MiB take four threads 24, and eight no less time.
HALF = 4 << 20
SHORT = 2 << 20
MOST_THREADS = 8
# A thread is worth it for so many bytes.
WORTH_A_THREAD = 4 << 20


class _Lane(NamedTuple):
    """What one thread copies through: addresses of two halves, and the last copy from or to each."""

    halves: tuple[int, int]
    events: tuple[Any, Any]


class Transfers:
    """Copies to and from one GPU, in the order of its stream.

    Parameters
    ----------
    context, stream : of the GPU
    checked : what takes the driver's answers, and raises its errors
    """

    def __init__(self, context: Any, stream: Any, checked: Callable[[Any], Any]) -> None:
        self._context, self._stream, self._checked = context, stream, checked
        self._lanes: list[_Lane] = []
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def upload(self, address: int, source: int, nbytes: int) -> None:
        """Copy to the GPU; the host's memory may change as soon as this returns."""
        if nbytes <= KEPT_BY_DRIVER:
            self._checked(cuda.cuMemcpyHtoDAsync(address, source, nbytes, self._stream))
            return

        def send(lane: _Lane, pieces: range, size: int) -> None:
            for turn, start in enumerate(pieces):
                half, event = lane.halves[turn % 2], lane.events[turn % 2]
                length = min(size, nbytes - start)
                self._checked(cuda.cuEventSynchronize(event))
                ctypes.memmove(half, source + start, length)
                self._checked(cuda.cuMemcpyHtoDAsync(address + start, half, length, self._stream))
                self._checked(cuda.cuEventRecord(event, self._stream))

        self._share(send, nbytes)

    def download(self, target: int, address: int, nbytes: int) -> None:
        """Copy from the GPU, and wait for it."""
        if nbytes <= KEPT_BY_DRIVER:
            self._checked(cuda.cuMemcpyDtoHAsync(target, address, nbytes, self._stream))
            self._checked(cuda.cuStreamSynchronize(self._stream))
            return

        def fetch(lane: _Lane, pieces: range, size: int) -> None:
            def ask(turn: int) -> None:
                start = pieces[turn]
                length = min(size, nbytes - start)
                half, event = lane.halves[turn % 2], lane.events[turn % 2]
                self._checked(cuda.cuMemcpyDtoHAsync(half, address + start, length, self._stream))
                self._checked(cuda.cuEventRecord(event, self._stream))

            for turn in range(min(2, len(pieces))):
                ask(turn)
            for turn, start in enumerate(pieces):
                self._checked(cuda.cuEventSynchronize(lane.events[turn % 2]))
                ctypes.memmove(target + start, lane.halves[turn % 2], min(size, nbytes - start))
                if turn + 2 < len(pieces):
                    ask(turn + 2)

        self._share(fetch, nbytes)

    def _share(self, copy: Callable[[_Lane, range, int], None], nbytes: int) -> None:
        """Have several threads copy pieces in turn, this one among them."""
        count = max(1, min(MOST_THREADS, _cores(), nbytes // WORTH_A_THREAD))
        size = HALF if nbytes >= 4 * MOST_THREADS * HALF else SHORT
        with self._lock:
            count = self._open_lanes(count)
            shares = [range(first, nbytes, count * size) for first in range(0, count * size, size)]
            others = []
            if count > 1:
                if self._threads is None:
                    self._threads = ThreadPoolExecutor(MOST_THREADS - 1, "toonygrad-copies")
                for lane, share in zip(self._lanes[1:], shares[1:]):
                    others.append(self._threads.submit(self._elsewhere, copy, lane, share, size))
            try:
                copy(self._lanes[0], shares[0], size)
            finally:
                errors = [future.exception() for future in others]  # nobody touches the memory any more
            for error in errors:
                if error is not None:
                    raise error

    def _open_lanes(self, count: int) -> int:
        """So many lanes, or as many as there is page-locked memory for, if that is any."""
        while len(self._lanes) < count:
            try:
                self._lanes.append(self._new_lane())
            except MemoryError:
                if not self._lanes:
                    raise MemoryError(
                        f"cannot lock {2 * HALF:,} bytes of the host's memory to copy to and from a GPU"
                    ) from None
                break
        return min(count, len(self._lanes))

    def _elsewhere(
        self, copy: Callable[[_Lane, range, int], None], lane: _Lane, share: range, size: int
    ) -> None:
        self._checked(cuda.cuCtxSetCurrent(self._context))
        copy(lane, share, size)

    def _new_lane(self) -> _Lane:
        start = int(self._checked(cuda.cuMemHostAlloc(2 * HALF, cuda.CU_MEMHOSTALLOC_PORTABLE)))
        untimed = cuda.CUevent_flags.CU_EVENT_DISABLE_TIMING.value
        first, second = (self._checked(cuda.cuEventCreate(untimed)) for _ in range(2))
        return _Lane((start, start + HALF), (first, second))


def _cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
