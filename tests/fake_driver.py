"""A driver of GPUs that aren't there: their memory is the host's, and kernels run in the simulator.

Work is put off until somebody waits for it, as on a GPU, so that who reads too early reads garbage. Each
device has a queue of its own, so that who doesn't let one wait for another reads garbage too.
"""

from __future__ import annotations

import ctypes
import os
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any, NoReturn

import numpy as np
from fake_cub import FakeCub
from fake_cufft import FakeCufft
from fake_cusolver import FakeCublas, FakeCusolver
from simulator import Memory, simulate

from toonygrad import devices
from toonygrad.codegen.cpu import Parameter
from toonygrad.codegen.cuda import VECTOR_BYTES
from toonygrad.realize import _plans
from toonygrad.runtime import cuda_copies, cuda_scatter, device
from toonygrad.runtime.cuda_fft import Cufft
from toonygrad.runtime.cuda_libraries import open_library
from toonygrad.runtime.cuda_solver import CublasBatched, Cusolver, CusolverEigen
from toonygrad.runtime.cuda_sorting import Cub
from toonygrad.runtime.driver import FORKED, UNALIGNED, Call, DeviceMemoryError, Driver, Gemm
from toonygrad.uop.node import follow_devices

ALIGNMENT = 512


class FakeDriver(Driver):
    """Two devices.

    Attributes
    ----------
    allocations : address to the bytes there
    places : address to the device it is on
    limit : bytes of all devices
    launches : names of the kernels launched
    has_library : whether there is one for products of matrices
    products : what it was asked for
    libraries : those there are, by the class that calls them
    waits : (word, stream) for each order given to or taken from another library's stream
    """

    def __init__(self, limit: int = 1 << 24) -> None:
        self.allocations: dict[int, np.ndarray] = {}
        self.limit = limit
        self.used = 0
        self.launches: list[str] = []
        self.has_library = True
        self.products: list[Gemm] = []
        self.waits: list[tuple[str, int]] = []
        self.synchronized = 0
        self.places: dict[int, int] = {}
        self._queues: list[list[Callable[[], None]]] = [[] for _ in range(self.count())]
        self._done = [0] * self.count()
        self._thread = threading.local()
        self._running = threading.RLock()
        cusolver = FakeCusolver(self._later, self._found)
        self.libraries: dict[type[Any], Any] = {
            Cufft: FakeCufft(self._later, self._found),
            Cub: FakeCub(self._later, self._found),
            CublasBatched: FakeCublas(self._later, self._found),
            Cusolver: cusolver,
            CusolverEigen: cusolver,
        }
        self._opened: dict[tuple[int, type[Any]], Any] = {}

    def _later(self, work: Callable[[], None]) -> None:
        self._queue.append(work)

    @property
    def _queue(self) -> list[Callable[[], None]]:
        """That of the device which the thread uses."""
        return self._queues[self._thread.number]

    def count(self) -> int:
        return 2

    def architecture(self, number: int) -> str:
        return "sm_90"

    def device_of(self, address: int) -> int:
        return next(
            self.places[start]
            for start, memory in self.allocations.items()
            if start <= address < start + memory.nbytes
        )

    def stream(self, number: int) -> int:
        return 1000 + number

    def use(self, number: int) -> None:
        assert 0 <= number < self.count()
        self._thread.number = number

    def allocate(self, number: int, nbytes: int) -> int:
        if self.used + nbytes > self.limit:
            raise DeviceMemoryError
        self.used += nbytes
        whole = np.full(nbytes + ALIGNMENT, 0xA5, np.uint8)
        start = -whole.ctypes.data % ALIGNMENT
        memory = whole[start : start + nbytes]
        self.allocations[memory.ctypes.data] = memory
        self.places[memory.ctypes.data] = number
        return memory.ctypes.data

    def free(self, number: int, address: int) -> None:
        assert self.places[address] == number == self._thread.number

        def work() -> None:
            self.used -= self.allocations.pop(address).nbytes

        self._queue.append(work)

    def free_bytes(self, number: int) -> int:
        return self.limit - self.used

    def upload(self, number: int, address: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        content = array.tobytes()
        self._queue.append(lambda: ctypes.memmove(address, content, len(content)))

    def download(self, number: int, array: np.ndarray, address: int) -> None:
        assert array.flags.c_contiguous
        self.synchronize(number)
        self._found(address, array.nbytes)
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def copy(self, number: int, target: int, source: int, nbytes: int) -> None:
        assert self.device_of(target) == self.device_of(source) == number == self._thread.number
        self._queue.append(lambda: ctypes.memmove(target, source, nbytes))

    def copy_from(self, number: int, target: int, other: int, source: int, nbytes: int) -> None:
        assert (self.device_of(target), self.device_of(source)) == (number, other)
        assert number == self._thread.number != other
        self._queue.append(lambda: ctypes.memmove(target, source, nbytes))

    def clear(self, number: int, address: int, nbytes: int) -> None:
        self._queue.append(lambda: ctypes.memset(address, 0, nbytes))

    def kernel(self, number: int, text: str, name: str, parameters: Sequence[Parameter]) -> Any:
        return text, name, tuple(parameters)

    def launch(
        self,
        number: int,
        kernel: Any,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: int,
        inside: Sequence[int] = (),
    ) -> None:
        """With `inside`, an address for each argument: a pointer's is in its memory, where pointer and index
        lead together.
        """
        assert number == self._thread.number
        text, name, parameters = kernel
        self.launches.append(name)
        places = (ctypes.c_int64 * len(parameters)).from_address(arguments)
        given = [
            self._argument(number, parameter, place, of)
            for parameter, place, of in zip_longest(parameters, places, inside)
        ]
        self._queue.append(lambda: simulate(text, name, parameters, grid, block, [make() for make in given]))

    def _argument(
        self, number: int, parameter: Parameter, place: int, inside: int | None
    ) -> Callable[[], Any]:
        if parameter.kind == "pointer":
            address = ctypes.c_int64.from_address(place).value
            of = address if inside is None else inside
            assert self.device_of(of) == number, "a kernel is given memory of another device"
            return lambda: self._pointer(address, parameter.dtype, of)
        dtype = np.dtype(np.int64) if parameter.kind == "integer" else parameter.dtype
        value = np.frombuffer(ctypes.string_at(place, dtype.itemsize), dtype)[0]
        return lambda: value

    def _found(self, address: int, nbytes: int) -> np.ndarray:
        for start, memory in self.allocations.items():
            if start <= address and address + nbytes <= start + memory.nbytes:
                return memory
        raise AssertionError(f"{nbytes} bytes at {address} aren't those of one allocation")

    def _pointer(self, address: int, dtype: np.dtype, inside: int) -> Memory:
        memory = self._found(inside, 0)
        dtype = np.dtype(np.uint8) if dtype == np.bool_ else dtype
        offset, rest = divmod(address - memory.ctypes.data, dtype.itemsize)
        assert not rest, "a pointer is not aligned to its elements"
        return Memory(memory.view(dtype), offset)

    def library(self, number: int, kind: type[Any]) -> Any:
        loaded = self.libraries.get(kind)
        if loaded is None:
            return None
        if (number, kind) not in self._opened:
            self._opened[number, kind] = open_library(kind, loaded, self.stream(number))
        return self._opened[number, kind]

    def program(
        self, number: int, values: int, calls: Sequence[Call], alignments: Mapping[int, bool]
    ) -> FakeProgram:
        return FakeProgram(self, number, values, calls, alignments)

    def refuse(self, status: int) -> NoReturn:
        raise AssertionError(status)

    def multiplies(self, number: int) -> bool:
        return self.has_library

    def multiply(self, number: int, gemm: Gemm, first: int, second: int, result: int) -> None:
        self.products.append(gemm)
        self._queue.append(lambda: multiply(gemm, first, second, result, self._found))

    def synchronize(self, number: int) -> None:
        self.synchronized += 1
        self._run(number, self._given(number))

    def _given(self, number: int) -> int:
        return self._done[number] + len(self._queues[number])

    def _run(self, number: int, until: int) -> None:
        """Do a device's work, up to that which was given to it as the last of so many."""
        with self._running:  # the simulator has one thread at a time
            while self._done[number] < until:
                self._done[number] += 1
                self._queues[number].pop(0)()

    def synchronize_all(self, number: int) -> None:
        self.synchronize(number)

    def let_wait(self, number: int, stream: int) -> None:
        assert number == self._thread.number  # an event is recorded in its own context
        self.waits.append(("lets wait", stream))
        self._order(number, stream - 1000)

    def wait_for(self, number: int, stream: int) -> None:
        other = stream - 1000
        assert self._thread.number == (other if 0 <= other < self.count() else number)
        self.waits.append(("waits for", stream))
        self._order(stream - 1000, number)

    def _order(self, first: int, second: int) -> None:
        """What is given to one device from now on is done after all that was given to another."""
        if first != second and {first, second} <= set(range(self.count())):
            count = self._given(first)
            self._queues[second].append(lambda: self._run(first, count))


class FakeProgram:
    """Calls made one by one."""

    def __init__(
        self,
        driver: FakeDriver,
        number: int,
        values: int,
        calls: Sequence[Call],
        alignments: Mapping[int, bool],
    ) -> None:
        self._driver, self._number, self._values = driver, number, values
        self._calls, self._alignments = calls, alignments
        self._process = os.getpid()

    def repeat(self, *given: int) -> None:
        raise AssertionError("no run has asked for it")

    def run(self, *given: int) -> int:
        assert len(given) == self._values
        if os.getpid() != self._process:
            return FORKED
        every = (0, *given)
        if any((every[which] % VECTOR_BYTES != 0) != bent for which, bent in self._alignments.items()):
            return UNALIGNED
        self._driver.use(self._number)
        for kernel, grid, block, arguments in self._calls:
            values = array("q", [every[which] + added for which, added in arguments])
            if kernel is None:
                self._driver.clear(self._number, values[0], grid[0])
                continue
            first = values.buffer_info()[0]
            places = array("q", [first + 8 * k for k in range(len(values))])
            inside = [every[which] for which, _ in arguments]
            self._driver.launch(self._number, kernel, grid, block, places.buffer_info()[0], inside)
        return 0


def multiply(
    gemm: Gemm, first: int, second: int, result: int, found: Callable[[int, int], np.ndarray]
) -> None:
    """What cuBLAS does with these arguments, by NumPy; `found` is asked for the memory of all it touches."""
    itemsize = gemm.dtype.itemsize

    def stack(address: int, leading: int, stride: int, rows: int, columns: int) -> np.ndarray:
        assert min(rows, columns, gemm.inner, gemm.products) > 0 and stride >= 0 and not address % itemsize
        assert leading >= rows, "BLAS: columns overlap"
        length = (gemm.products - 1) * stride + (columns - 1) * leading + rows
        found(address, length * itemsize)
        memory = np.ndarray(length, gemm.dtype, (ctypes.c_char * (length * itemsize)).from_address(address))
        strides = (stride * itemsize, itemsize, leading * itemsize)
        return np.lib.stride_tricks.as_strided(memory, (gemm.products, rows, columns), strides)

    def operand(which: int, address: int, rows: int, columns: int) -> np.ndarray:
        place = address, gemm.leading[which], gemm.strides[which]
        if gemm.transposed[which]:
            return stack(*place, columns, rows).swapaxes(1, 2)
        return stack(*place, rows, columns)

    a = operand(0, first, gemm.rows, gemm.inner)
    b = operand(1, second, gemm.inner, gemm.columns)
    assert gemm.products == 1 or gemm.strides[2] >= gemm.columns * gemm.leading[2], "results overlap"
    stack(result, gemm.leading[2], gemm.strides[2], gemm.rows, gemm.columns)[...] = a @ b


@contextmanager
def fake_gpus(limit: int = 1 << 24) -> Iterator[FakeDriver]:
    """Two GPUs for as long as this lasts; nothing of them is left afterwards."""
    driver = FakeDriver(limit)
    _plans.clear()  # those of a real GPU of the same name
    device.install(driver)
    try:
        yield driver
    finally:
        device.install(None)
        devices.use.several = False
        follow_devices(False)
        _plans.clear()
        cuda_copies._kept.clear()
        cuda_scatter._kept.clear()
