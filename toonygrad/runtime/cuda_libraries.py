"""NVIDIA's libraries through ctypes: found and loaded when a GPU first has work for them; cuBLAS.

runtime/cuda.py has one handle of each library for each GPU. Imports nothing of CUDA at the top.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from functools import cache
from typing import Any, ClassVar, TypeVar

import numpy as np

from toonygrad.runtime.driver import DeviceMemoryError, Gemm

# Of cublasStatus_t, cublasMath_t and cublasOperation_t.
_ALLOC_FAILED = 3
_DEFAULT_MATH = 0
_AS_IT_IS, _TRANSPOSED = 0, 1

_LETTERS = {"float32": "S", "float64": "D", "complex64": "C", "complex128": "Z"}

_ADDRESS, _NUMBER = ctypes.c_void_p, ctypes.c_int64


@cache
def load_library(name: str) -> Any:
    """The library: of pip's packages, of conda's or the system's; None where there is none."""
    try:
        from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib
    except ImportError:  # the extra `cuda` brings it, cuda-bindings alone needn't
        return None
    try:
        found = load_nvidia_dynamic_lib(name)
    except DynamicLibNotFoundError:
        return None
    return ctypes.CDLL(found.abs_path)


class Unusable(RuntimeError):
    """The library can't be used on this machine."""


class Library(ABC):
    """Functions of one library, bound, and a handle where it has such.

    Parameters
    ----------
    library : what `ctypes` loaded
    stream : where the work goes
    """

    name: ClassVar[str]

    @abstractmethod
    def __init__(self, library: Any, stream: int) -> None: ...

    @classmethod
    def load(cls) -> Any:
        """What the constructor takes; None where it isn't installed."""
        return load_library(cls.name)


_L = TypeVar("_L", bound=Library)


def open_library(kind: type[_L], library: Any, stream: int) -> _L | None:
    """The library on the current GPU and this stream of it; None where this one doesn't work there.

    Raises
    ------
    DeviceMemoryError
        The GPU has no memory left for it.
    """
    try:
        return kind(library, stream)
    except (AttributeError, Unusable):  # an older one hasn't all the functions
        return None


class Cublas(Library):
    """A handle of cuBLAS, and its functions bound."""

    name = "cublas"

    def __init__(self, library: Any, stream: int) -> None:
        self._library = library
        self._products = {
            np.dtype(name): _Products(library, letter, np.dtype(name)) for name, letter in _LETTERS.items()
        }
        library.cublasCreate_v2.argtypes = (_ADDRESS,)
        library.cublasSetStream_v2.argtypes = (_ADDRESS, _ADDRESS)
        library.cublasSetMathMode.argtypes = (_ADDRESS, ctypes.c_int)
        library.cublasGetStatusName.argtypes = (ctypes.c_int,)
        library.cublasGetStatusName.restype = ctypes.c_char_p
        handle = ctypes.c_void_p()
        status = library.cublasCreate_v2(ctypes.byref(handle))
        if status and status != _ALLOC_FAILED:
            raise Unusable(self._words(status))
        self._check(status)
        self._handle = handle
        self._check(library.cublasSetStream_v2(handle, stream))
        # All bits of float32: the other modes round the operands to TF32 or less.
        self._check(library.cublasSetMathMode(handle, _DEFAULT_MATH))

    def multiply(self, gemm: Gemm, first: int, second: int, result: int) -> None:
        """Give the products to the stream; memory at these addresses.

        Raises
        ------
        DeviceMemoryError
            cuBLAS has no memory left to work in.
        RuntimeError
            Any other error, by its name.
        """
        self._check(self._products[gemm.dtype].run(self._handle, gemm, first, second, result))

    def _check(self, status: int) -> None:
        if status == _ALLOC_FAILED:
            raise DeviceMemoryError("cuBLAS: out of memory")
        if status:
            raise RuntimeError(f"cuBLAS: {self._words(status)}")

    def _words(self, status: int) -> str:
        return self._library.cublasGetStatusName(status).decode()


class _Products:
    """The functions of one data type: of two matrices, and of stacks of them."""

    def __init__(self, library: Any, letter: str, dtype: np.dtype) -> None:
        self._one = getattr(library, f"cublas{letter}gemm_v2_64")
        self._stack = getattr(library, f"cublas{letter}gemmStridedBatched_64")
        matrix, number = (_ADDRESS, _NUMBER), _ADDRESS
        head = (_ADDRESS, ctypes.c_int, ctypes.c_int, _NUMBER, _NUMBER, _NUMBER)
        self._one.argtypes = (*head, number, *matrix, *matrix, number, *matrix)
        each = (*matrix, _NUMBER)
        self._stack.argtypes = (*head, number, *each, *each, number, *each, _NUMBER)
        # The factors of the product and of what the result held before, which is not read where that is zero.
        self._factors = np.array([1, 0], dtype)
        self._whole = self._factors.ctypes.data
        self._nothing = self._whole + dtype.itemsize

    def run(self, handle: Any, gemm: Gemm, first: int, second: int, result: int) -> int:
        """What cuBLAS answers."""
        forms = [_TRANSPOSED if each else _AS_IT_IS for each in gemm.transposed]
        head = (handle, *forms, gemm.rows, gemm.columns, gemm.inner)
        (a, b, c), whole, nothing = gemm.leading, self._whole, self._nothing
        if gemm.products == 1:
            return self._one(*head, whole, first, a, second, b, nothing, result, c)
        over_a, over_b, over_c = gemm.strides
        return self._stack(
            *head, whole, first, a, over_a, second, b, over_b, nothing, result, c, over_c, gemm.products
        )
