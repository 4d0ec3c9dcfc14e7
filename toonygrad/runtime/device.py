"""Devices beside the CPU: a Device has a stream and memory, a DeviceBuffer is an array there.

Plans allocate and launch here, handles copy to and fro. The hardware is a Driver's
(runtime/driver.py).
"""

from __future__ import annotations

import gc
import math
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

import numpy as np

from toonygrad.codegen.cpu import Parameter
from toonygrad.config import counters
from toonygrad.devices import ordinal
from toonygrad.runtime.buffer import leased, other_pools
from toonygrad.runtime.driver import REPEATED, DeviceMemoryError, Driver, Forked, Gemm, Runnable
from toonygrad.schedule.ranges import viewed
from toonygrad.uop.node import UOp
from toonygrad.uop.shape import contiguous_strides

_T = TypeVar("_T")

# Blocks start on a multiple of this and are no smaller: what CUDA's own allocators do, and enough for any
# access.
BLOCK = 512


# -- memory --------------------------------------------------------------------------------------------------


class Memory:
    """A block of a device's memory, given back when nobody holds it any more.

    Parameters
    ----------
    back : where its address goes then: of the lists in `Device.free` that of its size

    Attributes
    ----------
    exported : bool
        Whether another library has seen it, whose streams may still work on it when it is given back.
    """

    __slots__ = ("_back", "address", "device")

    def __init__(self, device: Device, address: int, back: list[int]) -> None:
        self.device, self.address, self._back = device, address, back

    @property
    def exported(self) -> bool:
        return self._back is self.device.exported

    def export(self) -> None:
        """Note that another library sees it."""
        self._back = self.device.exported

    def __del__(self) -> None:
        # In any thread, inside any other code: nothing but an append, which is atomic.
        self._back.append(self.address)


class Checks:
    """Whether indices were out of bounds, noted by kernels and looked at when somebody reads their results.

    What a library notes of its work is looked at in the same way, by a subclass.

    Parameters
    ----------
    words : a number for each check, on the device; not zero where an index was outside
    checks : for each word the call, the axis and its size
    """

    __slots__ = ("_checks", "_words", "error")

    raised: ClassVar[type[Exception]] = IndexError

    def __init__(self, words: DeviceBuffer, checks: Sequence[tuple[str, int, int]]) -> None:
        self._words: DeviceBuffer | None = words
        self._checks = checks
        self.error: str | None = None

    def raise_if_outside(self) -> None:
        """Wait for the kernel; IndexError where an index was out of bounds, now and ever after."""
        words = self._words
        if words is not None:
            self.error = self._failure(words.array)
            self._words = None
        if self.error is not None:
            raise self.raised(self.error)

    def _failure(self, words: np.ndarray) -> str | None:
        for (call, axis, size), outside in zip(self._checks, words, strict=True):
            if outside:
                return f"{call}: an index is out of bounds for axis {axis} with size {size}"
        return None

    def unread(self, checks: Sequence[tuple[str, int, int]]) -> DeviceBuffer | None:
        """The numbers, int64, if these are what they are of and nobody has looked yet."""
        return self._words if self._checks == checks else None

    @property
    def words(self) -> DeviceBuffer | None:
        """The numbers, int64, if nobody has looked yet."""
        return self._words

    @property
    def passed(self) -> bool:
        """Whether somebody has looked, and all was well."""
        return self._words is None and self.error is None


class Layout:
    """Where and how elements lie. There is one object for each layout, so that keys of plans compare quickly.

    Attributes
    ----------
    place : Device
    dtype, shape, strides
        As of a NumPy array; strides in bytes.
    nbytes : int
        Bytes of the elements, not counting gaps between them.
    size : int
        Bytes of the block that holds them where there are no gaps.
    is_contiguous : bool
        Whether they lie in row-major order without gaps.
    """

    __slots__ = ("dtype", "is_contiguous", "nbytes", "place", "shape", "size", "strides")

    def __init__(
        self, place: Device, dtype: np.dtype, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        self.place, self.dtype, self.shape, self.strides = place, dtype, shape, strides
        self.nbytes = math.prod(shape) * dtype.itemsize
        self.size = _size_class(self.nbytes)
        self.is_contiguous = 0 in shape or all(
            size == 1 or stride == step * dtype.itemsize
            for size, stride, step in zip(shape, strides, contiguous_strides(shape), strict=True)
        )

    def __getitem__(self, which: Any) -> Any:
        """As of the layouts of the CPU's memory: data type, shape and strides."""
        return (self.dtype, self.shape, self.strides)[which]


# The layouts met; more are made anew, and with them plans.
_MOST_LAYOUTS = 4096
_layouts: dict[tuple, Layout] = {}


def layout_of(
    place: Device, dtype: np.dtype, shape: tuple[int, ...], strides: tuple[int, ...] | None = None
) -> Layout:
    """The layout with these strides, row-major where there are none."""
    key = (place.name, dtype, shape, strides)
    layout = _layouts.get(key)
    if layout is None:
        if strides is None:
            strides = tuple([step * dtype.itemsize for step in contiguous_strides(shape)])
            layout = layout_of(place, dtype, shape, strides)
        else:
            layout = Layout(place, dtype, shape, strides)
        if len(_layouts) >= _MOST_LAYOUTS:
            _layouts.clear()
        _layouts[key] = layout
    return layout


class DeviceBuffer:
    """An array in a device's memory, beside buffer.Buffer.

    Attributes
    ----------
    layout : Layout
        What a plan depends on.
    memory : object
        What keeps the memory alive: a `Memory`, or the object of another library.
    address : int
        Of the first element.
    checks : tuple of Checks
        Of the kernels that made the elements, until they have passed.
    """

    __slots__ = ("__weakref__", "address", "checks", "layout", "memory")

    shared = False
    writeable = True

    def __init__(self, layout: Layout, memory: Any, address: int) -> None:
        self.layout, self.memory, self.address = layout, memory, address
        self.checks: tuple[Checks, ...] = ()

    @property
    def place(self) -> Device:
        """The device."""
        return self.layout.place

    @property
    def device(self) -> str:
        """The device's full name."""
        return self.layout.place.name

    @property
    def dtype(self) -> np.dtype:
        """Of the elements."""
        return self.layout.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.layout.shape

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next along each axis."""
        return self.layout.strides

    @property
    def array(self) -> np.ndarray:
        """A copy of the elements on the host, read-only, once all work on them is done.

        Raises
        ------
        IndexError
            An index out of bounds led to these elements.
        """
        self.raise_if_outside()
        host = _downloaded(self)
        host.flags.writeable = False
        return host

    def raise_if_outside(self) -> None:
        """IndexError where an index out of bounds led to these elements."""
        for checks in self.checks:
            checks.raise_if_outside()
        self.checks = ()

    @property
    def nbytes(self) -> int:
        """Bytes of its elements, not counting gaps between them."""
        return self.layout.nbytes

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        return self.layout.is_contiguous

    @property
    def is_seen(self) -> bool:
        """Whether anybody else holds this memory, in the engine or outside."""
        memory = self.memory
        return type(memory) is not Memory or memory.exported or sys.getrefcount(memory) != _UNSEEN

    def view(self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> DeviceBuffer:
        """The same memory seen otherwise, `offset` and `strides` in bytes."""
        layout = layout_of(self.place, self.dtype, shape, strides)
        result = DeviceBuffer(layout, self.memory, self.address + offset)
        result.checks = self.checks
        return result

    def moved(self, movements: Sequence[UOp]) -> DeviceBuffer | None:
        """What movement operations, the one next to memory first, show of it; None where a copy is needed."""
        offset, shape, strides = 0, self.shape, self.strides
        for node in movements:
            found = viewed(node, shape, strides)
            if found is None:
                return None
            offset += found[0]
            shape, strides = node.shape, found[1]
        return self.view(offset, shape, strides)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.device}, shape={self.shape}, dtype={self.dtype})"


class SharedDeviceBuffer(DeviceBuffer):
    """Memory that somebody outside the engine sees as well, and is to see written."""

    __slots__ = ()

    shared = True

    def move(self, other: DeviceBuffer) -> None:
        """Stand for other memory with the same elements from now on."""
        self.memory, self.address, self.layout = other.memory, other.address, other.layout


class FixedDeviceBuffer(SharedDeviceBuffer):
    """Memory that somebody outside the engine sees as well, and that may not be written."""

    __slots__ = ()

    writeable = False


def host_window(buffer: DeviceBuffer) -> tuple[int, np.ndarray, np.ndarray]:
    """The stretch of memory with a buffer's elements: its address, a copy of it, the elements in that."""
    reach = [(size - 1) * stride for size, stride in zip(buffer.shape, buffer.strides, strict=True)]
    below = -sum(step for step in reach if step < 0)
    extent = below + sum(step for step in reach if step > 0) + buffer.dtype.itemsize
    stretch = leased((extent,), np.dtype(np.uint8))
    lowest = buffer.address - below
    buffer.place.download(stretch, lowest)
    return lowest, stretch, np.ndarray(buffer.shape, buffer.dtype, stretch.data, below, buffer.strides)


def as_laid_out(buffer: DeviceBuffer) -> np.ndarray:
    """A copy on the host with the buffer's strides."""
    return np.empty(buffer.shape, buffer.dtype) if 0 in buffer.shape else host_window(buffer)[2]


def _downloaded(buffer: DeviceBuffer) -> np.ndarray:
    if 0 in buffer.shape:
        return np.empty(buffer.shape, buffer.dtype)
    if not buffer.is_contiguous:
        return np.array(host_window(buffer)[2], order="C")
    host = leased(buffer.shape, buffer.dtype)
    buffer.place.download(host, buffer.address)
    return host


# -- devices -------------------------------------------------------------------------------------------------


class Device:
    """One GPU: its stream, its memory, the kernels loaded on it.

    Attributes
    ----------
    name : str
        "cuda:0" and so on.
    number : int
    driver : Driver
    free : dict
        Addresses of the blocks kept for reuse, by size, in one list for each. All work is in one stream, so a
        block may be used again by later work as soon as it is here.
    exported : list of int
        Addresses of blocks that came back after another library had seen them; they may not be used again
        before all its work is done. With them, their sizes are in `sizes`.
    """

    def __init__(self, driver: Driver, name: str) -> None:
        self.driver, self.name, self.number = driver, name, ordinal(name)
        self.free: defaultdict[int, list[int]] = defaultdict(list)
        self.exported: list[int] = []
        self.sizes: dict[int, int] = {}
        self._kernels: dict[tuple[str, str], Any] = {}
        self._libraries: dict[type, Any] = {}
        self._lock = threading.Lock()

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> DeviceBuffer:
        """A buffer with undefined contents, row-major.

        Raises
        ------
        MemoryError
            There isn't enough memory, even after all that was kept for reuse has been given up.
        """
        return self.take(layout_of(self, dtype, shape))

    def take(self, layout: Layout) -> DeviceBuffer:
        """As `allocate`, for a layout without gaps."""
        free = self.free[layout.size]
        try:
            address = free.pop()
        except IndexError:
            address = self.fresh(layout)
        nbytes = layout.nbytes
        counters.bytes_allocated += nbytes
        return DeviceBuffer(layout, Memory(self, address, free), address)

    def fresh(self, layout: Layout) -> int:
        """The address of a block for a layout, where none of its size is kept; as `allocate`."""
        driver, number, size = self.driver, self.number, layout.size
        driver.use(number)
        if self.exported:
            driver.synchronize_all(number)
            self._take_back()
            with suppress(IndexError):
                return self.free[size].pop()
        for attempt in range(3):
            if attempt:
                self.trim()
            try:
                address = driver.allocate(number, size)
            except DeviceMemoryError:
                if attempt:
                    gc.collect()  # buffers in dead cycles come back by this
                continue
            self.sizes[address] = size
            return address
        raise MemoryError(
            f"cannot allocate {size:,} bytes on {self.name} for an array of shape {layout.shape} and dtype "
            f"{layout.dtype}: {driver.free_bytes(number):,} bytes are free"
        )

    def _take_back(self) -> None:
        while self.exported:
            address = self.exported.pop()
            self.free[self.sizes[address]].append(address)

    def trim(self) -> int:
        """Free everything kept for reuse, and answer how many bytes that was."""
        freed = 0
        self.driver.use(self.number)
        if self.exported:
            self.driver.synchronize_all(self.number)
            self._take_back()
        for size, addresses in list(self.free.items()):
            while addresses:
                address = addresses.pop()
                del self.sizes[address]
                self.driver.free(self.number, address)
                freed += size
        self.driver.synchronize(self.number)
        return freed

    def upload(self, array: np.ndarray) -> DeviceBuffer:
        """A copy of a host array, row-major."""
        buffer = self.allocate(array.shape, array.dtype)
        if array.size:
            self.driver.use(self.number)
            self.driver.upload(self.number, buffer.address, np.ascontiguousarray(array))
        return buffer

    def write(self, address: int, array: np.ndarray) -> None:
        """Put a contiguous host array to an address."""
        self.driver.use(self.number)
        self.driver.upload(self.number, address, array)

    def download(self, array: np.ndarray, address: int) -> None:
        """Fill a contiguous host array from an address, once all work is done."""
        self.driver.use(self.number)
        self.driver.download(self.number, array, address)

    def copied(self, buffer: DeviceBuffer) -> DeviceBuffer:
        """A contiguous buffer's elements, on whatever device they are, in memory of their own here."""
        result = self.allocate(buffer.shape, buffer.dtype)
        if buffer.nbytes:
            source, driver, to = buffer.place, self.driver, (self.number, result.address)
            if source is self:
                driver.use(self.number)
                driver.copy(*to, buffer.address, buffer.nbytes)
            else:
                stream = driver.stream(self.number)
                driver.use(source.number)
                driver.let_wait(source.number, stream)
                driver.use(self.number)
                driver.copy_from(*to, source.number, buffer.address, buffer.nbytes)
                # The source may be given back and written to by its own stream at once.
                driver.wait_for(source.number, stream)
        result.checks = buffer.checks
        return result

    def kernel(self, text: str, name: str, parameters: Sequence[Parameter]) -> Any:
        """A generated kernel, loaded on this device; its name is a hash of its text."""
        key = (name, text)
        found = self._kernels.get(key)
        if found is None:
            with self._lock:
                found = self._kernels.get(key)
                if found is None:
                    found = self.asked(self.driver.kernel, self.number, text, name, parameters)
                    self._kernels[key] = found
        return found

    def asked(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """What `function` answers; where it finds no memory, what is kept for reuse is given up first."""
        try:
            return function(*arguments)
        except DeviceMemoryError:
            self.trim()
            return function(*arguments)

    def library(self, kind: type[_T]) -> _T | None:
        """A library on this device, a subclass of cuda_libraries.Library; None where there is none."""
        found = self._libraries.get(kind)
        if found is None:
            self.driver.use(self.number)
            found = self._libraries[kind] = self.asked(self.driver.library, self.number, kind)
        return found

    def run(self, program: Runnable, *given: int) -> None:
        """Hand over a program for these values, whose alignment doesn't matter to it."""
        status = program.run(*given)
        if status == REPEATED:
            program.repeat(*given)
        elif status:
            self.driver.refuse(status)

    def multiplies(self) -> bool:
        """Whether there is a library for products of matrices."""
        self.driver.use(self.number)
        return self.asked(self.driver.multiplies, self.number)

    def multiply(self, gemm: Gemm, first: int, second: int, result: int) -> None:
        """Products of the matrices at these addresses, by the library."""
        self.asked(self.driver.multiply, self.number, gemm, first, second, result)

    def synchronize(self) -> None:
        """Wait until all work is done."""
        self.driver.use(self.number)
        self.driver.synchronize(self.number)


def _size_class(nbytes: int) -> int:
    """`nbytes` rounded up to one of eight sizes between powers of two, and to whole blocks."""
    shift = max(nbytes.bit_length() - 4, 9)
    return -(-nbytes >> shift) << shift or BLOCK


_devices: dict[str, Device] = {}
_driver: Driver | None = None
_opening = threading.Lock()


def install(driver: Driver | None) -> None:
    """Let devices be those of this driver from now on; None forgets them all."""
    global _driver
    _driver = driver
    _devices.clear()
    _layouts.clear()


def installed() -> Driver | None:
    """The driver in use."""
    return _driver


def open_device(name: str) -> Device:
    """The device of this full name, which exists."""
    device = _devices.get(name)
    if device is None:
        with _opening:
            device = _devices.get(name)
            if device is None:
                assert _driver is not None
                device = _devices[name] = Device(_driver, name)
    return device


def _trim() -> int:
    return sum(device.trim() for device in list(_devices.values()))


other_pools.append(_trim)


def _after_fork() -> None:
    forked: Any = Forked()
    for device in _devices.values():
        device.driver = forked
    global _driver
    if _driver is not None:
        _driver = forked


os.register_at_fork(after_in_child=_after_fork)


class _Holder:
    """Alone holds a memory, to count the references that such a memory has in `DeviceBuffer.is_seen`."""

    __slots__ = ("memory",)

    def __init__(self) -> None:
        self.memory = object()

    def count(self) -> int:
        """References to the memory, a local one included."""
        memory = self.memory
        return sys.getrefcount(memory)


_UNSEEN = _Holder().count()
