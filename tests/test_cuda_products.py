"""Products of matrices on GPUs that aren't there: which layouts reach the library, and how it is called.

fake_driver.py computes what BLAS's arguments say, and finds those it refuses and memory that isn't theirs.
"""

import ctypes
import ctypes.util
import gc
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_driver import FakeDriver, fake_gpus, multiply
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import toonygrad as xp
from toonygrad.runtime.cuda_libraries import Cublas, load_library, open_library
from toonygrad.runtime.driver import DeviceMemoryError, Gemm

DTYPES = ("float32", "float64", "complex64", "complex128")


@pytest.fixture
def gpu() -> Iterator[FakeDriver]:
    with fake_gpus() as driver:
        yield driver
        gc.collect()


def whole_numbers(shape: tuple[int, ...], dtype: Any = "float64", seed: int = 0) -> np.ndarray:
    """Elements whose products and sums are exact, in whatever order."""
    generator = np.random.default_rng(seed)
    values = generator.integers(-8, 9, shape).astype(dtype)
    if values.dtype.kind == "c":
        values.imag = generator.integers(-8, 9, shape)
    return values


def on_gpu(host: np.ndarray) -> xp.Array:
    return xp.asarray(host, device="cuda:1").block_until_ready()


# -- layouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_matrices(gpu, dtype):
    a, b = whole_numbers((5, 7), dtype, 1), whole_numbers((7, 3), dtype, 2)
    before = xp.counters()
    product = on_gpu(a) @ on_gpu(b)
    assert_array_equal(np.asarray(product), a @ b)
    assert product.device == "cuda:1" and product.dtype == dtype
    assert (xp.counters() - before).host_steps == (xp.counters() - before).kernels_launched == 0
    assert gpu.products == [
        Gemm(np.dtype(dtype), (False, False), 3, 5, 7, (3, 7, 3), (0, 0, 0), 1),
    ]


# Shapes in memory, what is seen of them; then whether left and right are transposed for the library (in its
# order: right, left), how many calls of how many products there are, and how many operands are copied before.
LAYOUTS: dict[str, tuple[Any, ...]] = {
    "transposed left": ((7, 5), (7, 3), lambda a, b: (a.T, b), (False, True), (1, 1), 0),
    "transposed right": ((5, 7), (3, 7), lambda a, b: (a, b.T), (True, False), (1, 1), 0),
    "both transposed": ((7, 5), (3, 7), lambda a, b: (a.T, b.T), (True, True), (1, 1), 0),
    "parts of rows": ((9, 11), (9, 8), lambda a, b: (a[2:7, 3:10], b[1:8, 4:7]), (False, False), (1, 1), 0),
    "every other row": ((10, 7), (14, 3), lambda a, b: (a[::2], b[1::2]), (False, False), (1, 1), 0),
    "part, transposed": ((9, 6), (7, 3), lambda a, b: (a[1:8, :5].T, b), (False, True), (1, 1), 0),
    "every other column": ((5, 14), (7, 3), lambda a, b: (a[:, ::2], b), (False, False), (1, 1), 1),
    "backwards": ((5, 7), (7, 3), lambda a, b: (a[::-1], b[:, ::-1]), (False, False), (1, 1), 2),
    "repeated rows": ((1, 7), (7, 3), lambda a, b: (wide(a, (5, 7)), b), (False, False), (1, 1), 1),
    "one term": ((5, 4), (1, 3), lambda a, b: (a[:, 1:2], b), (False, False), (1, 1), 0),
    "stacks": ((4, 5, 7), (4, 7, 3), lambda a, b: (a, b), (False, False), (1, 4), 0),
    "stacks of stacks": ((2, 4, 5, 7), (2, 4, 7, 3), lambda a, b: (a, b), (False, False), (1, 8), 0),
    "stacks, transposed": ((4, 7, 5), (4, 3, 7), lambda a, b: (last(a), last(b)), (True, True), (1, 4), 0),
    "parts of stacks": ((8, 5, 7), (4, 7, 3), lambda a, b: (a[::2, 1:], b), (False, False), (1, 4), 0),
    "one matrix left": ((5, 7), (4, 7, 3), lambda a, b: (a, b), (False, False), (1, 4), 0),
    "one matrix right": ((4, 5, 7), (7, 3), lambda a, b: (a, b), (False, False), (1, 1), 0),
    "one for parts": ((4, 5, 7), (7, 3), lambda a, b: (a[:, 1:], b), (False, False), (1, 4), 0),
    "one for transposed": ((4, 7, 5), (7, 3), lambda a, b: (last(a), b), (False, True), (1, 4), 0),
    "each with each": ((4, 1, 5, 7), (2, 7, 3), lambda a, b: (a, b), (False, False), (2, 4), 0),
    "stacks apart": ((3, 4, 5, 7), (2, 4, 7, 3), lambda a, b: (a[::2], b), (False, False), (2, 4), 0),
    "stacks backwards": ((4, 5, 7), (4, 7, 3), lambda a, b: (a[::-1], b), (False, False), (1, 4), 1),
    "rows backwards, repeated": (
        *((5, 7), (4, 7, 3)),
        lambda a, b: (wide(a[::-1], (4, 5, 7)), b),
        *((False, False), (1, 4), 1),
    ),
    "matrix last": ((5, 7, 4), (7, 3), lambda a, b: (first(a), b), (False, False), (1, 1), 1),
}


def namespace(array: Any) -> Any:
    return xp if isinstance(array, xp.Array) else np


def wide(array: Any, shape: tuple[int, ...]) -> Any:
    return namespace(array).broadcast_to(array, shape)


def last(array: Any) -> Any:
    return namespace(array).matrix_transpose(array)


def first(array: Any) -> Any:
    return namespace(array).moveaxis(array, -1, 0)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_layouts(gpu, name, dtype):
    of_left, of_right, seen, transposed, (calls, count), copies = LAYOUTS[name]
    a, b = whole_numbers(of_left, dtype, 1), whole_numbers(of_right, dtype, 2)
    there = seen(on_gpu(a), on_gpu(b))
    before = xp.counters()
    product = np.asarray(xp.matmul(*there))
    assert_array_equal(product, np.matmul(*seen(a, b)))
    spent = xp.counters() - before
    assert (spent.kernels_launched, spent.host_steps) == (copies, 0)
    assert [(gemm.transposed, gemm.products) for gemm in gpu.products] == [(transposed, count)] * calls


def test_what_repeats_is_copied_once(gpu):
    a, b = whole_numbers((5, 14)), whole_numbers((3, 7, 2))
    product = xp.broadcast_to(on_gpu(a)[:, ::2], (100, 3, 5, 7)) @ on_gpu(b)
    before = xp.counters()
    product.block_until_ready()
    assert (xp.counters() - before).bytes_allocated == product.nbytes + 5 * 7 * 8
    assert_array_equal(np.asarray(product), np.broadcast_to(a[:, ::2], (100, 3, 5, 7)) @ b)


def test_sums_of_nothing_are_zero(gpu):
    kept = on_gpu(np.full((4, 5, 3), 7.0))
    del kept  # its memory is used again
    product = on_gpu(np.ones((4, 5, 0))) @ on_gpu(np.ones((0, 3)))
    assert_array_equal(np.asarray(product), np.zeros((4, 5, 3)))
    assert not gpu.products


def test_memory_that_is_not_aligned_is_copied(gpu):
    numbers = on_gpu(np.arange(1.0, 14.0))
    given = dict(numbers.__cuda_array_interface__)
    given.update(shape=(2, 3), typestr="<c16", strides=None, data=(given["data"][0] + 8, False))
    a = xp.asarray(SimpleNamespace(__cuda_array_interface__=given, owner=numbers), copy=False)
    expected = np.arange(2.0, 14.0).view("c16").reshape(2, 3)
    before = xp.counters()
    assert_array_equal(np.asarray(a @ a.T), expected @ expected.T)
    spent = xp.counters() - before
    assert spent.bytes_allocated == 2 * expected.nbytes + 4 * 16 and spent.host_steps == 0


def test_plans_are_used_again_with_other_memory(gpu):
    a, b = whole_numbers((4, 4), seed=1), whole_numbers((4, 4), seed=2)
    for left, right in ((a, b), (b, a), (a[:2], b)):
        assert_array_equal(np.asarray(on_gpu(left) @ on_gpu(right) + 1), left @ right + 1)


@st.composite
def operands(draw) -> tuple[np.ndarray, Callable[[Any], Any], np.ndarray, Callable[[Any], Any]]:
    """Two arrays in memory, and of each what is multiplied."""
    size = st.integers(1, 4)
    stack = draw(st.lists(size, max_size=3))
    rows, inner, columns = draw(size), draw(size), draw(size)
    dtype = draw(st.sampled_from(DTYPES))
    made: list[Any] = []
    for seed, matrix in enumerate([(rows, inner), (inner, columns)]):
        own = [draw(st.sampled_from([1, each])) for each in stack[draw(st.integers(0, len(stack))) :]]
        shape = [*own, *matrix]
        order = draw(st.permutations(range(len(shape))))
        steps = [draw(st.sampled_from([1, 1, 1, 2, -1])) for _ in shape]
        room = [draw(st.integers(0, 1)) for _ in shape]
        memory = [size * abs(step) + more for size, step, more in zip(shape, steps, room)]
        key = tuple(
            slice(more, more + size * step, step) if step > 0 else slice(size - 1, None, -1)
            for size, step, more in zip(shape, steps, room)
        )

        def seen(array: Any, order=order, key=key) -> Any:
            back = tuple(int(axis) for axis in np.argsort(order))
            return namespace(array).permute_dims(array, back)[key]

        made += [whole_numbers(tuple(memory[axis] for axis in order), dtype, seed), seen]
    return tuple(made)


@settings(max_examples=150)
@given(drawn=operands())
def test_any_layout_as_numpy_has_it(drawn):
    a, see_a, b, see_b = drawn
    with fake_gpus():
        before = xp.counters()
        ours = xp.matmul(see_a(on_gpu(a)), see_b(on_gpu(b)))
        assert_array_equal(np.asarray(ours), np.matmul(see_a(a), see_b(b)))
        assert (xp.counters() - before).host_steps == 0


# -- around it -------------------------------------------------------------------------------------


def test_products_stand_among_kernels(gpu):
    a, b = whole_numbers((6, 6), seed=1), whole_numbers((6, 6), seed=2)
    x, y = on_gpu(a), on_gpu(b)
    explained = xp.explain((x + 1) @ y.T * 2)
    assert [kernel.how for kernel in explained.kernels] == [
        "compiled for cuda:1",
        "library",
        "compiled for cuda:1",
    ]
    assert explained.kernels[1].name == "matmul"
    assert_array_equal(np.asarray((x + 1) @ y.T * 2), (a + 1) @ b.T * 2)
    assert_array_equal(np.asarray(xp.tensordot(x, y, axes=([0], [1]))), np.tensordot(a, b, axes=([0], [1])))


def test_an_index_out_of_bounds_before_a_product_is_found(gpu):
    x = on_gpu(np.ones((4, 4)))
    wrong = xp.take(x, on_gpu(np.array([0, 9])), axis=0) @ x
    with pytest.raises(IndexError, match=r"^take: an index is out of bounds for axis 0 with size 4"):
        np.asarray(wrong)


def test_without_the_library_the_host_computes(gpu):
    gpu.has_library = False
    a, b = whole_numbers((5, 7), seed=1), whole_numbers((7, 3), seed=2)
    product = on_gpu(a) @ on_gpu(b)
    assert [kernel.how for kernel in xp.explain(product).kernels] == ["on the host"]
    before = xp.counters()
    assert_array_equal(np.asarray(product), a @ b)
    assert product.device == "cuda:1" and (xp.counters() - before).host_steps == 1


def test_interpreting_takes_no_library(gpu):
    a = whole_numbers((3, 3))
    with xp.config(compile="never"):
        product = on_gpu(a) @ on_gpu(a)
        assert [kernel.how for kernel in xp.explain(product).kernels] == ["on the host"]
        assert_array_equal(np.asarray(product), a @ a)
    assert not gpu.products


def test_memory_kept_for_reuse_is_given_up_for_the_library(gpu, monkeypatch):
    a = whole_numbers((3, 3))
    x = on_gpu(a)
    refused: list[str] = []

    def once(name: str) -> Callable[..., Any]:
        function = getattr(gpu, name)

        def refusing(*arguments: Any) -> Any:
            if name not in refused:
                refused.append(name)
                raise DeviceMemoryError
            return function(*arguments)

        return refusing

    for name in ("multiplies", "multiply"):
        monkeypatch.setattr(gpu, name, once(name))
    assert_array_equal(np.asarray(x @ x), a @ a)
    assert refused == ["multiplies", "multiply"]


# -- the library -----------------------------------------------------------------------------------

# As cublas_api.h has them.
POINTER, INT, INT64, LONG_LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_longlong
HEAD = (POINTER, INT, INT, INT64, INT64, INT64, POINTER)
GEMM = ctypes.CFUNCTYPE(INT, *HEAD, POINTER, INT64, POINTER, INT64, POINTER, POINTER, INT64)
STRIDED = ctypes.CFUNCTYPE(
    *(INT, *HEAD, POINTER, INT64, LONG_LONG, POINTER, INT64, LONG_LONG),
    *(POINTER, POINTER, INT64, LONG_LONG, INT64),
)
CREATE = ctypes.CFUNCTYPE(INT, POINTER)
SET_STREAM = ctypes.CFUNCTYPE(INT, POINTER, POINTER)
SET_MATH = ctypes.CFUNCTYPE(INT, POINTER, INT)
STATUS_NAME = ctypes.CFUNCTYPE(ctypes.c_char_p, INT)

# More than 32 bits hold, as addresses and handles are.
HANDLE, STREAM = 0x7F00_1234_5678, 0x7F00_8765_4321
LETTERS = dict(zip("SDCZ", DTYPES))


class StubLibrary:
    """cuBLAS's functions with its own signatures, called through C, on the host's memory."""

    def __init__(self, created: int = 0) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.status = 0

        def create(place: int) -> int:
            POINTER.from_address(place).value = HANDLE
            return created

        self.cublasCreate_v2 = CREATE(create)
        self.cublasSetStream_v2 = SET_STREAM(self._noted("stream"))
        self.cublasSetMathMode = SET_MATH(self._noted("math"))
        names = {1: b"CUBLAS_STATUS_NOT_INITIALIZED", 13: b"CUBLAS_STATUS_EXECUTION_FAILED"}
        # C's strings must outlive the call.
        self._names = {status: ctypes.create_string_buffer(name) for status, name in names.items()}
        named = ctypes.CFUNCTYPE(POINTER, INT)(lambda status: ctypes.addressof(self._names[status]))
        self._named = named
        self.cublasGetStatusName = ctypes.cast(named, STATUS_NAME)
        for letter, name in LETTERS.items():
            one, stack = self._products(np.dtype(name))
            setattr(self, f"cublas{letter}gemm_v2_64", GEMM(one))
            setattr(self, f"cublas{letter}gemmStridedBatched_64", STRIDED(stack))

    def _noted(self, name: str) -> Callable[..., int]:
        def function(*arguments: int) -> int:
            self.calls.append((name, *arguments))
            return 0

        return function

    def _products(self, dtype: np.dtype) -> tuple[Callable[..., int], Callable[..., int]]:
        def compute(handle, forms, sizes, factors, addresses, leading, strides, count) -> int:
            assert handle == HANDLE
            given = [np.frombuffer(ctypes.string_at(factor, dtype.itemsize), dtype)[0] for factor in factors]
            assert given == [1, 0]
            transposed = (forms[0] == 1, forms[1] == 1)
            assert set(forms) <= {0, 1}
            gemm = Gemm(dtype, transposed, *sizes, leading, strides, count)
            self.calls.append(("gemm", gemm))
            if not self.status:
                multiply(gemm, *addresses, lambda address, nbytes: None)
            return self.status

        def one(handle, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) -> int:
            return compute(
                handle, (ta, tb), (m, n, k), (alpha, beta), (a, b, c), (lda, ldb, ldc), (0, 0, 0), 1
            )

        def stack(handle, ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc, count) -> int:
            leading, strides = (lda, ldb, ldc), (sa, sb, sc)
            return compute(handle, (ta, tb), (m, n, k), (alpha, beta), (a, b, c), leading, strides, count)

        return one, stack


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
def test_arguments_arrive(dtype, count, transposed):
    library = StubLibrary()
    cublas = Cublas(library, STREAM)
    assert library.calls == [("stream", HANDLE, STREAM), ("math", HANDLE, 0)]
    rows, columns, inner = 2, 3, 5
    # In memory column after column: NumPy's shapes are the other way round.
    a = whole_numbers((count, rows, inner) if transposed[0] else (count, inner, rows), dtype, 1)
    b = whole_numbers((count, inner, columns) if transposed[1] else (count, columns, inner), dtype, 2)
    c = np.full((count, columns, rows), np.nan, dtype)
    strides = (10, 15, 6) if count > 1 else (0, 0, 0)
    gemm = Gemm(c.dtype, transposed, rows, columns, inner, (a.shape[2], b.shape[2], rows), strides, count)
    cublas.multiply(gemm, a.ctypes.data, b.ctypes.data, c.ctypes.data)
    assert library.calls[2:] == [("gemm", gemm)]
    left = a if transposed[0] else a.swapaxes(1, 2)
    right = b if transposed[1] else b.swapaxes(1, 2)
    assert_allclose(c.swapaxes(1, 2), left @ right)


def test_sizes_beyond_32_bits_arrive():
    library = StubLibrary()
    library.status = 13
    cublas = Cublas(library, STREAM)
    large = 1 << 33
    for count in (1, large):
        gemm = Gemm(
            np.dtype("float32"),
            (False, True),
            *(large, large + 1, large + 2),
            (large, large + 3, large + 4),
            (large + 5, 0, large + 6) if count > 1 else (0, 0, 0),
            count,
        )
        with pytest.raises(RuntimeError, match=r"^cuBLAS: CUBLAS_STATUS_EXECUTION_FAILED$"):
            cublas.multiply(gemm, HANDLE, HANDLE + 4, HANDLE + 8)
        assert library.calls[-1] == ("gemm", gemm)


def test_no_memory_for_the_library():
    with pytest.raises(DeviceMemoryError):
        open_library(Cublas, StubLibrary(created=3), STREAM)
    library = StubLibrary()
    cublas = open_library(Cublas, library, STREAM)
    library.status = 3
    with pytest.raises(DeviceMemoryError):
        cublas.multiply(Gemm(np.dtype("f4"), (False, False), 1, 1, 1, (1, 1, 1), (0, 0, 0), 1), 4, 4, 4)


def test_a_library_that_does_not_fit():
    assert open_library(Cublas, StubLibrary(created=1), STREAM) is None
    old = StubLibrary()
    del old.cublasZgemmStridedBatched_64
    assert open_library(Cublas, old, STREAM) is None


class NotFound(RuntimeError):
    """What cuda.pathfinder raises."""


def test_finding_the_library(monkeypatch):
    def find() -> Any:
        return load_library.__wrapped__("cublas")

    pathfinder: Any = ModuleType("cuda.pathfinder")
    pathfinder.DynamicLibNotFoundError = NotFound
    asked: list[str] = []

    def found(name: str) -> Any:
        asked.append(name)
        return SimpleNamespace(abs_path=ctypes.util.find_library("m"))

    def missing(name: str) -> Any:
        raise NotFound

    monkeypatch.setitem(sys.modules, "cuda.pathfinder", pathfinder)
    pathfinder.load_nvidia_dynamic_lib = found
    assert isinstance(find(), ctypes.CDLL) and asked == ["cublas"]
    pathfinder.load_nvidia_dynamic_lib = missing
    assert find() is None
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", None)
    assert find() is None
