"""cuSOLVER, and cuBLAS's factorizations of many small matrices, through ctypes.

cuda_stacks.py calls them. They have LAPACK's order, columns one after another; in it a row-major matrix is
its transpose. Imports nothing of CUDA at the top.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from toonygrad import dtypes
from toonygrad.runtime.cuda_libraries import Cublas, Library, Unusable
from toonygrad.runtime.device import Device, DeviceBuffer
from toonygrad.runtime.driver import DeviceMemoryError

_ADDRESS, _INT, _NUMBER, _SIZE, _LETTER = (
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t),
    ctypes.c_byte,
)
# Of cusolverStatus_t, cusolverEigMode_t, cublasFillMode_t, cublasOperation_t and cudaDataType.
_ALLOC_FAILED = 2
NO_VECTORS, VECTORS = 0, 1
LOWER, UPPER = 0, 1
AS_IT_IS, TRANSPOSED = 0, 1
TYPES = {dtypes.float32: 0, dtypes.float64: 1, dtypes.complex64: 4, dtypes.complex128: 5}
_LETTERS = {dtypes.float32: "S", dtypes.float64: "D", dtypes.complex64: "C", dtypes.complex128: "Z"}
_NAMES = {
    1: "CUSOLVER_STATUS_NOT_INITIALIZED",
    3: "CUSOLVER_STATUS_INVALID_VALUE",
    4: "CUSOLVER_STATUS_ARCH_MISMATCH",
    6: "CUSOLVER_STATUS_EXECUTION_FAILED",
    7: "CUSOLVER_STATUS_INTERNAL_ERROR",
    8: "CUSOLVER_STATUS_MATRIX_TYPE_NOT_SUPPORTED",
    9: "CUSOLVER_STATUS_NOT_SUPPORTED",
    31: "CUSOLVER_STATUS_INVALID_WORKSPACE",
}

WORD, _BYTES = np.dtype(np.int32), np.dtype(np.uint8)


# -- the libraries -------------------------------------------------------------------------------------------

# The functions of any data type: their own arguments when they are asked for a workspace; where one more is
# given when they run, its place.
_MATRIX, _ARRAY = (_INT, _ADDRESS, _NUMBER), (_INT, _ADDRESS)
_FUNCTIONS: dict[str, tuple[tuple[Any, ...], int | None]] = {
    "Xpotrf": ((_INT, _NUMBER, *_MATRIX, _INT), None),
    "Xgetrf": ((_NUMBER, _NUMBER, *_MATRIX, _INT), 5),
    "Xgeqrf": ((_NUMBER, _NUMBER, *_MATRIX, *_ARRAY, _INT), None),
    "Xsyevd": ((_INT, _INT, _NUMBER, *_MATRIX, *_ARRAY, _INT), None),
    "XsyevBatched": ((_INT, _INT, _NUMBER, *_MATRIX, *_ARRAY, _INT), None),
    "Xgesvd": ((_LETTER, _LETTER, _NUMBER, _NUMBER, *_MATRIX, *_ARRAY, *_MATRIX, *_MATRIX, _INT), None),
    "Xgeev": ((_INT, _INT, _NUMBER, *_MATRIX, *_ARRAY, *_MATRIX, *_MATRIX, _INT), None),
}


class Cusolver(Library):
    """A handle of cuSOLVER, and its functions bound.

    Attributes
    ----------
    places : lists of addresses on the GPU, by the first address, the last and how many there are
    """

    name = "cusolver"
    functions: tuple[str, ...] = ("Xpotrf", "Xgetrf", "Xgeqrf", "Xsyevd", "XsyevBatched", "Xgesvd")

    def __init__(self, library: Any, stream: int) -> None:
        self._library = library
        library.cusolverDnCreate.argtypes = (_ADDRESS,)
        library.cusolverDnSetStream.argtypes = (_ADDRESS, _ADDRESS)
        library.cusolverDnCreateParams.argtypes = (_ADDRESS,)
        for name in self.functions:
            own, more = _FUNCTIONS[name]
            many = (_NUMBER,) if name.endswith("Batched") else ()
            sizes = getattr(library, f"cusolverDn{name}_bufferSize")
            sizes.argtypes = (_ADDRESS, _ADDRESS, *own, _ADDRESS, _ADDRESS, *many)
            if more is not None:
                own = (*own[:more], _ADDRESS, *own[more:])
            work = (_ADDRESS, _SIZE, _ADDRESS, _SIZE, _ADDRESS)
            getattr(library, f"cusolverDn{name}").argtypes = (_ADDRESS, _ADDRESS, *own, *work, *many)
        library.cusolverDnXgetrs.argtypes = (
            *(_ADDRESS, _ADDRESS, _INT, _NUMBER, _NUMBER, *_MATRIX, _ADDRESS, *_MATRIX),
            _ADDRESS,
        )
        for dtype, letter in _LETTERS.items():
            name = _orthogonal(dtype)
            whole = (_ADDRESS, _INT, _INT, _INT, _ADDRESS, _INT, _ADDRESS)
            getattr(library, f"{name}_bufferSize").argtypes = (*whole, _ADDRESS)
            getattr(library, name).argtypes = (*whole, _ADDRESS, _INT, _ADDRESS)
            solve = getattr(library, f"cusolverDn{letter}getrs")
            solve.argtypes = (_ADDRESS, *(_INT,) * 3, _ADDRESS, _INT, _ADDRESS, _ADDRESS, _INT, _ADDRESS)
            batched = getattr(library, f"cusolverDn{letter}potrfBatched")
            batched.argtypes = (_ADDRESS, _INT, _INT, _ADDRESS, _INT, _ADDRESS, _INT)
            name, array = f"cusolverDn{letter}gesvdjBatched", (_ADDRESS, _INT)
            rotated = (_ADDRESS, _INT, _INT, _INT, *array, _ADDRESS, *array, *array)
            getattr(library, f"{name}_bufferSize").argtypes = (*rotated, _ADDRESS, _ADDRESS, _INT)
            getattr(library, name).argtypes = (*rotated, _ADDRESS, _INT, _ADDRESS, _ADDRESS, _INT)
        library.cusolverDnCreateGesvdjInfo.argtypes = (_ADDRESS,)
        self._handle, self._params = ctypes.c_void_p(), ctypes.c_void_p()
        status = library.cusolverDnCreate(ctypes.byref(self._handle))
        if status and status != _ALLOC_FAILED:
            raise Unusable(_NAMES.get(status, str(status)))
        self._check(status)
        self._check(library.cusolverDnSetStream(self._handle, stream))
        self._check(library.cusolverDnCreateParams(ctypes.byref(self._params)))
        self._rotations = ctypes.c_void_p()
        self._check(library.cusolverDnCreateGesvdjInfo(ctypes.byref(self._rotations)))
        self._lock = threading.Lock()
        self.places: dict[tuple[int, int, int], DeviceBuffer] = {}

    def run(
        self,
        device: Device,
        name: str,
        calls: Sequence[tuple[Any, ...]],
        info: DeviceBuffer,
        more: Sequence[int] = (),
        many: int | None = None,
    ) -> None:
        """Calls of one function for matrices of one shape, each with its word in `info`.

        Parameters
        ----------
        calls : the function's own arguments
        more : for each the argument that only running takes
        many : of a function for stacks, how many matrices

        Raises
        ------
        DeviceMemoryError
            There is no memory left to work in.
        RuntimeError
            Any other error, by its name.
        """
        function, place = getattr(self._library, f"cusolverDn{name}"), _FUNCTIONS[name][1]
        tail = () if many is None else (many,)
        with self._lock, self._room(device, name, calls[0], tail) as given:
            for number, call in enumerate(calls):
                if place is not None:
                    call = (*call[:place], more[number], *call[place:])
                word = info.address + number * WORD.itemsize
                self._check(function(self._handle, self._params, *call, *given, word, *tail))

    @contextmanager
    def _room(
        self, device: Device, name: str, call: tuple[Any, ...], tail: tuple[Any, ...]
    ) -> Iterator[tuple[int, int, int, int]]:
        """Memory for a function to work in, on the GPU and on the host: places and sizes."""
        there, here = ctypes.c_size_t(), ctypes.c_size_t()
        asked = (*call, ctypes.byref(there), ctypes.byref(here), *tail)
        sizes = getattr(self._library, f"cusolverDn{name}_bufferSize")
        self._check(sizes(self._handle, self._params, *asked))
        work = device.allocate((max(there.value, 1),), _BYTES)
        own = np.empty(max(here.value, 1), _BYTES)
        yield work.address, there.value, own.ctypes.data, here.value
        if here.value:  # the GPU may still read there
            device.synchronize()

    def solve(
        self,
        dtype: np.dtype,
        form: int,
        size: tuple[int, int],
        places: Sequence[tuple[int, int, int]],
        info: DeviceBuffer,
    ) -> None:
        """Systems of factored matrices, of `size` equations and right-hand sides: places of the factors, of
        int32 pivots, and of right-hand sides, which solutions replace."""
        function, rows = getattr(self._library, f"cusolverDn{_LETTERS[dtype]}getrs"), size[0]
        with self._lock:
            for matrix, pivots, sides in places:
                given = (form, *size, matrix, rows, pivots, sides, rows, info.address)
                self._check(function(self._handle, *given))

    def solve_large(
        self,
        dtype: np.dtype,
        form: int,
        size: tuple[int, int],
        places: Sequence[tuple[int, int, int]],
        info: DeviceBuffer,
    ) -> None:
        """As `solve`, of any size; pivots are int64."""
        kind, rows = TYPES[dtype], size[0]
        with self._lock:
            for matrix, pivots, sides in places:
                given = (form, *size, kind, matrix, rows, pivots, kind, sides, rows, info.address)
                self._check(self._library.cusolverDnXgetrs(self._handle, self._params, *given))

    def cholesky_of_many(
        self, dtype: np.dtype, triangle: int, size: int, places: int, info: DeviceBuffer, many: int
    ) -> None:
        """Cholesky factors in place of small matrices, of which `places` is the address of the addresses."""
        function = getattr(self._library, f"cusolverDn{_LETTERS[dtype]}potrfBatched")
        with self._lock:
            self._check(function(self._handle, triangle, size, places, size, info.address, many))

    def rotated(
        self,
        device: Device,
        dtype: np.dtype,
        job: int,
        size: tuple[int, int],
        places: tuple[int, int, int, int],
        info: DeviceBuffer,
        many: int,
    ) -> None:
        """Singular values of small matrices, by rotations: `places` of the matrices, of the values, and of
        vectors of the one side and the other."""
        name, length, (height, width) = f"cusolverDn{_LETTERS[dtype]}gesvdjBatched", ctypes.c_int(), size
        matrices, values, first, second = places
        given = (self._handle, job, height, width, matrices, height, values, first, height, second, width)
        with self._lock:
            asked = (*given, ctypes.byref(length), self._rotations, many)
            self._check(getattr(self._library, f"{name}_bufferSize")(*asked))
            work = device.allocate((max(length.value, 1),), dtype)
            run = (*given, work.address, length.value, info.address, self._rotations, many)
            self._check(getattr(self._library, name)(*run))

    def orthogonal(
        self,
        device: Device,
        dtype: np.dtype,
        size: tuple[int, int, int],
        calls: Sequence[tuple[int, int]],
        info: DeviceBuffer,
    ) -> None:
        """Matrices of `size` rows, columns and reflectors made of their reflectors in place, and scales."""
        name, length = _orthogonal(dtype), ctypes.c_int()
        function, rows = getattr(self._library, name), size[0]
        with self._lock:
            asked = (self._handle, *size, calls[0][0], rows, calls[0][1], ctypes.byref(length))
            self._check(getattr(self._library, f"{name}_bufferSize")(*asked))
            work = device.allocate((max(length.value, 1),), dtype)
            for matrix, scales in calls:
                given = (*size, matrix, rows, scales, work.address, length.value, info.address)
                self._check(function(self._handle, *given))

    def _check(self, status: int) -> None:
        if status == _ALLOC_FAILED:
            raise DeviceMemoryError("cuSOLVER: out of memory")
        if status:
            raise RuntimeError(f"cuSOLVER: {_NAMES.get(status, status)}")


class CusolverEigen(Cusolver):
    """cuSOLVER with what CUDA 12.8 added: eigenvalues of matrices that aren't Hermitian."""

    functions = ("Xgeev",)


class CublasBatched(Cublas):
    """cuBLAS's LU factorization of many small matrices, solutions by it, and QR factorization.

    Attributes
    ----------
    places : as of `Cusolver`
    """

    def __init__(self, library: Any, stream: int) -> None:
        super().__init__(library, stream)
        self.places: dict[tuple[int, int, int], DeviceBuffer] = {}
        for letter in _LETTERS.values():
            factor = getattr(library, f"cublas{letter}getrfBatched")
            factor.argtypes = (_ADDRESS, _INT, _ADDRESS, _INT, _ADDRESS, _ADDRESS, _INT)
            solve = getattr(library, f"cublas{letter}getrsBatched")
            matrices = (_ADDRESS, _INT)
            solve.argtypes = (
                *(_ADDRESS, _INT, _INT, _INT, *matrices, _ADDRESS, *matrices),
                *(_ADDRESS, _INT),
            )
            reflect = getattr(library, f"cublas{letter}geqrfBatched")
            reflect.argtypes = (_ADDRESS, _INT, _INT, *matrices, _ADDRESS, _ADDRESS, _INT)

    def factor(self, dtype: np.dtype, size: int, places: int, pivots: int, info: int, many: int) -> None:
        """LU factors in place of matrices, of which `places` is the address of the addresses."""
        function = getattr(self._library, f"cublas{_LETTERS[dtype]}getrfBatched")
        self._check(function(self._handle, size, places, size, pivots, info, many))

    def solve(
        self,
        dtype: np.dtype,
        form: int,
        size: tuple[int, int],
        matrices: int,
        pivots: int,
        results: int,
        many: int,
    ) -> None:
        """Systems of factored matrices; right-hand sides and solutions lie at the addresses in `results`."""
        function, wrong = getattr(self._library, f"cublas{_LETTERS[dtype]}getrsBatched"), ctypes.c_int()
        rows = size[0]
        given = (*size, matrices, rows, pivots, results, rows, ctypes.byref(wrong), many)
        self._check(function(self._handle, form, *given))

    def reflect(self, dtype: np.dtype, size: tuple[int, int], matrices: int, scales: int, many: int) -> None:
        """QR factors in place of matrices, and scales of reflectors, at the addresses at these places."""
        function, wrong = getattr(self._library, f"cublas{_LETTERS[dtype]}geqrfBatched"), ctypes.c_int()
        self._check(function(self._handle, *size, matrices, size[0], scales, ctypes.byref(wrong), many))


def _orthogonal(dtype: np.dtype) -> str:
    return f"cusolverDn{_LETTERS[dtype]}{'ungqr' if dtype.kind == 'c' else 'orgqr'}"
