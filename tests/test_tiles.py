"""Kernels in tiles: sizes around those of tiles and blocks, every layout, and the word that copies a tile."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_compile import compiled, integers, kernel_source, launch, pointers

import toonygrad as xp
from toonygrad.codegen.cpu import kernel_namespace

SIZES = [(16, 17), (31, 33), (65, 64), (127, 129), (257, 144), (19, 2500), (2500, 18)]
# Sides too short for tiles.
SLIM = [(2, 33), (33, 2), (15, 40), (3, 2500), (2500, 3)]


@pytest.fixture(autouse=True)
def compiled_always():
    with xp.config(compile="always"):
        yield


def numbers(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(-50, 50, shape)
    return (values + 1j * values[::-1] if np.dtype(dtype).kind == "c" else values).astype(dtype)


def functions(*arrays: xp.Array) -> list[str]:
    """The functions of the kernels that compute `arrays`."""
    return [kernel.function for kernel in xp.explain(*arrays).kernels]


# -- the word that copies a tile -----------------------------------------------------------------------------

COPY = """
tile0 = {dtype}_scratch(2000)
for place in range(2000):
    tile0[place] = {dtype}(1)
transpose(tile0, columns + 3, in0, start, stride, rows, columns)
for place in range(2000):
    out0[place] = tile0[place]
"""


@pytest.mark.parametrize("dtype", ["int8", "uint16", "float32", "float64"])
def test_a_tile_is_copied_as_under_plain_python(dtype: str) -> None:
    name, body = f"copy_{dtype}", COPY.format(dtype=dtype)
    parameters = [*pointers(out0=dtype, in0=dtype), *integers("start", "stride", "rows", "columns")]
    namespace = kernel_namespace()
    exec(kernel_source(name, parameters, body), namespace)
    native = compiled(name, parameters, body)
    source = np.arange(2000).astype(dtype)
    sides = (-1, 0, 1, 7, 8, 9, 16, 31, 40)
    for rows, columns in [(rows, columns) for rows in sides for columns in sides]:
        for start, stride in ((5, 41), (2000 - 41, -41), (3, rows)):
            found, expected = np.zeros(2000, dtype), np.zeros(2000, dtype)
            launch(native, [found, source], [start, stride, rows, columns], 0, 1)
            namespace[name](expected, source, start, stride, rows, columns, 0, 1)
            np.testing.assert_array_equal(found, expected, err_msg=f"{rows} by {columns}, {stride} apart")


# -- elementwise ---------------------------------------------------------------------------------------------

# Of x (rows, columns) and y (columns, rows); each takes one kernel, in tiles.
TRANSPOSED: dict[str, Callable[..., Any]] = {
    "copy": lambda xp, x, y: x.T * 1,
    "sum": lambda xp, x, y: x.T + y,
    "rows backwards": lambda xp, x, y: xp.flip(x, axis=1).T + y,
    "columns backwards": lambda xp, x, y: xp.flip(x, axis=0).T - y,
    "columns with steps": lambda xp, x, y: x[::2, :].T * y[:, ::2],
    "both operands": lambda xp, x, y: x.T * 2 - xp.flip(x, axis=0).T,
    "three layouts": lambda xp, x, y: x.T * y - y[:, :1] + y[:1, :] * xp.flip(y, axis=1),
    "guarded": lambda xp, x, y: xp.cos(x.T) + y,
    "two results": lambda xp, x, y: xp.stack([x.T + y, x.T - y]),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_operands(name: str) -> None:
    function = TRANSPOSED[name]
    for rows, columns in SIZES + SLIM:
        a, b = numbers((rows, columns)), numbers((columns, rows), seed=1)
        x, y = xp.asarray(a), xp.asarray(b)
        if name != "columns with steps" or rows >= 32:
            assert all(
                ("transpose(" in text) == ((rows, columns) in SIZES) for text in functions(function(xp, x, y))
            )
        expected = function(np, a, b)
        np.testing.assert_allclose(np.asarray(function(xp, x, y)), expected, rtol=1e-6, strict=True)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float64", "complex64", "complex128"])
def test_transposed_operands_of_every_size_of_element(dtype: str) -> None:
    for rows, columns in SIZES:
        a, b = numbers((rows, columns), dtype), numbers((columns, rows), dtype, seed=1)
        np.testing.assert_array_equal(np.asarray(xp.asarray(b) == xp.asarray(a).T), b == a.T)


@pytest.mark.parametrize("axes", [(0, 2, 1), (2, 0, 1), (1, 2, 0), (2, 1, 0), (1, 0, 2)])
def test_permuted_axes(axes: tuple[int, ...]) -> None:
    for shape in ((5, 40, 70), (131, 3, 66), (1, 20, 30), (20, 30, 1)):
        a = numbers(shape)
        found = xp.permute_dims(xp.asarray(a), axes) + 1
        np.testing.assert_array_equal(np.asarray(found), a.transpose(axes) + 1)


def test_tiles_of_any_size_are_one_kernel() -> None:
    texts = set()
    for rows, columns in SIZES:
        x, y = xp.asarray(numbers((rows, columns))), xp.asarray(numbers((columns, rows)))
        texts.update(functions(x.T + y))
    assert len(texts) == 1


def test_many_transposed_operands_share_what_scratch_memory_there_is() -> None:
    arrays = [numbers((130, 70), np.float64, seed) for seed in range(12)]
    found, expected = xp.asarray(arrays[0]).T, arrays[0].T
    for one in arrays[1:]:
        found, expected = found * 0.5 + xp.asarray(one).T, expected * 0.5 + one.T
    (text,) = functions(found)
    assert text.count("transpose(") == 12
    np.testing.assert_array_equal(np.asarray(found), expected)


def test_threads_change_no_bit_of_tiles() -> None:
    a, b = numbers((700, 500)), numbers((500, 700), seed=1)
    results = []
    for threads in (1, 2, 3):
        with xp.config(num_threads=threads):
            results.append(np.asarray(xp.sin(xp.asarray(a).T) / xp.asarray(b)).tobytes())
    assert len(set(results)) == 1


# -- contractions --------------------------------------------------------------------------------------------

# Of u (rows, depth) and w (columns, depth), results (rows, columns); each takes one kernel, in tiles.
CONTRACTED: dict[str, Callable[..., Any]] = {
    "distances": lambda xp, u, w: xp.sum((u[:, None, :] - w[None, :, :]) ** 2, axis=2),
    "product": lambda xp, u, w: xp.sum(u[:, None, :] * w[None, :, :], axis=2),
    "depth in front": lambda xp, u, w: xp.sum(u.T[:, :, None] * w.T[:, None, :], axis=0),
    "largest": lambda xp, u, w: xp.max(xp.abs(u[:, None, :] - w[None, :, :]), axis=2) * 2 + w[:, 0],
    "backwards": lambda xp, u, w: xp.min(u[:, None, :] + xp.flip(w, axis=1)[None, :, :], axis=2),
    "computed for the column": lambda xp, u, w: xp.sum(u[:, None, :] * (w * w + 1)[None, :, :], axis=2),
    "chosen": lambda xp, u, w: xp.max(xp.where((w > 3)[None, :, :], u[:, None, :], w[None, :, :]), axis=2),
    "any": lambda xp, u, w: xp.any(u[:, None, :] == w[None, :, :], axis=2),
}
RESULTS = [
    (65, 64, 3),
    (2, 3000, 40),
    (3, 2048, 7),
    (260, 17, 33),
    (129, 130, 64),
    (70, 333, 5),
    (64, 64, 100),
]


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
@pytest.mark.parametrize("name", CONTRACTED)
def test_contractions(name: str, dtype: str) -> None:
    function = CONTRACTED[name]
    texts = set()
    for rows, columns, depth in RESULTS:
        # Whole numbers, so that every order of adding gives the same.
        a, b = numbers((rows, depth), dtype) % 10, numbers((columns, depth), dtype, seed=1) % 10
        found = function(xp, xp.asarray(a), xp.asarray(b))
        texts.add(functions(found)[-1])
        np.testing.assert_array_equal(np.asarray(found), function(np, a, b).astype(found.dtype))
    assert all("member" in text for text in texts)
    # Sums of floats have one form for few summands and one for many.
    assert len(texts) <= (2 if "float" in dtype else 1)


@pytest.mark.parametrize(
    "shapes", [((3, 50, 40), (3, 40, 60)), ((50, 40), (3, 40, 60)), ((2, 3, 50, 9), (9, 33))]
)
def test_products_of_stacks_of_integer_matrices(shapes: tuple[tuple[int, ...], ...]) -> None:
    a, b = (numbers(shape, np.int32, seed) for seed, shape in enumerate(shapes))
    found = xp.asarray(a) @ xp.asarray(b)
    assert "member" in functions(found)[0]
    np.testing.assert_array_equal(np.asarray(found), a @ b)


def test_contractions_of_what_each_result_has_for_itself() -> None:
    a, b, c = numbers((70, 40)), numbers((80, 40), seed=1), numbers((40, 70, 80), seed=2)
    u, w, own = (xp.asarray(one) for one in (a, b, c))
    for mine, expected in (
        (own[0][:, :, None], c[0][:, :, None]),
        (xp.permute_dims(own, (1, 2, 0)), c.transpose(1, 2, 0)),
    ):
        found = xp.sum((u[:, None, :] - w[None, :, :]) * mine, axis=2)
        assert "member" in functions(found)[0]
        np.testing.assert_array_equal(np.asarray(found), np.sum((a[:, None] - b) * expected, axis=2))


def test_contractions_over_two_axes() -> None:
    a, b = numbers((70, 9, 40), np.float64), numbers((80, 9, 80), np.float64, seed=1)
    found = xp.sum(xp.asarray(a)[:, None] * xp.asarray(b)[None, :, :, ::2], axis=(2, 3))
    assert "member" in functions(found)[0]
    np.testing.assert_array_equal(np.asarray(found), np.einsum("ikl,jkl->ij", a, b[:, :, ::2]))


def test_contractions_with_guarded_functions() -> None:
    a, b = numbers((70, 40), np.float64), numbers((80, 40), np.float64, seed=1)
    a[3, 5] = 1e300  # beyond what the fast form is good for
    u, w = xp.asarray(a), xp.asarray(b)
    found = xp.sum(xp.sin(u[:, None, :] * w[None, :, :]), axis=2)
    assert "tile0" in functions(found)[0]
    np.testing.assert_allclose(np.asarray(found), np.sin(a[:, None] * b).sum(2), rtol=1e-12, atol=1e-12)
    found = xp.sum(u[:, None, :] * xp.cos(w)[None, :, :], axis=2)
    np.testing.assert_allclose(np.asarray(found), (a[:, None] * np.cos(b)).sum(2), rtol=1e-12)


def test_several_reductions_of_one_contraction() -> None:
    a, b = numbers((70, 50)), numbers((80, 50), seed=1)
    difference = xp.abs(xp.asarray(a)[:, None, :] - xp.asarray(b)[None, :, :])
    found = xp.sum(difference, axis=2) / xp.max(difference, axis=2)
    (text,) = functions(found)
    assert "totals1" in text
    expected = np.abs(a[:, None] - b)
    np.testing.assert_array_equal(np.asarray(found), expected.sum(2) / expected.max(2))


def test_contractions_with_few_results_reduce_along_rows() -> None:
    a, b = numbers((30, 5000), np.float64), numbers((40, 5000), np.float64, seed=1)
    found = xp.sum(xp.asarray(a)[:, None, :] * xp.asarray(b)[None, :, :], axis=2)
    assert "member" not in functions(found)[0]
    np.testing.assert_array_equal(np.asarray(found), a @ b.T)


def test_long_sums_of_contractions_are_compensated() -> None:
    """Blocks are added exactly but for what one block of 32 rounds."""
    random = np.random.default_rng(3)
    u, w = random.uniform(0.5, 1.5, (64, 20_000)), random.uniform(0.5, 1.5, (64, 20_000))
    found = np.asarray(xp.sum(xp.asarray(u)[:, None, :] * xp.asarray(w)[None, :, :], axis=2))
    for row, column in ((0, 0), (17, 5), (63, 63)):
        exact = math.fsum(u[row] * w[column])
        assert abs(found[row, column] - exact) <= 4e-16 * exact
    u[:, 777] = np.inf
    found = np.asarray(xp.sum(xp.asarray(u)[:, None, :] * xp.asarray(w)[None, :, :], axis=2))
    assert np.all(found == np.inf)


def test_threads_change_no_bit_of_contractions() -> None:
    random = np.random.default_rng(5)
    u, w = (xp.asarray(random.normal(size=(300, 70)).astype(np.float32)) for _ in range(2))
    results = []
    for threads in (1, 2, 3):
        with xp.config(num_threads=threads):
            results.append(np.asarray(CONTRACTED["distances"](xp, u, w)).tobytes())
    assert len(set(results)) == 1
