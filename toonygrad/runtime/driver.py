"""What a Device asks of the hardware: the Driver.

runtime/cuda.py is that of NVIDIA's GPUs, tests/fake_driver.py one whose memory is the host's. Imports nothing
of CUDA.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar

import numpy as np

from toonygrad.codegen.cpu import Parameter

# A subclass of cuda_libraries.Library.
_L = TypeVar("_L")


class DeviceUnavailable(RuntimeError):
    """There is no GPU to use, and why: what is missing and how to install it."""


class DeviceMemoryError(MemoryError):
    """A driver has no memory left: what a Device keeps for reuse is given up then, and it's asked again."""


class Gemm(NamedTuple):
    """Products of matrices in BLAS's words, in which columns lie one after another: result = first @ second.

    Attributes
    ----------
    dtype : of all three
    transposed : whether `first` and `second` are the transposes of what lies in memory
    rows, columns, inner : the result is rows × columns, of sums of `inner` terms
    leading : elements from a column in memory to the next, of first, second and result
    strides : elements from a matrix of the stack to the next; 0 where all products share one
    products : how many, of a stack
    """

    dtype: np.dtype
    transposed: tuple[bool, bool]
    rows: int
    columns: int
    inner: int
    leading: tuple[int, int, int]
    strides: tuple[int, int, int]
    products: int


class Call(NamedTuple):
    """One thing that a program does.

    Attributes
    ----------
    kernel : what `Driver.kernel` answered; None to write zeros, as many bytes as the grid's first side says
    grid, block : what it is launched on
    arguments : for each which of the values that a run is given, counted from 1, and what is added to it;
        value 0 is zero. Where zeros are written, their address
    """

    kernel: Any
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[tuple[int, int], ...]


# What a program answers that was written for memory aligned in another way, and did nothing.
UNALIGNED = -1
# What one answers that did what it should, and has been run so often that it is worth a call of its `repeat`.
REPEATED = -3
# What one answers in a forked child, where it can do nothing.
FORKED = -4


class Runnable(Protocol):
    """What `Driver.program` answers, to be held while it runs."""

    @property
    def run(self) -> Callable[..., int]:
        """Takes each value, hands over the calls: 0, UNALIGNED, REPEATED, or another status to `refuse`."""

    def repeat(self, *given: int) -> None:
        """Get ready for many more runs, after one on these values."""


class Driver(ABC):
    """What a Device asks of the hardware. All work goes to one stream of each device, in order.

    Every method may be called from any thread. Addresses are integers.
    """

    @abstractmethod
    def count(self) -> int:
        """How many devices there are."""

    @abstractmethod
    def architecture(self, number: int) -> str:
        """What kernels are compiled for, such as "sm_90"."""

    @abstractmethod
    def device_of(self, address: int) -> int:
        """The number of the device on which memory lies that another library allocated."""

    @abstractmethod
    def stream(self, number: int) -> int:
        """The handle of the device's stream, as DLPack and `__cuda_array_interface__` give it to others."""

    @abstractmethod
    def use(self, number: int) -> None:
        """Make the device the calling thread's current one, as every method below needs it."""

    @abstractmethod
    def allocate(self, number: int, nbytes: int) -> int:
        """The address of new memory.

        Raises
        ------
        DeviceMemoryError
            There is none left.
        """

    @abstractmethod
    def free(self, number: int, address: int) -> None:
        """Give memory back once the work given to the stream so far is done."""

    @abstractmethod
    def free_bytes(self, number: int) -> int:
        """Bytes that could be allocated."""

    @abstractmethod
    def upload(self, number: int, address: int, array: np.ndarray) -> None:
        """Copy a contiguous array to an address; the array may change as soon as this returns."""

    @abstractmethod
    def download(self, number: int, array: np.ndarray, address: int) -> None:
        """Fill a contiguous array from an address, once the work given to the stream so far is done."""

    @abstractmethod
    def copy(self, number: int, target: int, source: int, nbytes: int) -> None:
        """Copy from one address to another on the device."""

    @abstractmethod
    def copy_from(self, number: int, target: int, other: int, source: int, nbytes: int) -> None:
        """Copy to an address on the device from one on another, in the order of the former's stream."""

    @abstractmethod
    def clear(self, number: int, address: int, nbytes: int) -> None:
        """Fill memory with zeros."""

    @abstractmethod
    def kernel(self, number: int, text: str, name: str, parameters: Sequence[Parameter]) -> Any:
        """A generated kernel, compiled and loaded, to be held as long as it is launched."""

    @abstractmethod
    def launch(
        self,
        number: int,
        kernel: Any,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: int,
    ) -> None:
        """Launch a kernel; `arguments` is the address of an array of the addresses of its arguments."""

    @abstractmethod
    def program(
        self, number: int, values: int, calls: Sequence[Call], alignments: Mapping[int, bool]
    ) -> Runnable:
        """Calls that are handed over together, in order, again and again.

        Parameters
        ----------
        values : how many are given to each run
        alignments : for some of the values whether they are addresses that are no multiple of VECTOR_BYTES
        """

    @abstractmethod
    def refuse(self, status: int) -> NoReturn:
        """Raise what a program's status says.

        Raises
        ------
        DeviceMemoryError
            There is no memory left.
        RuntimeError
            Any other error.
        """

    @abstractmethod
    def library(self, number: int, kind: type[_L]) -> _L | None:
        """A library on the device's stream, loaded when this is first asked; None where there is none.

        Raises
        ------
        DeviceMemoryError
            There is no memory left for it.
        """

    @abstractmethod
    def multiplies(self, number: int) -> bool:
        """Whether there is a library for products of matrices, which is loaded when this is first asked.

        Raises
        ------
        DeviceMemoryError
            There is no memory left for it.
        """

    @abstractmethod
    def multiply(self, number: int, gemm: Gemm, first: int, second: int, result: int) -> None:
        """Products of the matrices at these addresses, by the library, in the precision of their data type.

        Raises
        ------
        DeviceMemoryError
            There is no memory left to work in.
        """

    @abstractmethod
    def synchronize(self, number: int) -> None:
        """Wait until everything given to the stream is done."""

    @abstractmethod
    def synchronize_all(self, number: int) -> None:
        """Wait until everything given to the device is done, on the streams of other libraries as well."""

    @abstractmethod
    def let_wait(self, number: int, stream: int) -> None:
        """Have another library's stream wait for what was given to the device's stream so far.

        The device is in use; for `wait_for` that of the other stream is: an event is its context's.
        """

    @abstractmethod
    def wait_for(self, number: int, stream: int) -> None:
        """Have the device's stream wait for what was given to another library's stream so far."""


class Forked:
    """Stands for the driver in a forked child, where CUDA can't work."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(
            "a GPU was used before this process was forked, and CUDA doesn't work in the child: "
            'start processes with multiprocessing.get_context("spawn")'
        )
