"""The driver of NVIDIA's GPUs, through cuda.bindings: loaded when a GPU is first named.

placement.py installs it for runtime/device.py. Opens with cuda.bindings, so nothing may import
this file but where a GPU is asked for.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np
from cuda.bindings import driver as cuda

from toonygrad.codegen.cpu import Parameter
from toonygrad.runtime.cuda_cache import obtain_code
from toonygrad.runtime.cuda_launch import FUNCTIONS, Program, native_runner
from toonygrad.runtime.cuda_libraries import Cublas, open_library
from toonygrad.runtime.cuda_transfers import Transfers
from toonygrad.runtime.driver import Call, DeviceMemoryError, DeviceUnavailable, Driver, Gemm

_L = TypeVar("_L")

# The least driver: of CUDA 12.0, for the PTX we write.
OLDEST = 12000


class _Place(NamedTuple):
    """One GPU, opened."""

    context: Any
    stream: Any
    handle: int  # of the stream
    transfers: Transfers


def _checked(result: Any) -> Any:
    """What a function of the driver answers beside success.

    Raises
    ------
    DeviceMemoryError
        There is no memory left.
    RuntimeError
        Any other error, in the driver's words.
    """
    status, *answer = result
    if status:
        if status == cuda.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise DeviceMemoryError("CUDA: out of memory")
        raise RuntimeError(f"CUDA: {_words(status)}")
    return answer[0] if len(answer) == 1 else tuple(answer)


def _words(status: Any) -> str:
    _, text = cuda.cuGetErrorString(status)
    return f"{status.name}: {text.decode() if text else 'unknown'}"


class CudaDriver(Driver):
    """NVIDIA's driver. It uses the primary contexts, as torch, CuPy and JAX do, and a stream of its own.

    Raises
    ------
    DeviceUnavailable
        There is no GPU, no driver, or one too old.
    """

    def __init__(self) -> None:
        try:
            (status,) = cuda.cuInit(0)
        except RuntimeError as error:  # libcuda isn't there
            raise DeviceUnavailable(f"NVIDIA's driver isn't installed on this machine ({error})") from None
        if status:
            raise DeviceUnavailable(f"NVIDIA's driver has no GPU to use: {_words(status)}")
        version = _checked(cuda.cuDriverGetVersion())
        if version < OLDEST:
            raise DeviceUnavailable(
                f"NVIDIA's driver is too old: it is for CUDA {version // 1000}.{version % 1000 // 10}, "
                f"and {OLDEST // 1000}.0 is needed"
            )
        self._count = int(_checked(cuda.cuDeviceGetCount()))
        self._places: dict[int, _Place] = {}
        self._architectures: dict[int, str] = {}
        self._connected: set[tuple[int, int]] = set()
        self._opening = threading.Lock()
        self._native: tuple[Mapping[str, int], Callable[..., int]] | None = None
        self._libraries: dict[tuple[int, type], Any] = {}
        self._opening_library = threading.Lock()

    def count(self) -> int:
        """How many GPUs there are."""
        return self._count

    def architecture(self, number: int) -> str:
        """The compute capability, as "sm_90"."""
        found = self._architectures.get(number)
        if found is None:
            attribute = cuda.CUdevice_attribute
            device = _checked(cuda.cuDeviceGet(number))
            major, minor = (
                _checked(cuda.cuDeviceGetAttribute(which, device))
                for which in (
                    attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                    attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                )
            )
            found = self._architectures[number] = f"sm_{major}{minor}"
        return found

    def _place(self, number: int) -> _Place:
        place = self._places.get(number)
        if place is None:
            with self._opening:
                place = self._places.get(number)
                if place is None:
                    place = self._places[number] = self._opened(number)
        return place

    def _opened(self, number: int) -> _Place:
        context = _checked(cuda.cuDevicePrimaryCtxRetain(_checked(cuda.cuDeviceGet(number))))
        _checked(cuda.cuCtxSetCurrent(context))
        stream = _checked(cuda.cuStreamCreate(cuda.CUstream_flags.CU_STREAM_NON_BLOCKING.value))
        return _Place(context, stream, int(stream), Transfers(context, stream, _checked))

    def stream(self, number: int) -> int:
        """The handle of the stream all our work goes to."""
        return self._place(number).handle

    def device_of(self, address: int) -> int:
        """The GPU on which another library's memory lies."""
        which = cuda.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        return int(_checked(cuda.cuPointerGetAttribute(which, address))) if address else 0

    def use(self, number: int) -> None:
        """Make the GPU's primary context the thread's current one."""
        place = self._places.get(number) or self._place(number)
        if cuda.cuCtxSetCurrent(place.context)[0]:
            _checked(cuda.cuCtxSetCurrent(place.context))

    # -- memory ----------------------------------------------------------------------------------------------

    def allocate(self, number: int, nbytes: int) -> int:
        """New memory, from the driver's own pool."""
        return int(_checked(cuda.cuMemAllocAsync(nbytes, self._place(number).stream)))

    def free(self, number: int, address: int) -> None:
        """Give memory back, in the order of the stream."""
        _checked(cuda.cuMemFreeAsync(address, self._place(number).stream))

    def free_bytes(self, number: int) -> int:
        """Bytes free on the GPU."""
        self.use(number)
        return int(_checked(cuda.cuMemGetInfo())[0])

    def upload(self, number: int, address: int, array: np.ndarray) -> None:
        """Copy to the GPU."""
        self._place(number).transfers.upload(address, array.ctypes.data, array.nbytes)

    def download(self, number: int, array: np.ndarray, address: int) -> None:
        """Copy from the GPU, and wait for it."""
        self._place(number).transfers.download(array.ctypes.data, address, array.nbytes)

    def copy(self, number: int, target: int, source: int, nbytes: int) -> None:
        """Copy within a GPU."""
        _checked(cuda.cuMemcpyAsync(target, source, nbytes, self._place(number).stream))

    def copy_from(self, number: int, target: int, other: int, source: int, nbytes: int) -> None:
        """Copy from another GPU: directly where there is a way, else through the host."""
        here, there = self._place(number), self._place(other)
        self._connect(number, other)
        copy = cuda.cuMemcpyPeerAsync(target, here.context, source, there.context, nbytes, here.stream)
        _checked(copy)

    def _connect(self, number: int, other: int) -> None:
        """Let a GPU reach the memory that the driver gives us on another, once, where it can."""
        if (number, other) in self._connected:
            return
        self._connected.add((number, other))
        here, there = (_checked(cuda.cuDeviceGet(each)) for each in (number, other))
        if _checked(cuda.cuDeviceCanAccessPeer(here, there)):
            access = cuda.CUmemAccessDesc()
            access.location.type = cuda.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
            access.location.id = number
            access.flags = cuda.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE
            _checked(cuda.cuMemPoolSetAccess(_checked(cuda.cuDeviceGetDefaultMemPool(there)), [access], 1))

    def clear(self, number: int, address: int, nbytes: int) -> None:
        """Zeros."""
        _checked(cuda.cuMemsetD8Async(address, 0, nbytes, self._place(number).stream))

    # -- kernels ---------------------------------------------------------------------------------------------

    def kernel(self, number: int, text: str, name: str, parameters: Sequence[Parameter]) -> Any:
        """A kernel, from the disk cache or compiled, loaded for the rest of the process."""
        self.use(number)
        code = obtain_code(text, name, parameters, self.architecture(number))
        module = _checked(cuda.cuModuleLoadData(code + b"\0"))  # PTX ends with a zero
        return _checked(cuda.cuModuleGetFunction(module, name.encode()))

    def launch(
        self,
        number: int,
        kernel: Any,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: int,
    ) -> None:
        """Launch a kernel; its arguments have been read when this returns."""
        stream = self._places[number].stream
        (status,) = cuda.cuLaunchKernel(kernel, *grid, *block, 0, stream, arguments, 0)
        if status:
            _checked((status,))

    def program(
        self, number: int, values: int, calls: Sequence[Call], alignments: Mapping[int, bool]
    ) -> Program:
        """Calls that are made by a native function."""
        if self._native is None:
            functions = _addresses(FUNCTIONS)
            self._native = functions, native_runner(functions)
        place = self._place(number)
        return Program(*self._native, int(place.context), place.handle, values, calls, alignments)

    def refuse(self, status: int) -> NoReturn:
        """Raise what the driver said to a program."""
        if status < 0:
            raise AssertionError(f"a program was given what it doesn't take: {status}")
        _checked((cuda.CUresult(status),))
        raise AssertionError("a program that did what it should is no error")

    # -- libraries -------------------------------------------------------------------------------------------

    def library(self, number: int, kind: type[_L]) -> _L | None:
        """The library, opened on our stream when this is first asked."""
        which: Any = kind  # a Library, of which runtime/driver.py knows nothing
        key = (number, which)
        if key not in self._libraries:
            with self._opening_library:
                if key not in self._libraries:
                    loaded = which.load()
                    found = None if loaded is None else open_library(which, loaded, self.stream(number))
                    self._libraries[key] = found
        return self._libraries[key]

    def multiplies(self, number: int) -> bool:
        """Whether cuBLAS is installed and fits the driver."""
        return self.library(number, Cublas) is not None

    def multiply(self, number: int, gemm: Gemm, first: int, second: int, result: int) -> None:
        """Give products to cuBLAS."""
        cublas = self.library(number, Cublas)
        assert cublas is not None
        cublas.multiply(gemm, first, second, result)

    # -- order -----------------------------------------------------------------------------------------------

    def synchronize(self, number: int) -> None:
        """Wait for our stream."""
        _checked(cuda.cuStreamSynchronize(self._place(number).stream))

    def synchronize_all(self, number: int) -> None:
        """Wait for all streams of the GPU."""
        self.use(number)
        _checked(cuda.cuCtxSynchronize())

    def let_wait(self, number: int, stream: int) -> None:
        """Another stream waits for ours."""
        with _event() as event:
            _checked(cuda.cuEventRecord(event, self._place(number).stream))
            _checked(cuda.cuStreamWaitEvent(cuda.CUstream(stream), event, 0))

    def wait_for(self, number: int, stream: int) -> None:
        """Our stream waits for another."""
        with _event() as event:
            _checked(cuda.cuEventRecord(event, cuda.CUstream(stream)))
            _checked(cuda.cuStreamWaitEvent(self._place(number).stream, event, 0))


def _addresses(names: Sequence[str]) -> dict[str, int]:
    """Where functions of the driver are in this process."""
    library = ctypes.CDLL("libcuda.so.1" if sys.platform != "win32" else "nvcuda.dll")
    return {name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in names}


@contextmanager
def _event() -> Iterator[Any]:
    event = _checked(cuda.cuEventCreate(cuda.CUevent_flags.CU_EVENT_DISABLE_TIMING.value))
    try:
        yield event
    finally:
        _checked(cuda.cuEventDestroy(event))  # the driver keeps it as long as a stream waits for it
