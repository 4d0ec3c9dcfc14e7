"""cuSOLVER, and cuBLAS's LU factorizations, that aren't there: called through C, computing with NumPy.

fake_driver.py has them. Signatures are the libraries' own. Matrices are LAPACK's, column after column. Work
is put off as the driver's is.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

P, INT, L, Z, B = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t, ctypes.c_byte
HANDLE, PARAMS = 0x7F00_1111_2222, 0x7F00_3333_4444
TYPES = {0: np.dtype("f4"), 1: np.dtype("f8"), 4: np.dtype("c8"), 5: np.dtype("c16")}
LETTERS = dict(zip("SDCZ", TYPES.values()))
ALLOC_FAILED, INTERNAL_ERROR = 2, 7
MATRIX = (INT, P, L)
# As cusolverDn.h has them: the arguments of the functions that say how much memory is needed, before that.
OWN: dict[str, tuple[Any, ...]] = {
    "Xpotrf": (INT, L, INT, P, L, INT),
    "Xgetrf": (L, L, INT, P, L, INT),
    "Xgeqrf": (L, L, INT, P, L, INT, P, INT),
    "Xsyevd": (INT, INT, L, INT, P, L, INT, P, INT),
    "XsyevBatched": (INT, INT, L, INT, P, L, INT, P, INT),
    "Xgesvd": (B, B, L, L, INT, P, L, INT, P, INT, P, L, INT, P, L, INT),
    "Xgeev": (INT, INT, L, INT, P, L, INT, P, INT, P, L, INT, P, L, INT),
}
ON_GPU, ON_HOST = 48, 24


class _Fake:
    """Memory, and work for later.

    Attributes
    ----------
    called : names of what ran, in order
    status : what functions answer, once, instead of working, by their names
    """

    def __init__(self, queue: Callable[[Callable[[], None]], None], found: Callable[[int, int], Any]) -> None:
        self.called: list[str] = []
        self.status: dict[str, int] = {}
        self._later, self._found = queue, found

    def _bind(self, prefix: str, name: str, kinds: tuple[Any, ...], function: Callable[..., Any]) -> None:
        def answering(*arguments: Any) -> int:
            if status := self.status.pop(name, 0):
                return status
            work = function(*arguments)
            if work is not None:
                self.called.append(name)
                self._later(work)
            return 0

        setattr(self, prefix + name, ctypes.CFUNCTYPE(INT, *kinds)(answering))

    def matrix(self, address: int, dtype: np.dtype, rows: int, columns: int, leading: int) -> np.ndarray:
        """A matrix as NumPy sees it, rows first, over the memory at an address."""
        assert leading >= rows > 0 and columns > 0 and not address % dtype.itemsize
        length = ((columns - 1) * leading + rows) * dtype.itemsize
        self._found(address, length)
        whole = (ctypes.c_char * length).from_address(address)
        return np.ndarray((rows, columns), dtype, whole, 0, (dtype.itemsize, leading * dtype.itemsize))

    def vector(self, address: int, dtype: np.dtype, length: int) -> np.ndarray:
        """A vector over the memory at an address."""
        return self.matrix(address, dtype, length, 1, length)[:, 0]

    def addresses(self, place: int, many: int) -> list[int]:
        """What stands on the GPU where addresses of matrices are, once it is there."""
        return [int(address) for address in self.vector(place, np.dtype(np.int64), many)]


class FakeCusolver(_Fake):
    """cuSOLVER."""

    def __init__(self, queue: Any, found: Any) -> None:
        super().__init__(queue, found)
        for name in ("Create", "CreateParams", "CreateGesvdjInfo"):
            value = HANDLE if name == "Create" else PARAMS

            def create(place: int, value: int = value) -> None:
                P.from_address(place).value = value

            self._bind("cusolverDn", name, (P,), create)
        self._bind("cusolverDn", "SetStream", (P, P), self._set_stream)
        for name, own in OWN.items():
            stack = name.endswith("Batched")
            many = (L,) if stack else ()
            self._bind("cusolverDn", f"{name}_bufferSize", (P, P, *own, P, P, *many), self._sizes(len(own)))
            kinds = (*own[:5], P, *own[5:]) if name == "Xgetrf" else own
            kinds = (P, P, *kinds, P, Z, P, Z, P)
            running = self._running(len(kinds), stack, getattr(self, f"_{name}"))
            self._bind("cusolverDn", name, (*kinds, *many), running)
        self._bind("cusolverDn", "Xgetrs", (P, P, INT, L, L, *MATRIX, P, *MATRIX, P), self._getrs)
        for letter, dtype in LETTERS.items():
            name = f"{letter}{'ungqr' if dtype.kind == 'c' else 'orgqr'}"
            whole = (P, INT, INT, INT, P, INT, P)
            self._bind("cusolverDn", f"{name}_bufferSize", (*whole, P), self._length)
            self._bind("cusolverDn", name, (*whole, P, INT, P), self._orthogonal(dtype))
            kinds = (P, INT, INT, INT, P, INT, P, P, INT, P)
            self._bind("cusolverDn", f"{letter}getrs", kinds, self._getrs_of(dtype))
            batched = f"{letter}potrfBatched"
            self._bind("cusolverDn", batched, (P, INT, INT, P, INT, P, INT), self._potrf_batched(dtype))
            rotated, whole = f"{letter}gesvdjBatched", (P, INT, INT, INT, P, INT, P, P, INT, P, INT)
            self._bind("cusolverDn", f"{rotated}_bufferSize", (*whole, P, P, INT), self._length_of_rotated)
            self._bind("cusolverDn", rotated, (*whole, P, INT, P, P, INT), self._rotated(dtype))

    def _set_stream(self, handle: int, stream: int) -> None:
        assert handle == HANDLE and stream >= 1000

    def _sizes(self, count: int) -> Callable[..., None]:
        def sizes(handle: int, params: int, *given: Any) -> None:
            assert (handle, params) == (HANDLE, PARAMS)
            Z.from_address(given[count]).value = ON_GPU
            Z.from_address(given[count + 1]).value = ON_HOST

        return sizes

    def _running(self, count: int, stack: bool, function: Callable[..., Any]) -> Callable[..., Any]:
        def running(handle: int, params: int, *given: Any) -> Any:
            assert (handle, params) == (HANDLE, PARAMS)
            own, (work, there, host, here, info), more = (
                given[: count - 7],
                given[count - 7 : count - 2],
                given[count - 2 :],
            )
            assert there >= ON_GPU and here >= ON_HOST and host
            self._found(work, there)
            words = self.vector(info, np.dtype(np.int32), more[0] if stack else 1)
            return function(words, *own, *more)

        return running

    def _Xpotrf(self, info, triangle, n, kind, a, leading, compute):
        assert kind == compute
        matrix = self.matrix(a, TYPES[kind], n, n, leading)
        return lambda: _cholesky(matrix, triangle, info)

    def _potrf_batched(self, dtype: np.dtype) -> Callable[..., Any]:
        def batched(handle, triangle, n, places, leading, info, many):
            words = self.vector(info, np.dtype(np.int32), many)

            def work():
                for number, address in enumerate(self.addresses(places, many)):
                    matrix = self.matrix(address, dtype, n, n, leading)
                    _cholesky(matrix, triangle, words[number : number + 1])

            return work

        return batched

    def _Xgetrf(self, info, m, n, kind, a, leading, pivots, compute):
        assert kind == compute and m == n
        matrix = self.matrix(a, TYPES[kind], m, n, leading)
        into = self.vector(pivots, np.dtype(np.int64), n)
        return lambda: _lu(matrix, into, info)

    def _getrs(self, handle, params, form, n, count, kind, a, leading, pivots, of_sides, b, of_b, info):
        assert kind == of_sides
        factors, sides = (
            self.matrix(a, TYPES[kind], n, n, leading),
            self.matrix(b, TYPES[kind], n, count, of_b),
        )
        order = self.vector(pivots, np.dtype(np.int64), n)
        self.vector(info, np.dtype(np.int32), 1)
        return lambda: _solve(factors, order, sides, form)

    def _getrs_of(self, dtype: np.dtype) -> Callable[..., Any]:
        def getrs(handle, form, n, count, a, leading, pivots, b, of_b, info):
            factors, sides = self.matrix(a, dtype, n, n, leading), self.matrix(b, dtype, n, count, of_b)
            order = self.vector(pivots, np.dtype(np.int32), n)
            self.vector(info, np.dtype(np.int32), 1)
            return lambda: _solve(factors, order, sides, form)

        return getrs

    def _Xgeqrf(self, info, m, n, kind, a, leading, of_scales, scales, compute):
        assert kind == compute == of_scales
        matrix = self.matrix(a, TYPES[kind], m, n, leading)
        into = self.vector(scales, TYPES[kind], min(m, n))

        def work():
            _reflect(matrix, into)
            info[0] = 0

        return work

    def _length(self, handle, m, n, k, a, leading, scales, length) -> None:
        assert m >= n >= k > 0
        INT.from_address(length).value = ON_GPU

    def _orthogonal(self, dtype: np.dtype) -> Callable[..., Any]:
        def orthogonal(handle, m, n, k, a, leading, scales, work, length, info):
            assert m >= n >= k > 0 and length >= ON_GPU
            self._found(work, length * dtype.itemsize)
            self.vector(info, np.dtype(np.int32), 1)
            matrix, factors = self.matrix(a, dtype, m, n, leading), self.vector(scales, dtype, k)

            def make():
                basis = np.eye(m, n, dtype=dtype)
                for column in reversed(range(k)):
                    reflector = np.where(np.arange(m) < column, 0, matrix[:, column])
                    reflector[column] = 1
                    basis -= factors[column] * np.outer(reflector, reflector.conj() @ basis)
                matrix[...] = basis

            return make

        return orthogonal

    def _length_of_rotated(self, handle, job, m, n, *given) -> None:
        assert max(m, n) <= 32 and given[-2] == PARAMS
        INT.from_address(given[-3]).value = ON_GPU

    def _rotated(self, dtype: np.dtype) -> Callable[..., Any]:
        real = np.zeros(0, dtype).real.dtype

        def rotated(handle, job, m, n, a, lda, s, u, ldu, v, ldv, work, length, info, params, many):
            assert length >= ON_GPU and params == PARAMS
            self._found(work, length * dtype.itemsize)
            words, size = self.vector(info, np.dtype(np.int32), many), dtype.itemsize
            matrices = [self.matrix(a + k * lda * n * size, dtype, m, n, lda) for k in range(many)]
            values = [self.vector(s + k * min(m, n) * real.itemsize, real, min(m, n)) for k in range(many)]
            lefts = [self.matrix(u + k * ldu * m * size, dtype, m, m, ldu) for k in range(many)]
            rights = [self.matrix(v + k * ldv * n * size, dtype, n, n, ldv) for k in range(many)]

            def make():
                for k in range(many):
                    try:
                        left, values[k][...], right = np.linalg.svd(matrices[k])
                    except np.linalg.LinAlgError:
                        words[k], values[k][...] = 0, np.nan
                        continue
                    if job:
                        lefts[k][...], rights[k][...] = left, right.conj().T

            return make

        return rotated

    def _Xsyevd(self, info, job, triangle, n, kind, a, leading, of_values, values, compute, many=1):
        assert kind == compute and TYPES[of_values] == np.zeros(0, TYPES[kind]).real.dtype and leading == n
        step, real = n * n * TYPES[kind].itemsize, TYPES[of_values]
        matrices = [self.matrix(a + k * step, TYPES[kind], n, n, leading) for k in range(many)]
        found = [self.vector(values + k * n * real.itemsize, real, n) for k in range(many)]

        def work():
            for k in range(many):
                try:
                    found[k][...], vectors = np.linalg.eigh(matrices[k], "UL"[triangle == 0])
                except np.linalg.LinAlgError:
                    info[k] = 1
                    continue
                matrices[k][...] = vectors if job else np.nan

        return work

    _XsyevBatched = _Xsyevd

    def _Xgesvd(
        self, info, of_u, of_v, m, n, kind, a, leading, real, s, kind_u, u, ld_u, kind_v, v, ld_v, compute
    ):
        assert kind == compute == kind_u == kind_v and m >= n and of_u == of_v
        job = chr(of_u)
        matrix, values = self.matrix(a, TYPES[kind], m, n, leading), self.vector(s, TYPES[real], n)
        assert ld_u >= m and ld_v >= n
        if job != "N":
            left = self.matrix(u, TYPES[kind], m, m if job == "A" else n, ld_u)
            right = self.matrix(v, TYPES[kind], n, n, ld_v)

        def work():
            try:
                first, values[...], second = np.linalg.svd(matrix, full_matrices=job == "A")
            except np.linalg.LinAlgError:
                info[0] = 1
                return
            if job != "N":
                left[...], right[...] = first, second

        return work

    def _Xgeev(
        self,
        info,
        of_left,
        of_right,
        n,
        kind,
        a,
        leading,
        of_values,
        w,
        kind_l,
        vl,
        ld_l,
        kind_r,
        vr,
        ld_r,
        compute,
    ):
        assert kind == compute == kind_l == kind_r and of_left == 0 and TYPES[of_values].kind == "c"
        matrix, values = self.matrix(a, TYPES[kind], n, n, leading), self.vector(w, TYPES[of_values], n)
        vectors = self.matrix(vr, TYPES[kind], n, n, ld_r) if of_right else None

        def work():
            values[...], found = np.linalg.eig(matrix)
            if vectors is None:
                return
            if TYPES[kind].kind == "c":
                vectors[...] = found
                return
            found = found + 0j
            second = values.imag < 0
            vectors[...] = np.where(second, -found.imag, found.real)

        return work


class FakeCublas(_Fake):
    """What of cuBLAS factors small matrices, beside the handle."""

    def __init__(self, queue: Any, found: Any) -> None:
        super().__init__(queue, found)

        def create(place: int) -> None:
            P.from_address(place).value = HANDLE

        self._bind("cublas", "Create_v2", (P,), create)
        self._bind("cublas", "SetStream_v2", (P, P), lambda handle, stream: None)
        self._bind("cublas", "SetMathMode", (P, INT), lambda handle, mode: None)
        self.cublasGetStatusName = ctypes.CFUNCTYPE(ctypes.c_char_p, INT)(lambda status: b"CUBLAS_STATUS")
        for letter, dtype in LETTERS.items():
            number = ctypes.c_int64
            head = (P, INT, INT, number, number, number, P)
            each = (P, number, number)
            self._bind("cublas", f"{letter}gemm_v2_64", (*head, P, number, P, number, P, P, number), _refused)
            many = (*head, *each, *each, P, *each, number)
            self._bind("cublas", f"{letter}gemmStridedBatched_64", many, _refused)
            self._bind("cublas", f"{letter}getrfBatched", (P, INT, P, INT, P, P, INT), self._getrf(dtype))
            kinds = (P, INT, INT, INT, P, INT, P, P, INT, P, INT)
            self._bind("cublas", f"{letter}getrsBatched", kinds, self._getrs(dtype))
            kinds = (P, INT, INT, P, INT, P, P, INT)
            self._bind("cublas", f"{letter}geqrfBatched", kinds, self._geqrf(dtype))

    def _getrf(self, dtype: np.dtype) -> Callable[..., Any]:
        def getrf(handle, n, places, leading, pivots, info, many):
            words = self.vector(info, np.dtype(np.int32), many)
            order = self.vector(pivots, np.dtype(np.int32), n * many).reshape(many, n)

            def work():
                for k, address in enumerate(self.addresses(places, many)):
                    _lu(self.matrix(address, dtype, n, n, leading), order[k], words[k : k + 1])

            return work

        return getrf

    def _getrs(self, dtype: np.dtype) -> Callable[..., Any]:
        def getrs(handle, form, n, count, places, leading, pivots, sides, of_sides, info, many):
            INT.from_address(info).value = 0
            order = self.vector(pivots, np.dtype(np.int32), n * many).reshape(many, n)

            def work():
                both = zip(self.addresses(places, many), self.addresses(sides, many))
                for k, (a, b) in enumerate(both):
                    factors = self.matrix(a, dtype, n, n, leading)
                    _solve(factors, order[k], self.matrix(b, dtype, n, count, of_sides), form)

            return work

        return getrs

    def _geqrf(self, dtype: np.dtype) -> Callable[..., Any]:
        def geqrf(handle, m, n, places, leading, scales, info, many):
            INT.from_address(info).value = 0

            def work():
                for a, tau in zip(self.addresses(places, many), self.addresses(scales, many)):
                    _reflect(self.matrix(a, dtype, m, n, leading), self.vector(tau, dtype, min(m, n)))

            return work

        return geqrf


def _refused(*given: Any) -> None:
    raise AssertionError("products are the driver's")


def _cholesky(matrix: np.ndarray, triangle: int, info: np.ndarray) -> None:
    part = np.tril if triangle == 0 else np.triu
    try:
        factor = np.linalg.cholesky(matrix, upper=triangle == 1)
    except np.linalg.LinAlgError:
        info[0] = 1
        return
    matrix[...] = part(factor) + matrix - part(matrix)


def _lu(matrix: np.ndarray, pivots: np.ndarray, info: np.ndarray) -> None:
    size = len(matrix)
    with np.errstate(all="ignore"):
        for k in range(size):
            row = k + int(np.argmax(np.abs(matrix[k:, k])))
            pivots[k] = row + 1
            matrix[[k, row]] = matrix[[row, k]]
            if matrix[k, k] == 0:
                info[0] = info[0] or k + 1
                continue
            matrix[k + 1 :, k] /= matrix[k, k]
            matrix[k + 1 :, k + 1 :] -= np.outer(matrix[k + 1 :, k], matrix[k, k + 1 :])


def _reflect(matrix: np.ndarray, scales: np.ndarray) -> None:
    reflectors, scales[...] = np.linalg.qr(matrix, mode="raw")
    matrix[...] = reflectors.T


def _solve(factors: np.ndarray, pivots: np.ndarray, sides: np.ndarray, form: int) -> None:
    lower, upper = np.tril(factors, -1) + np.eye(len(factors), dtype=factors.dtype), np.triu(factors)
    whole = lower @ upper
    for k in reversed(range(len(factors))):
        whole[[k, int(pivots[k]) - 1]] = whole[[int(pivots[k]) - 1, k]]
    try:
        sides[...] = np.linalg.solve(whole.T if form == 1 else whole, sides)
    except np.linalg.LinAlgError:  # the library divides by what isn't there
        sides[...] = np.nan
