"""Linear algebra on GPUs that aren't there: what cuSOLVER is asked for, and what kernels make of its answers.

fake_cusolver.py has the functions with their signatures, and LAPACK's meaning of them.
"""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake_cusolver import ALLOC_FAILED, INTERNAL_ERROR, FakeCublas, FakeCusolver
from fake_driver import FakeDriver, fake_gpus
from numpy.testing import assert_allclose

import toonygrad as xp
from toonygrad.array import realized
from toonygrad.runtime import cuda_stacks
from toonygrad.runtime.cuda_libraries import open_library
from toonygrad.runtime.cuda_solver import CublasBatched, Cusolver, CusolverEigen
from toonygrad.runtime.driver import DeviceMemoryError

la = xp.linalg
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
# Those of one precision each, real and complex, where all four have been tried.
TWO_DTYPES = pytest.mark.parametrize("dtype", ["float32", "complex128"])
STACKS = pytest.mark.parametrize("stack", [(), (2, 2)], ids=str)
# Whether stacks of small matrices go to the library in one call.
BATCHED = pytest.mark.parametrize("batched", [True, False], ids=["batched", "one by one"])


@pytest.fixture
def gpu() -> Iterator[FakeDriver]:
    with fake_gpus() as driver:
        yield driver
        gc.collect()


@pytest.fixture
def cusolver(gpu) -> FakeCusolver:
    return gpu.libraries[Cusolver]


@pytest.fixture
def cublas(gpu) -> FakeCublas:
    return gpu.libraries[CublasBatched]


def matrices(*shape: int, dtype: Any = "float64", seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=shape)
    return (values + 1j * generator.normal(size=shape) if np.dtype(dtype).kind == "c" else values).astype(
        dtype
    )


def definite(*shape: int, dtype: Any = "float64") -> np.ndarray:
    values = matrices(*shape, dtype=dtype)
    return values @ adjoint(values) + np.eye(shape[-1], dtype=dtype)


def adjoint(x: np.ndarray) -> np.ndarray:
    return np.swapaxes(x, -1, -2).conj()


def on_gpu(host: np.ndarray) -> xp.Array:
    return xp.asarray(host, device="cuda:1").block_until_ready()


def close(found: Any, expected: Any) -> None:
    if isinstance(found, xp.Array):
        assert found.device == "cuda:1"
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    eps = np.finfo(expected.dtype).eps
    assert_allclose(found, expected, rtol=0, atol=1e4 * eps * max(1, np.abs(expected).max(initial=0)))


def check_on_gpu(function: Callable[[], None]) -> None:
    before = xp.counters()
    function()
    assert (xp.counters() - before).host_steps == 0


# -- values ----------------------------------------------------------------------------------------

# Of matrices, and of Hermitian ones: what has one answer.
ONE_ANSWER: dict[str, tuple[bool, Callable[..., Any], Callable[..., Any]]] = {
    "cholesky": (True, la.cholesky, np.linalg.cholesky),
    "upper cholesky": (
        *(True, lambda x: la.cholesky(x, upper=True)),
        lambda x: np.linalg.cholesky(x, upper=True),
    ),
    "det": (False, la.det, np.linalg.det),
    "sign": (False, lambda x: la.slogdet(x).sign, lambda x: np.linalg.slogdet(x)[0]),
    "logabsdet": (False, lambda x: la.slogdet(x).logabsdet, lambda x: np.linalg.slogdet(x)[1]),
    "inv": (False, la.inv, np.linalg.inv),
    "eigvalsh": (True, la.eigvalsh, np.linalg.eigvalsh),
    "svdvals": (False, la.svdvals, np.linalg.svdvals),
    "pinv": (False, la.pinv, np.linalg.pinv),
    "matrix_norm": (False, lambda x: la.matrix_norm(x, ord=2), lambda x: np.linalg.norm(x, 2, (-2, -1))),
}


@pytest.mark.parametrize("name", ONE_ANSWER)
@DTYPES
@STACKS
@BATCHED
def test_one_answer(gpu, monkeypatch, name, dtype, stack, batched):
    monkeypatch.setattr(cuda_stacks, "MOST_BATCHED", 256 if batched else 0)
    hermitian, ours, numpys = ONE_ANSWER[name]
    x = (definite if hermitian else matrices)(*stack, 5, 5, dtype=dtype)
    check_on_gpu(lambda: close(ours(on_gpu(x)), numpys(x)))


@pytest.mark.parametrize("sides", [(5,), (5, 1), (5, 3), (2, 1, 5, 3), "stack"], ids=str)
@TWO_DTYPES
@STACKS
@BATCHED
def test_solve(gpu, monkeypatch, sides, dtype, stack, batched):
    monkeypatch.setattr(cuda_stacks, "MOST_BATCHED", 256 if batched else 0)
    x = matrices(*stack, 5, 5, dtype=dtype)
    y = matrices(*((*stack, 5, 2) if sides == "stack" else sides), dtype=dtype, seed=1)
    check_on_gpu(lambda: close(la.solve(on_gpu(x), on_gpu(y)), np.linalg.solve(x, y)))


@pytest.mark.parametrize(("straight", "narrow"), [(0, 2**31), (2048, 0)])
def test_solving_large_systems(gpu, cusolver, monkeypatch, straight, narrow):
    monkeypatch.setattr(cuda_stacks, "MOST_STRAIGHT", straight)
    monkeypatch.setattr(cuda_stacks, "_MOST_NARROW", narrow)
    x, y = matrices(6, 5)[:5], matrices(3, 5, seed=1).T
    close(la.solve(on_gpu(x), on_gpu(y)), np.linalg.solve(x, y))
    close(la.inv(on_gpu(x)), np.linalg.inv(x))
    assert cusolver.called == ["Xgetrf", "Dgetrs" if narrow else "Xgetrs"] * 2


@TWO_DTYPES
@STACKS
@BATCHED
def test_hermitian_eigenvectors(gpu, monkeypatch, dtype, stack, batched):
    monkeypatch.setattr(cuda_stacks, "MOST_BATCHED", 256 if batched else 0)
    x = definite(*stack, 5, 5, dtype=dtype)
    # The upper triangle isn't read.
    values, vectors = la.eigh(on_gpu(np.tril(x) + np.triu(np.full((5, 5), 7), 1).astype(dtype)))
    close(values, np.linalg.eigvalsh(x))
    vectors = np.asarray(vectors)
    close(x @ vectors, vectors * np.asarray(values).astype(dtype)[..., None, :])
    close(adjoint(vectors) @ vectors, np.broadcast_to(np.eye(5, dtype=dtype), x.shape))


@pytest.mark.parametrize("size", [(5, 5), (7, 4), (4, 7), (1, 3)], ids=str)
@pytest.mark.parametrize("full", [True, False])
@TWO_DTYPES
@STACKS
@pytest.mark.parametrize("way", ["rotated", "by steps"])
def test_svd(gpu, monkeypatch, size, full, dtype, stack, way):
    monkeypatch.setattr(cuda_stacks, "MOST_ROTATED", 32 if way == "rotated" else 0)
    x, count = matrices(*stack, *size, dtype=dtype), min(size)
    before = xp.counters()
    found = la.svd(on_gpu(x), full_matrices=full)
    left, values, right = map(np.asarray, found)
    assert (xp.counters() - before).host_steps == 0
    close(values, np.linalg.svdvals(x))
    assert [part.shape for part in found] == [p.shape for p in np.linalg.svd(x, full_matrices=full)]
    close((left[..., :count] * values.astype(dtype)[..., None, :]) @ right[..., :count, :], x)
    for basis in (adjoint(left) @ left, right @ adjoint(right)):
        close(basis, np.broadcast_to(np.eye(basis.shape[-1], dtype=dtype), basis.shape))


@pytest.mark.parametrize("size", [(5, 5), (7, 4), (4, 7)], ids=str)
@pytest.mark.parametrize("mode", ["reduced", "complete"])
@DTYPES
@STACKS
@BATCHED
def test_qr(gpu, monkeypatch, size, mode, dtype, stack, batched):
    monkeypatch.setattr(cuda_stacks, "MOST_BATCHED", 256 if batched else 0)
    x = matrices(*stack, *size, dtype=dtype)
    before = xp.counters()
    found = la.qr(on_gpu(x), mode=mode)
    q, r = map(np.asarray, found)
    assert (xp.counters() - before).host_steps == 0
    assert [part.shape for part in found] == [part.shape for part in np.linalg.qr(x, mode=mode)]
    close(q @ r, x)
    close(r, np.triu(r))
    close(
        adjoint(q) @ q, np.broadcast_to(np.eye(q.shape[-1], dtype=dtype), (*stack, q.shape[-1], q.shape[-1]))
    )


@TWO_DTYPES
@STACKS
def test_eigenvectors(gpu, dtype, stack):
    x = matrices(*stack, 5, 5, dtype=dtype)
    before = xp.counters()
    values, vectors = la.eig(on_gpu(x))
    close(la.eigvals(on_gpu(x)), np.asarray(values))
    assert (xp.counters() - before).host_steps == 0
    values, vectors = np.asarray(values), np.asarray(vectors)
    close(x @ vectors, vectors * values[..., None, :])
    close(np.linalg.norm(vectors, axis=-2), np.ones(values.shape, values.real.dtype))


@pytest.mark.parametrize("rtol", [0.3, (), (3,)], ids=str)
def test_tolerance_of_pinv(gpu, rtol):
    x = matrices(3, 5, 4)
    limit = rtol if isinstance(rtol, float) else np.full(rtol, 0.3)
    close(
        la.pinv(on_gpu(x), rtol=limit if isinstance(limit, float) else on_gpu(limit)),
        np.linalg.pinv(x, rtol=limit),
    )


def test_ranks(gpu):
    x = np.stack([np.eye(4), np.diag([1.0, 0, 2, 0]), np.zeros((4, 4))])
    assert np.asarray(la.matrix_rank(on_gpu(x))).tolist() == [4, 2, 0]


def test_layouts(gpu):
    x = matrices(10, 12, 2)
    for view in (lambda a: a[:5, :5, 0], lambda a: a[::2, 1::3, 1][:4, :4].T, lambda a: a[4::-1, 5:10, 1]):
        close(la.inv(view(on_gpu(x))), np.linalg.inv(view(x)))
        close(la.svdvals(view(on_gpu(x))), np.linalg.svdvals(view(x)))


# -- failure ---------------------------------------------------------------------------------------

SINGULAR, NOT_FINITE = np.zeros((3, 3)), np.diag([1.0, np.inf, 2.0])


@pytest.mark.parametrize(
    ("name", "x", "words"),
    [
        ("inv", SINGULAR, "Singular matrix"),
        ("inv", np.stack([np.eye(3), SINGULAR]), "Singular matrix"),
        ("cholesky", -np.eye(3), "Matrix is not positive definite"),
        ("cholesky", np.stack([np.eye(3), -np.eye(3)]), "Matrix is not positive definite"),
        ("eig", NOT_FINITE, "Array must not contain infs or NaNs"),
        ("eigvals", np.full((2, 3, 3), np.nan), "Array must not contain infs or NaNs"),
        ("svd", np.full((3, 3), np.nan), "SVD did not converge"),
        ("svdvals", np.full((2, 3, 3), np.nan), "SVD did not converge"),
        ("eigvalsh", np.full((2, 3, 3), np.nan), "Eigenvalues did not converge"),
    ],
)
def test_failures(gpu, name, x, words):
    with pytest.raises(np.linalg.LinAlgError, match=f"^{name}: {words}$"):
        np.asarray(getattr(la, name)(on_gpu(x)))


def test_singular_systems(gpu):
    with pytest.raises(np.linalg.LinAlgError, match=r"^solve: Singular matrix$"):
        np.asarray(la.solve(on_gpu(SINGULAR), on_gpu(np.ones(3))))
    close(la.det(on_gpu(SINGULAR)), np.float64(0))
    sign, logarithm = la.slogdet(on_gpu(SINGULAR))
    assert (float(sign), float(logarithm)) == (0, -np.inf)


@pytest.mark.parametrize("function", [la.inv, lambda x: la.cholesky(x) * 2], ids=["inv", "cholesky"])
def test_a_failure_is_told_when_elements_are_read(gpu, function):
    made = function(on_gpu(SINGULAR))
    xp.realize(made)
    after = xp.sum(made, axis=0) + 1
    xp.realize(after)
    reads: list[Callable[[], Any]] = [
        after.block_until_ready,
        lambda: np.asarray(made),
        lambda: np.from_dlpack(made, device="cpu"),
        lambda: np.asarray(after),
    ]
    for read in reads:
        with pytest.raises(np.linalg.LinAlgError):
            read()


def test_what_nobody_reads_does_not_pile_up(gpu):
    x, y = on_gpu(np.eye(3) * 2), on_gpu(np.ones((3, 1)))
    for _ in range(40):
        y = la.solve(x, y)
        xp.realize(y)
        assert len(realized(y).checks) <= 17
    close(y, np.full((3, 1), 2.0**-40))
    y = la.solve(on_gpu(SINGULAR), y)
    with pytest.raises(np.linalg.LinAlgError, match=r"^solve: Singular matrix$"):
        for _ in range(20):
            y = la.solve(x, y)
            xp.realize(y)


def test_an_index_out_of_bounds_comes_first(gpu):
    x = on_gpu(np.eye(3))
    taken = xp.take(x, on_gpu(np.array([0, 1, 1])), axis=0)
    with pytest.raises(np.linalg.LinAlgError):
        np.asarray(la.inv(taken))
    wrong = xp.take(x, on_gpu(np.array([0, 1, 9])), axis=0) * 0
    with pytest.raises(IndexError, match=r"^take: an index is out of bounds"):
        np.asarray(la.inv(wrong))
    with pytest.raises(IndexError, match=r"^take: an index is out of bounds"):
        np.asarray(la.inv(wrong + 0))


def test_errors_have_names(gpu, cusolver):
    cusolver.status["Xpotrf"] = INTERNAL_ERROR
    with pytest.raises(RuntimeError, match=r"^cuSOLVER: CUSOLVER_STATUS_INTERNAL_ERROR$"):
        la.cholesky(on_gpu(definite(4, 4))).block_until_ready()


def test_memory_kept_for_reuse_is_given_up(gpu, cusolver, cublas):
    x = definite(2, 4, 4)
    cublas.status["DgetrfBatched"] = 3
    close(la.inv(on_gpu(x)), np.linalg.inv(x))
    cusolver.status["Xsyevd_bufferSize"] = ALLOC_FAILED
    close(la.eigvalsh(on_gpu(x[0])), np.linalg.eigvalsh(x[0]))
    assert not cublas.status and not cusolver.status


# -- around it -------------------------------------------------------------------------------------


def test_calls(gpu, cusolver, cublas):
    small, large = on_gpu(definite(3, 4, 4)), on_gpu(definite(4, 4))
    for function in (la.cholesky, la.det, la.eigvalsh):
        function(small).block_until_ready()
        function(large).block_until_ready()
    assert cublas.called == ["DgetrfBatched"]
    assert cusolver.called == ["DpotrfBatched", "Xpotrf", "Xgetrf", "XsyevBatched", "Xsyevd"]


def test_all_results_are_of_one_call(gpu, cusolver):
    la.svd(on_gpu(matrices(4, 6)))
    la.qr(on_gpu(matrices(4, 6)))
    la.eigh(on_gpu(definite(4, 4)))
    la.slogdet(on_gpu(matrices(4, 4)))
    assert cusolver.called == ["Xgesvd", "Xgeqrf", "Dorgqr", "Xsyevd", "Xgetrf"]


def test_what_stands_around_fuses(gpu):
    explained = xp.explain(xp.sum(la.cholesky(on_gpu(definite(4, 4)) * 2) * 3, axis=0))
    assert [(kernel.name[:6], kernel.how) for kernel in explained.kernels] == [
        ("kernel", "compiled for cuda:1"),
        ("potrf", "library"),
        ("kernel", "compiled for cuda:1"),
    ]


def test_nothing_in_matrices(gpu):
    assert la.inv(on_gpu(np.zeros((2, 0, 0)))).shape == (2, 0, 0)
    close(la.det(on_gpu(np.zeros((2, 0, 0)))), np.ones(2))
    assert la.svd(on_gpu(np.zeros((0, 3)))).S.shape == (0,)


def test_without_the_library_the_host_computes(gpu):
    for kind in (Cusolver, CusolverEigen, CublasBatched):
        gpu.libraries.pop(kind)
    x = definite(4, 4)
    assert [kernel.how for kernel in xp.explain(la.inv(on_gpu(x))).kernels] == ["on the host"]
    before = xp.counters()
    close(la.inv(on_gpu(x)), np.linalg.inv(x))
    for found, expected in zip(la.eigh(on_gpu(x)), np.linalg.eigh(x)):
        close(found, expected)
    for found, expected in zip(la.svd(on_gpu(x)), np.linalg.svd(x)):
        close(found, expected)
    assert (xp.counters() - before).host_steps == 6
    with xp.config(compile="never"):
        close(la.qr(on_gpu(x)).Q, np.linalg.qr(x).Q)


def test_libraries_that_do_not_fit(gpu, cusolver, cublas):
    del cusolver.cusolverDnXgeev
    assert open_library(CusolverEigen, cusolver, 1000) is None
    assert open_library(Cusolver, cusolver, 1000) is not None
    cusolver.status["Create"] = ALLOC_FAILED
    with pytest.raises(DeviceMemoryError):
        open_library(Cusolver, cusolver, 1000)
    cusolver.status["Create"] = 4
    assert open_library(Cusolver, cusolver, 1000) is None
    del cublas.cublasDgetrsBatched
    assert open_library(CublasBatched, cublas, 1000) is None
