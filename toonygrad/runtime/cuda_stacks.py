"""Stacks of matrices on a GPU: what of LAPACK is done for them, and by which calls of cuSOLVER and cuBLAS.

cuda_factorizations.py says what recorded routines become of these, cuda_routines.py calls them. To the
libraries a row-major matrix is its transpose. Whether there are Cholesky factors and solutions is looked at
when they are read, as indices out of bounds are; other calls wait for the GPU once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from toonygrad import dtypes
from toonygrad.runtime.cuda_copies import copy_into
from toonygrad.runtime.cuda_solver import (
    AS_IT_IS,
    LOWER,
    NO_VECTORS,
    TRANSPOSED,
    TYPES,
    UPPER,
    VECTORS,
    WORD,
    CublasBatched,
    Cusolver,
    CusolverEigen,
)
from toonygrad.runtime.device import Checks, Device, DeviceBuffer, layout_of
from toonygrad.uop.shape import size_of

# Stacks of matrices up to this size go to the library in one call, larger ones one by one; of singular values
# what the library has for stacks takes no more.
MOST_BATCHED, MOST_ROTATED = 256, 32

# Systems up to this size are solved straight rather than transposed: 0.39 ms beside 0.45 for 512 equations in
# double precision, 8.1 beside 5.9 for 8192 in single precision.
MOST_STRAIGHT = 2048

# The most elements of a matrix in the functions whose sizes have 32 bits, which solve in a tenth less time.
_MOST_NARROW = 2**31 - 1

# How many lists of addresses are kept on a GPU, and how long each may be.
_MOST_PLACES, _MOST_ADDRESSES = 64, 1 << 14


class Failures(Checks):
    """Whether the library failed for a matrix, looked at when somebody reads the results.

    Parameters
    ----------
    info : what the library says of each matrix: the row, counted from one, at which it stopped, or 0
    error : what LinAlgError is to say
    diagonals : where given, only a zero in that row of a matrix is a failure: NaN makes the library stop too
    """

    __slots__ = ("_diagonals", "_sentence")

    raised: ClassVar[type[Exception]] = np.linalg.LinAlgError

    def __init__(self, info: DeviceBuffer, error: str, diagonals: DeviceBuffer | None = None) -> None:
        super().__init__(info, ())
        self._sentence, self._diagonals = error, diagonals

    def _failure(self, words: np.ndarray) -> str | None:
        stopped = words.nonzero()[0]
        diagonals, self._diagonals = self._diagonals, None
        if len(stopped) and diagonals is not None:
            found = diagonals.array.reshape(len(words), -1)
            stopped = stopped[found[stopped, words[stopped] - 1] == 0]
        return self._sentence if len(stopped) else None


def is_batched(shape: tuple[int, ...]) -> bool:
    """Whether a stack of square matrices goes to the library in one call."""
    return size_of(shape[:-2]) > 1 and shape[-1] <= MOST_BATCHED


def cholesky(
    device: Device, sources: Sequence[DeviceBuffer], parameters: tuple[Any, ...], result: DeviceBuffer
) -> Checks:
    """Cholesky factors of what are lower triangles to the library; the others hold what was there."""
    (call,) = parameters
    copy_into(result, sources[0])
    size, info, dtype = result.shape[-1], _info(device, result), result.dtype
    library = _opened(device, Cusolver)
    if is_batched(result.shape):
        places = _places(library, result)
        many = size_of(result.shape[:-2])
        device.asked(library.cholesky_of_many, dtype, LOWER, size, places.address, info, many)
    else:
        kind = TYPES[dtype]
        calls = [(LOWER, size, kind, at, size, kind) for at in _addresses(result)]
        device.asked(library.run, device, "Xpotrf", calls, info)
    return Failures(info, f"{call}: Matrix is not positive definite")


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
    pivots = device.allocate(matrices.shape[:-1], WORD if in_one else dtypes.int64)
    if in_one:
        blas, many = _opened(device, CublasBatched), size_of(matrices.shape[:-2])
        places = _places(blas, matrices)
        device.asked(blas.factor, dtype, size, places.address, pivots.address, info.address, many)
    else:
        kind = TYPES[dtype]
        calls = [(size, size, kind, at, size, kind) for at in _addresses(matrices)]
        step = size * pivots.dtype.itemsize
        more = [pivots.address + step * number for number in range(len(calls))]
        device.asked(_opened(device, Cusolver).run, device, "Xgetrf", calls, info, more)
    return matrices, pivots, info


def solved(
    device: Device, sources: Sequence[DeviceBuffer], parameters: tuple[Any, ...], result: DeviceBuffer
) -> Checks | None:
    """Solutions of systems of the matrices, or as they are to the library, with right-hand sides as rows.

    Parameters name the call, or nothing where no matrix is singular, and say which.
    """
    call, form = parameters
    matrices, sides = sources
    size = matrices.shape[-1]
    if form == TRANSPOSED and size <= MOST_STRAIGHT and not is_batched(matrices.shape):
        # To the library the matrices themselves, in which it solves faster where they aren't large.
        *apart, row, element = matrices.strides
        form, matrices = AS_IT_IS, matrices.view(0, matrices.shape, (*apart, element, row))
    factors, pivots, info = _factored(device, matrices)
    stack = len(result.shape) - len(sides.shape)
    strides = (*(0,) * stack, *(0 if n == 1 else s for n, s in zip(sides.shape, sides.strides)))
    copy_into(result, sides.view(0, result.shape, strides))
    rows, dtype = result.shape[-2], result.dtype
    if is_batched(factors.shape):
        blas = _opened(device, CublasBatched)
        places, results = _places(blas, factors), _places(blas, result)
        given = (form, (size, rows), places.address, pivots.address, results.address)
        many = size_of(factors.shape[:-2])
        device.asked(blas.solve, dtype, *given, many)
    else:
        word, library = device.allocate((1,), WORD), _opened(device, Cusolver)
        solve = library.solve_large
        if size * max(size, rows) <= _MOST_NARROW:
            low = layout_of(device, WORD, pivots.shape, pivots.strides)  # the least half comes first
            wide, pivots = pivots, device.allocate(pivots.shape, WORD)
            copy_into(pivots, DeviceBuffer(low, wide.memory, wide.address))
            solve = library.solve
        every = list(zip(_addresses(factors), _addresses(pivots, 1), _addresses(result)))
        device.asked(solve, dtype, form, (size, rows), every, word)
    if call is None:
        return None
    diagonals = device.allocate(pivots.shape, dtype)
    *apart, row, element = factors.strides
    copy_into(diagonals, factors.view(0, pivots.shape, (*apart, row + element)))
    return Failures(info, f"{call}: Singular matrix", diagonals)


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
    kind, job, step = TYPES[dtype], VECTORS if vectors else NO_VECTORS, size * real.itemsize
    calls = [
        (job, UPPER, size, kind, at, size, TYPES[real], values.address + step * number, kind)
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

    Where `is_rotated` says so, the shorter side's are conjugates as rows, and in that
    case all of the longer side's are there.
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
    of_short = device.allocate((*stack, short, short), dtype)
    library = _opened(device, Cusolver)
    if in_one:
        places = matrices.address, values.address, of_long.address, of_short.address
        job_number = NO_VECTORS if job == "N" else VECTORS
        many = size_of(tuple(stack))
        device.asked(library.rotated, device, dtype, job_number, (long, short), places, info, many)
        _raise_where(info, call, "SVD did not converge")
        return _finite(values, call), of_long, of_short
    kind, of_values = TYPES[dtype], TYPES[real]
    every = zip(_addresses(matrices), _addresses(values, 1), _addresses(of_long), _addresses(of_short))
    calls = [
        (
            *(ord(job), ord(job), long, short, kind, matrix, long, of_values, value),
            *(kind, first, long, kind, second, short, kind),
        )
        for matrix, value, first, second in every
    ]
    device.asked(library.run, device, "Xgesvd", calls, info)
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
        blas, many = _opened(device, CublasBatched), size_of(tuple(stack))
        places, others = _places(blas, matrices), _places(blas, scales, 1)
        device.asked(blas.reflect, dtype, (height, width), places.address, others.address, many)
        return matrices, scales
    kind, library = TYPES[dtype], _opened(device, Cusolver)
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
    word = device.allocate((1,), WORD)
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
    kind, job = TYPES[dtype], VECTORS if vectors else NO_VECTORS
    places = zip(_addresses(matrices), _addresses(values, 1), _addresses(found))
    calls = [
        (
            *(NO_VECTORS, job, size, kind, at, size, TYPES[of_values], value),
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
    info = device.allocate((size_of(matrices.shape[:-2]),), WORD)
    device.driver.clear(device.number, info.address, info.nbytes)
    return info


def _addresses(matrices: DeviceBuffer, axes: int = 2) -> list[int]:
    """Of each matrix of a row-major stack."""
    stack, each = matrices.shape[:-axes], matrices.shape[-axes:]
    first, step = matrices.address, size_of(each) * matrices.dtype.itemsize
    return list(range(first, first + step * size_of(stack), step))


def _places(library: Cusolver | CublasBatched, matrices: DeviceBuffer, axes: int = 2) -> DeviceBuffer:
    """The addresses of all matrices on the GPU; they are kept there, for the same memory comes again."""
    addresses = np.array(_addresses(matrices, axes), np.int64)
    known, key = library.places, (matrices.address, int(addresses[-1]), len(addresses))
    found = known.get(key)
    if found is None:
        found = matrices.place.upload(addresses)
        if len(addresses) <= _MOST_ADDRESSES:
            if len(known) >= _MOST_PLACES:
                known.clear()
            known[key] = found
    return found


def _raise_where(info: DeviceBuffer, call: str, words: str) -> None:
    """LinAlgError if the library says that it failed for a matrix."""
    if info.array.any():
        raise np.linalg.LinAlgError(f"{call}: {words}")


# By name, what makes one array of its sources in memory that is there, and what makes several.
CALLS: dict[str, Callable[..., Checks | None]] = {"potrf": cholesky, "getrs": solved}
# Those whose result may prove not to be there.
CHECKED = frozenset(CALLS)
SEVERAL: dict[str, Callable[..., tuple[DeviceBuffer, ...]]] = {
    "getrf": factored,
    "syevd": hermitian_eigen,
    "gesvd": singular,
    "geqrf": reflected,
    "geev": eigen,
}
