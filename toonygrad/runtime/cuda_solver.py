"""cuSOLVER, and cuBLAS's factorizations of many small matrices, through ctypes; stacks of matrices on a GPU.

cuda_factorizations.py says what recorded routines become of these. The libraries have LAPACK's order, columns
one after another; in it a row-major matrix is its transpose. What fails is found before a call returns, so
each waits for the GPU once. Imports nothing of CUDA at the top.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toonygrad import dtypes
from toonygrad.runtime.cuda_copies import copy_into
from toonygrad.runtime.cuda_libraries import Cublas, Library, Unusable
from toonygrad.runtime.device import Device, DeviceBuffer
from toonygrad.runtime.driver import DeviceMemoryError
from toonygrad.uop.shape import size_of

_ADDRESS, _INT, _NUMBER, _SIZE, _LETTER = (
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t),
    ctypes.c_byte,
)
# Of cusolverStatus_t, cusolverEigMode_t, cublasFillMode_t, cublasOperation_t and cudaDataType.
_ALLOC_FAILED = 2
_NO_VECTORS, _VECTORS = 0, 1
LOWER, UPPER = 0, 1
AS_IT_IS, TRANSPOSED = 0, 1
_TYPES = {dtypes.float32: 0, dtypes.float64: 1, dtypes.complex64: 4, dtypes.complex128: 5}
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

# Stacks of matrices up to this size go to the library in one call, larger ones one by one; of singular values
# what the library has for stacks takes no more.
MOST_BATCHED, MOST_ROTATED = 256, 32

_WORD, _BYTES = np.dtype(np.int32), np.dtype(np.uint8)


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
    """A handle of cuSOLVER, and its functions bound."""

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
        function = getattr(self._library, f"cusolverDn{name}")
        sizes = getattr(self._library, f"cusolverDn{name}_bufferSize")
        there, here, place = ctypes.c_size_t(), ctypes.c_size_t(), _FUNCTIONS[name][1]
        tail = () if many is None else (many,)
        with self._lock:
            asked = (*calls[0], ctypes.byref(there), ctypes.byref(here), *tail)
            self._check(sizes(self._handle, self._params, *asked))
            work = device.allocate((max(there.value, 1),), _BYTES)
            own = np.empty(max(here.value, 1), _BYTES)
            given = (work.address, there.value, own.ctypes.data, here.value)
            for number, call in enumerate(calls):
                if place is not None:
                    call = (*call[:place], more[number], *call[place:])
                word = info.address + number * _WORD.itemsize
                self._check(function(self._handle, self._params, *call, *given, word, *tail))
            if here.value:  # the GPU may still read there
                device.synchronize()

    def solve(self, calls: Sequence[tuple[Any, ...]], info: DeviceBuffer) -> None:
        """Systems of factored matrices."""
        with self._lock:
            for call in calls:
                self._check(self._library.cusolverDnXgetrs(self._handle, self._params, *call, info.address))

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
    """cuBLAS's LU factorization of many small matrices, solutions by it, and QR factorization."""

    def __init__(self, library: Any, stream: int) -> None:
        super().__init__(library, stream)
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


# -- stacks of matrices --------------------------------------------------------------------------------------


def is_batched(shape: tuple[int, ...]) -> bool:
    """Whether a stack of square matrices goes to the library in one call."""
    return size_of(shape[:-2]) > 1 and shape[-1] <= MOST_BATCHED


def cholesky(
    device: Device, sources: Sequence[DeviceBuffer], parameters: tuple[Any, ...], result: DeviceBuffer
) -> None:
    """Cholesky factors of what are lower triangles to the library; the others hold what was there."""
    (call,) = parameters
    copy_into(result, sources[0])
    size, info, dtype = result.shape[-1], _info(device, result), result.dtype
    library = _opened(device, Cusolver)
    if is_batched(result.shape):
        places = _places(device, result)
        many = size_of(result.shape[:-2])
        device.asked(library.cholesky_of_many, dtype, LOWER, size, places.address, info, many)
    else:
        kind = _TYPES[dtype]
        calls = [(LOWER, size, kind, at, size, kind) for at in _addresses(result)]
        device.asked(library.run, device, "Xpotrf", calls, info)
    _raise_where(info, call, "Matrix is not positive definite")


def factored(
    device: Device, sources: Sequence[DeviceBuffer], parameters: tuple[Any, ...]
) -> tuple[DeviceBuffer, ...]:
    """LU factors of the transposes, in one matrix each, and pivots counted from one.

    Pivots are int32 where the stack is one call, else int64.
    """
    return _factored(device, sources[0])[:2]


def _factored(device: Device, source: DeviceBuffer) -> tuple[DeviceBuffer, DeviceBuffer, DeviceBuffer]:
    """As `factored`, and what the library says of each."""
    matrices = _copied(source)
    size, info, dtype = matrices.shape[-1], _info(device, matrices), matrices.dtype
    in_one = is_batched(matrices.shape)
    pivots = device.allocate(matrices.shape[:-1], _WORD if in_one else dtypes.int64)
    if in_one:
        places, many = _places(device, matrices), size_of(matrices.shape[:-2])
        blas = _opened(device, CublasBatched)
        device.asked(blas.factor, dtype, size, places.address, pivots.address, info.address, many)
    else:
        kind = _TYPES[dtype]
        calls = [(size, size, kind, at, size, kind) for at in _addresses(matrices)]
        step = size * pivots.dtype.itemsize
        more = [pivots.address + step * number for number in range(len(calls))]
        device.asked(_opened(device, Cusolver).run, device, "Xgetrf", calls, info, more)
    return matrices, pivots, info


def solved(
    device: Device, sources: Sequence[DeviceBuffer], parameters: tuple[Any, ...], result: DeviceBuffer
) -> None:
    """Solutions of systems of the matrices, or as they are to the library, with right-hand sides as rows."""
    call, form = parameters
    matrices, sides = sources
    factors, pivots, info = _factored(device, matrices)
    stack = len(result.shape) - len(sides.shape)
    strides = (*(0,) * stack, *(0 if n == 1 else s for n, s in zip(sides.shape, sides.strides)))
    copy_into(result, sides.view(0, result.shape, strides))
    rows, size, dtype = result.shape[-2], result.shape[-1], result.dtype
    if is_batched(factors.shape):
        places, results = _places(device, factors), _places(device, result)
        given = (form, (size, rows), places.address, pivots.address, results.address)
        many = size_of(factors.shape[:-2])
        device.asked(_opened(device, CublasBatched).solve, dtype, *given, many)
    else:
        kind, step = _TYPES[dtype], size * pivots.dtype.itemsize
        calls = [
            (form, size, rows, kind, matrix, size, pivots.address + step * number, kind, side, size)
            for number, (matrix, side) in enumerate(zip(_addresses(factors), _addresses(result)))
        ]
        device.asked(_opened(device, Cusolver).solve, calls, device.allocate((1,), _WORD))
    # Only now: what solves by factors that aren't there does no harm, and the GPU needn't wait for the host.
    for number, place in enumerate(info.array):
        if place:  # the first pivot that is zero, or not a number
            offset = (number * size * size + (int(place) - 1) * (size + 1)) * dtype.itemsize
            if factors.view(offset, (), ()).array == 0:
                raise np.linalg.LinAlgError(f"{call}: Singular matrix")


def hermitian_eigen(
    device: Device, sources: Sequence[DeviceBuffer], parameters: tuple[Any, ...]
) -> tuple[DeviceBuffer, ...]:
    """Eigenvalues of Hermitian matrices, and as rows the conjugates of eigenvectors, or anything.

    The lower triangle is read.
    """
    call, vectors = parameters
    matrices = _copied(sources[0])
    size, info, dtype = matrices.shape[-1], _info(device, matrices), matrices.dtype
    real = dtypes.REAL_PART.get(dtype, dtype)
    values = device.allocate(matrices.shape[:-1], real)
    kind, job, step = _TYPES[dtype], _VECTORS if vectors else _NO_VECTORS, size * real.itemsize
    calls = [
        (job, UPPER, size, kind, at, size, _TYPES[real], values.address + step * number, kind)
        for number, at in enumerate(_addresses(matrices))
    ]
    library = _opened(device, Cusolver)
    if is_batched(matrices.shape):
        device.asked(library.run, device, "XsyevBatched", calls[:1], info, (), len(calls))
    else:
        device.asked(library.run, device, "Xsyevd", calls, info)
    _raise_where(info, call, "Eigenvalues did not converge")
    return values, matrices


def is_rotated(shape: tuple[int, ...]) -> bool:
    """Whether singular values of a stack are found in one call."""
    return size_of(shape[:-2]) > 1 and max(shape[-2:]) <= MOST_ROTATED


def singular(
    device: Device, sources: Sequence[DeviceBuffer], parameters: tuple[Any, ...]
) -> tuple[DeviceBuffer, ...]:
    """Singular values of matrices with at least as many columns as rows; of the longer side's vectors those
    of `job` ("A"ll, "S"ome, "N"one) as rows, and those of the shorter side.

    Where `is_rotated` says so, all of the longer side's, and conjugates of the shorter side's as rows.
    """
    call, job = parameters
    matrices = _copied(sources[0])
    *stack, short, long = matrices.shape
    info, dtype = _info(device, matrices), matrices.dtype
    real = dtypes.REAL_PART.get(dtype, dtype)
    values = device.allocate((*stack, short), real)
    in_one = is_rotated(matrices.shape)
    rows = long if in_one else {"A": long, "S": short, "N": 1}[job]
    of_long = device.allocate((*stack, rows, long), dtype)
    if in_one:
        of_short = device.allocate((*stack, short, short), dtype)
        places = matrices.address, values.address, of_long.address, of_short.address
        job_number = _NO_VECTORS if job == "N" else _VECTORS
        library = _opened(device, Cusolver)
        many = size_of(tuple(stack))
        device.asked(library.rotated, device, dtype, job_number, (long, short), places, info, many)
        _raise_where(info, call, "SVD did not converge")
        return _finite(values, call), of_long, of_short
    of_short = device.allocate((*stack, short, short) if job != "N" else (*stack, 1, short), dtype)
    kind, letter = _TYPES[dtype], ord(job)
    every = zip(_addresses(matrices), _addresses(values, 1), _addresses(of_long), _addresses(of_short))
    calls = [
        (
            *(letter, letter, long, short, kind, matrix, long, _TYPES[real], value),
            *(kind, first, long, kind, second, short, kind),
        )
        for matrix, value, first, second in every
    ]
    device.asked(_opened(device, Cusolver).run, device, "Xgesvd", calls, info)
    _raise_where(info, call, "SVD did not converge")
    return _finite(values, call), of_long, of_short


def _finite(values: DeviceBuffer, call: str) -> DeviceBuffer:
    """Singular values; LinAlgError where there are none, of which the library says nothing."""
    if np.isnan(values.array).any():
        raise np.linalg.LinAlgError(f"{call}: SVD did not converge")
    return values


def is_reflected(shape: tuple[int, ...]) -> bool:
    """Whether a stack of matrices is factored to reflectors in one call: many small ones."""
    return max(shape[-2:]) <= MOST_BATCHED and size_of(shape[:-2]) >= max(2, min(shape[-2:]) // 16)


def reflected(
    device: Device, sources: Sequence[DeviceBuffer], parameters: tuple[Any, ...]
) -> tuple[DeviceBuffer, ...]:
    """Of the transposes of matrices: R in the lower triangle, and Q with so many columns, as rows.

    Without a number of columns, in place of Q the scales of the reflectors, which stand beside R.
    """
    (columns,) = parameters
    matrices = _copied(sources[0])
    *stack, width, height = matrices.shape
    info, dtype, count = _info(device, matrices), matrices.dtype, min(width, height)
    scales = device.allocate((*stack, count), dtype)
    if columns is None:
        places, of_scales = _places(device, matrices), _places(device, scales, 1)
        blas, many = _opened(device, CublasBatched), size_of(tuple(stack))
        given = (height, width), places.address, of_scales.address, many
        device.asked(blas.reflect, dtype, *given)
        return matrices, scales
    kind, library = _TYPES[dtype], _opened(device, Cusolver)
    of_scales = _addresses(scales, 1)
    calls = [
        (height, width, kind, at, height, kind, scale, kind)
        for at, scale in zip(_addresses(matrices), of_scales)
    ]
    device.asked(library.run, device, "Xgeqrf", calls, info)
    basis = device.allocate((*stack, columns, height), dtype)
    shared = min(columns, width)
    part = (*stack, shared, height)
    copy_into(basis.view(0, part, basis.strides), matrices.view(0, part, matrices.strides))
    size = (height, columns, count)
    word = device.allocate((1,), _WORD)
    given = list(zip(_addresses(basis), of_scales))
    device.asked(library.orthogonal, device, dtype, size, given, word)
    return matrices, basis


def eigen(
    device: Device, sources: Sequence[DeviceBuffer], parameters: tuple[Any, ...]
) -> tuple[DeviceBuffer, ...]:
    """Eigenvalues of the transposes of matrices, and as rows their eigenvectors: of real matrices, for a pair
    of complex ones the real part and the imaginary part of the first."""
    call, vectors = parameters
    source, finite = sources
    if not finite.array[()]:
        raise np.linalg.LinAlgError(f"{call}: Array must not contain infs or NaNs")
    matrices = _copied(source)
    size, info, dtype = matrices.shape[-1], _info(device, matrices), matrices.dtype
    of_values = dtypes.COMPLEX_OF.get(dtype, dtype)
    values = device.allocate(matrices.shape[:-1], of_values)
    found = device.allocate(matrices.shape if vectors else (*matrices.shape[:-2], 1, size), dtype)
    kind, job = _TYPES[dtype], _VECTORS if vectors else _NO_VECTORS
    places = zip(_addresses(matrices), _addresses(values, 1), _addresses(found))
    calls = [
        (
            *(_NO_VECTORS, job, size, kind, at, size, _TYPES[of_values], value),
            *(kind, None, size, kind, vector if vectors else None, size, kind),
        )
        for at, value, vector in places
    ]
    device.asked(_opened(device, CusolverEigen).run, device, "Xgeev", calls, info)
    _raise_where(info, call, "Eigenvalues did not converge")
    return values, found


def _opened(device: Device, kind: type[Any]) -> Any:
    library = device.library(kind)
    assert library is not None
    return library


def _copied(source: DeviceBuffer) -> DeviceBuffer:
    """A row-major copy, to be worked on in place."""
    copy = source.place.allocate(source.shape, source.dtype)
    copy_into(copy, source)
    return copy


def _info(device: Device, matrices: DeviceBuffer) -> DeviceBuffer:
    """A word for each matrix, zero unless the library says otherwise."""
    info = device.allocate((size_of(matrices.shape[:-2]),), _WORD)
    device.driver.clear(device.number, info.address, info.nbytes)
    return info


def _addresses(matrices: DeviceBuffer, axes: int = 2) -> list[int]:
    """Of each matrix of a row-major stack."""
    stack, each = matrices.shape[:-axes], matrices.shape[-axes:]
    first, step = matrices.address, size_of(each) * matrices.dtype.itemsize
    return list(range(first, first + step * size_of(stack), step))


def _places(device: Device, matrices: DeviceBuffer, axes: int = 2) -> DeviceBuffer:
    """The addresses of all matrices on the GPU."""
    return device.upload(np.array(_addresses(matrices, axes), np.int64))


def _raise_where(info: DeviceBuffer, call: str, words: str) -> None:
    """LinAlgError if the library says that it failed for a matrix."""
    if info.array.any():
        raise np.linalg.LinAlgError(f"{call}: {words}")


# By name, what makes one array of its sources in memory that is there, and what makes several.
CALLS: dict[str, Callable[..., None]] = {"potrf": cholesky, "getrs": solved}
SEVERAL: dict[str, Callable[..., tuple[DeviceBuffer, ...]]] = {
    "getrf": factored,
    "syevd": hermitian_eigen,
    "gesvd": singular,
    "geqrf": reflected,
    "geev": eigen,
}
