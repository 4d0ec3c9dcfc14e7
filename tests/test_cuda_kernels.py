"""CUDA kernels of every form in the simulator, against the interpreter and NumPy."""

import re
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
from cuda_steps import both, simulated, sources
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from test_differential import PATTERNS, Program, assert_equal, programs, recorded

import toonygrad as xp
from toonygrad import dtypes
from toonygrad.codegen import cuda_columns, cuda_lookback, cuda_rows
from toonygrad.runtime.cuda_compile import compile_ptx

PROGRAMS = settings(max_examples=30, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))


def ptx_of(source: Any) -> str:
    return compile_ptx(source.text, source.name, source.parameters)


def integers(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    generator = np.random.default_rng(len(shape))
    numbers = generator.integers(-8 if np.dtype(dtype).kind != "u" else 0, 9, shape)
    return numbers.astype(dtype)


@PROGRAMS
@given(programs(), st.booleans())
def test_programs_compute_what_numpy_computes(program: Program, vectors: bool) -> None:
    first = len(program.inputs)
    with simulated(vectors):
        results = program.run(recorded(program.inputs))[first:]
        xp.realize(*results)
        for k, (result, meant) in enumerate(zip(results, program.values[first:])):
            assert_equal(result, meant, f"result {k}")


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
@pytest.mark.parametrize("shape", [(3, 4), (7, 30), (2, 300), (2, 3, 16)], ids=str)
def test_patterns(pattern: Callable[..., Any], shape: tuple[int, ...]) -> None:
    exact = np.random.default_rng(7).normal(0, 2, shape).astype(np.float32)
    for axis in range(len(shape)):
        expected = pattern(np, exact.astype(np.longdouble), axis).astype(np.float32)
        with simulated():
            found = np.asarray(pattern(xp, xp.asarray(exact), axis))
        tolerance = 64 * np.finfo(np.float32).eps
        assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# -- reductions ----------------------------------------------------------------------------------------------

SHAPES = [(1,), (300,), (5, 3), (8, 36), (2, 200), (200, 2), (70, 65), (4, 9, 5)]


def everything(axis: Any) -> Callable[[Any], tuple[Any, ...]]:
    def function(x: Any) -> tuple[Any, ...]:
        found = [xp.sum(x, axis=axis), xp.any(x, axis=axis), xp.all(x, axis=axis)]
        if x.dtype.kind != "c":
            found += [xp.max(x, axis=axis), xp.min(x, axis=axis)]
        if x.dtype.kind != "c" and not isinstance(axis, tuple):
            found += [xp.argmax(x, axis=axis), xp.argmin(x, axis=axis)]
        return tuple(found)

    return function


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int8", "complex128", "bool"])
def test_reductions(shape: tuple[int, ...], dtype: str) -> None:
    array = integers(shape, dtype)
    for axis in (None, *range(len(shape)), *([(0, 2)] if len(shape) == 3 else [])):
        for found, meant in zip(*both(everything(axis), array, vectors=dtype != "int8")):
            assert_array_equal(found, meant)


@pytest.mark.parametrize(("dtype", "vectors"), [("float64", True), ("complex64", False)])
def test_long_reductions_come_in_chunks(dtype: str, vectors: bool) -> None:
    small = {"CHUNK": 256, "ENOUGH_ROWS": 4}
    columns = {"ENOUGH_BLOCKS": 4, "BLOCKS": 12, "CHUNK_ROWS": 1, "FEWEST_ROWS": 32}
    with mock.patch.multiple(cuda_rows, **small), mock.patch.multiple(cuda_columns, **columns):
        for shape in ((1000,), (3, 600), (300, 8), (2, 200, 5), (3, 200, 2)):
            array = integers(shape, dtype)
            for axis in (None, *range(len(shape))):
                (source, *_) = sources(lambda x, axis=axis: xp.sum(x, axis=axis), array, vectors=vectors)
                assert source is not None and (source.before is not None) == (
                    axis is None or shape[axis] >= 200
                )
                for found, meant in zip(*both(everything(axis), array, vectors=vectors)):
                    assert_array_equal(found, meant)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "bool"])
def test_small_integers_are_summed_in_half_the_bits(dtype: str) -> None:
    small = {"CHUNK": 256, "ENOUGH_ROWS": 4}
    columns = {"ENOUGH_BLOCKS": 4, "BLOCKS": 12, "CHUNK_ROWS": 1, "FEWEST_ROWS": 32}
    most = True if dtype == "bool" else np.iinfo(dtype).max
    with mock.patch.multiple(cuda_rows, **small), mock.patch.multiple(cuda_columns, **columns):
        for array in (integers((260, 48), dtype), np.full((40, 700), most, dtype)):
            for axis in (None, 0, 1):
                (found,), (meant,) = both(lambda x, axis=axis: (xp.sum(x, axis=axis),), array)
                assert_array_equal(found, meant)
                assert_array_equal(found, np.sum(array, axis=axis))
    (source,) = sources(lambda x: xp.sum(x, axis=0), integers((64, 4096), dtype))
    assert source is not None and "int32_scratch" in source.text and "int64_scratch" not in source.text


def test_what_chunks_are_combined_to() -> None:
    """A mean, a variance, several results of one walk, and another array beside them."""

    def function(x: Any) -> tuple[Any, ...]:
        total = xp.sum(x, axis=0)
        return xp.mean(x, axis=0), xp.std(x, axis=0), total * total + x[1], xp.max(x, axis=0) - total

    columns = {"ENOUGH_BLOCKS": 4, "BLOCKS": 12, "CHUNK_ROWS": 1, "FEWEST_ROWS": 32}
    array = np.random.default_rng(3).normal(2, 1, (200, 12)).astype(np.float32)
    with mock.patch.multiple(cuda_columns, **columns):
        assert all(source is not None and source.before is not None for source in sources(function, array))
        for found, meant in zip(*both(function, array)):
            assert_allclose(found, meant, rtol=1e-6)


# -- one walk for two reductions -----------------------------------------------------------------------------

EXTREMES = {
    "float32": [0.0, -0.0, 1.0, -1.0, 1e-45, np.inf, -np.inf, np.nan, -np.nan, 3e38, -3e38],
    "int32": [0, -1, 1, 2**31 - 1, -(2**31)],
    "uint32": [0, 1, 2**31, 2**32 - 1],
    "int8": [0, -1, 127, -128],
    "bool": [False, True],
    "float64": [0.0, -0.0, np.inf, -np.inf, np.nan, 1e300, -1e300],
    "int64": [0, 2**63 - 1, -(2**63), 2**40],
}


@pytest.mark.parametrize("dtype", EXTREMES)
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_places_of_extremes(dtype: str, axis: int | None) -> None:
    generator = np.random.default_rng(11)
    values = np.array(EXTREMES[dtype], dtype)
    for shape in ((3, 40), (37, 6)):
        for kept in (values, values[: len(values) // 2], values[-2:]):
            array = generator.choice(kept, shape)
            for find in ("argmax", "argmin"):
                with simulated():
                    found = np.asarray(getattr(xp, find)(xp.asarray(array), axis=axis))
                assert_array_equal(found, getattr(np, find)(array, axis=axis))


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_variances_in_one_walk(axis: int | None) -> None:
    """Far from zero, with first elements far from the others, with infinities; never negative."""
    generator = np.random.default_rng(12)
    near = generator.normal(0, 1, (60, 50)).astype(np.float32)
    outlier = near.copy()
    outlier[0], outlier[:, 0] = 1e6, -1e6
    infinite = near.copy()
    infinite[0, 3] = infinite[7, 0] = np.inf
    same = np.full((60, 50), 0.1, np.float32)
    for array in (near, near + np.float32(1e4), outlier, infinite, same, same * np.float32(1e20)):
        with simulated(), np.errstate(all="ignore"):
            found = np.asarray(xp.std(xp.asarray(array), axis=axis))
        with np.errstate(all="ignore"):
            meant = np.std(array.astype(np.float64), axis=axis)
        assert_allclose(found, meant, rtol=1e-5, atol=1e-6 * np.abs(array[np.isfinite(array)]).max() * 1e-3)


def test_a_walk_serves_both_reductions() -> None:
    for function in (lambda x: xp.argmax(x, axis=0), lambda x: xp.var(x, axis=0)):
        (source,) = sources(function, integers((64, 4096)))
        assert source is not None and source.text.count("load_vector(ahead") == 1


@pytest.mark.parametrize("length", [0, 1, 3, 31, 32, 33, 64, 520, 8200, 17000])
def test_rows_of_every_length(length: int) -> None:
    """Rows in the registers of a lane, a warp, a block, and rows too long for them."""

    def softmax(x: Any) -> Any:
        weights = xp.exp(x - xp.max(x, axis=1, keepdims=True))
        return weights / xp.sum(weights, axis=1, keepdims=True)

    def deviations(x: Any) -> Any:
        return xp.sum(x, axis=1), xp.sum((x - xp.mean(x, axis=1, keepdims=True)) ** 2, axis=1)

    array = integers((2, length))
    functions = [deviations, softmax] if length else [deviations]
    for function in functions:
        for found, meant in zip(*both(function, array)):
            assert_allclose(found, meant, rtol=1e-5)


@pytest.mark.parametrize(
    ("length", "dtype"), [(65, "float64"), (66, "float32"), (67, "int8"), (130, "float64"), (1023, "float32")]
)
def test_rows_between_multiples_of_a_vector(length: int, dtype: str) -> None:
    """Contiguous rows, padded ones, and some beside a shorter array."""
    generator = np.random.default_rng(length)
    values = generator.integers(-90, 90, (7, length + 3)).astype(dtype)
    weights = generator.integers(-9, 9, length).astype(dtype)

    def everything(x: Any, w: Any) -> tuple[Any, ...]:
        largest = xp.max(x, axis=1, keepdims=True)
        halves = (x - largest + w) // 2 if dtype == "int8" else (x - largest) / 2 + w
        found = [halves, xp.sum(x, axis=1), xp.argmin(x, axis=1), xp.sum(halves * x, axis=1)]
        return tuple(found if dtype == "int8" else [*found, xp.std(x, axis=1)])

    def views(x: Any, w: Any) -> tuple[Any, ...]:
        padded, several = x[:, :length], xp.reshape(x, (-1,))[: 5 * length]
        return (*everything(padded, w), *everything(xp.reshape(several, (5, length)), w))

    for function in (views, lambda x, w: everything(x[1:, 1 : length + 1], w)):
        for vectors in (True, False):
            for found, meant in zip(*both(function, values, weights, vectors=vectors)):
                assert_allclose(found, meant, rtol=1e-6)


def test_sums_stay_accurate() -> None:
    for dtype in (np.float32, np.float64):
        array = (np.random.default_rng(5).random((40, 1000)) * 200).astype(dtype)
        for axis in (None, 0, 1):
            with simulated():
                found = np.asarray(xp.sum(xp.asarray(array), axis=axis))
            expected = np.sum(array.astype(np.longdouble), axis=axis)
            assert np.all(np.abs(found - expected) <= np.finfo(dtype).eps * np.abs(expected))


def test_special_values() -> None:
    array = np.array([[1, np.nan, 3], [-0.0, 0.0, -0.0], [np.inf, -np.inf, 1], [np.inf, 1, 2]], np.float64)

    def found(x: Any) -> Any:
        return (
            xp.max(x, axis=1),
            xp.min(x, axis=1),
            xp.sum(x, axis=1),
            xp.argmax(x, axis=1),
            xp.prod(x, axis=1),
        )

    for mine, meant in zip(*both(found, array)):
        assert_array_equal(mine, meant)
        assert_array_equal(np.signbit(mine), np.signbit(meant)) if mine.ndim == 0 else None


def test_a_row_of_another_shape_takes_the_same_text() -> None:
    def softmax(x: Any) -> Any:
        weights = xp.exp(x - xp.max(x, axis=1, keepdims=True))
        return weights / xp.sum(weights, axis=1, keepdims=True)

    def texts(function: Callable[..., Any], shapes: list[tuple[int, ...]]) -> set[str]:
        return {
            s.text for shape in shapes for s in sources(function, np.ones(shape, np.float32)) if s is not None
        }

    assert len(texts(softmax, [(100, 400), (3, 4096), (5000, 20)])) == 1
    assert len(texts(softmax, [(100, 4100), (3, 8192), (3, 16384)])) == 1
    assert len(texts(softmax, [(100, 401), (3, 4093), (5000, 66), (7, 5)])) == 1
    assert len(texts(softmax, [(7, 2), (300, 3)])) == 1
    assert len(texts(lambda x: xp.sum(x, axis=1), [(1000, 400), (1000, 4000), (5000, 20)])) == 1
    assert len(texts(lambda x: xp.sum(x, axis=0), [(10, 4000), (600, 800), (512, 40)])) == 1
    # Seven chunks, or six, or forty.
    for function in (xp.sum, xp.max):
        combining = [
            source.text
            for size in (210_000, 196_608, 1_300_000)
            for source in sources(function, np.ones(size, np.float32))
            if source
        ]
        assert len(combining) == 3 and len(set(combining)) == 1


# -- transposed operands -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 128), (32, 48), (140, 16), (16, 17), (20, 3, 24)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "complex64"])
def test_transposed_operands(shape: tuple[int, ...], dtype: str) -> None:
    array = integers(shape, dtype)

    def function(x: Any) -> Any:
        return xp.permute_dims(x, tuple(reversed(range(x.ndim)))) * 3 - 1

    for found, meant in zip(*both(function, array)):
        assert_array_equal(found, meant)


def test_a_guard_that_fails_in_a_tile() -> None:
    array = np.full((70, 80), 0.5, np.float32)
    array[3, 5] = 1e6
    for found, meant in zip(*both(lambda x: xp.sin(x.T) * 2, array)):
        assert_allclose(found, meant, rtol=4e-7)


def test_transposed_operands_are_read_along_their_rows() -> None:
    (source,) = sources(lambda x, y: x.T + y, np.ones((96, 640), np.float32), np.ones((640, 96), np.float32))
    assert source.text.count("float32_shared(4160)") == 1 and source.block == (32, 16, 1)
    ptx = ptx_of(source)
    # Eight elements of each operand at once where the tile is whole, else one by one.
    assert ptx.count("ld.global.nc") == 2 * 9 and ptx.count("bar") >= 1 and ".local" not in ptx
    for shape in ((64, 64), (100, 77), (4, 96, 640)):
        (other,) = sources(
            lambda x, y: xp.matrix_transpose(x) + y,
            *np.ones((2, *shape), np.float32)[:1],
            np.ones((*shape[:-2], shape[-1], shape[-2]), np.float32),
        )
        assert other.text == source.text or len(shape) == 3


# -- scans ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1,), (7,), (64,), (130,), (1030,), (5, 40), (40, 5), (3, 700), (4, 3, 9)], ids=str
)
@pytest.mark.parametrize("dtype", ["float32", "int8", "complex64"])
def test_scans(shape: tuple[int, ...], dtype: str) -> None:
    array = integers(shape, dtype)
    for axis in range(len(shape)):
        functions = [lambda x: xp.cumulative_sum(x * 2, axis=axis) - x]  # noqa: B023 (called in this turn)
        if dtype != "complex64":
            functions.append(lambda x: xp.cumulative_prod(xp.astype(xp.sign(x), x.dtype), axis=axis))  # noqa: B023
        for function in functions:
            for found, meant in zip(*both(function, array)):
                assert_array_equal(found, meant)


def test_scans_of_neighbouring_rows() -> None:
    """A thread each, in chunks where they are few."""
    for shape in ((9, 300), (200, 40), (150, 2, 33)):
        array = integers(shape)
        for found, meant in zip(*both(lambda x: xp.cumulative_sum(x, axis=0) * x, array)):
            assert_array_equal(found, meant)
    (source,) = sources(lambda x: xp.cumulative_sum(x, axis=0), np.ones((200, 40), np.float32))
    assert source.grid == (1, 4, 1) and source.totals is not None and source.totals.grid == source.grid
    (source,) = sources(lambda x: xp.cumulative_prod(x, axis=0), np.ones((200, 40), np.float32))
    assert source.grid == (1, 1, 1) and source.totals is None


# Tiles of 512 elements, in groups of four.
SMALL_TILES = {"BLOCK": 128, "VECTORS": 1, "GROUP": 4, "ENOUGH_ROWS": 4}


@pytest.mark.parametrize("shape", [(1030,), (5000,), (3, 1100), (1100, 2), (2, 1036, 1), (2, 0)], ids=str)
@pytest.mark.parametrize(
    ("dtype", "vectors"), [("float32", True), ("float64", False), ("int8", True), ("complex64", True)]
)
def test_tiles_side_by_side(shape: tuple[int, ...], dtype: str, vectors: bool) -> None:
    array = integers(shape, dtype)
    axis = shape.index(max(shape))

    def sums(x: Any) -> Any:
        total = xp.cumulative_sum(x * 2, axis=axis)
        return total, total * x - 3, xp.cumulative_sum(x, axis=axis, include_initial=True)

    def products(x: Any) -> Any:
        return xp.cumulative_prod(xp.where(x > 0, xp.asarray(3), -1), axis=axis)

    with mock.patch.multiple(cuda_lookback, **SMALL_TILES):
        for function in (sums, *([products] if dtype != "complex64" else [])):
            for found, meant in zip(*both(function, array, vectors=vectors)):
                assert_array_equal(found, meant)
            if array.size:
                tiled = [s for s in sources(function, array, vectors=vectors) if s and s.words]
                assert tiled and all(s.grid[0] > 1 for s in tiled)


def test_a_group_of_groups_of_tiles() -> None:
    array = integers((20_000,), np.int64)
    with mock.patch.multiple(cuda_lookback, **{**SMALL_TILES, "GROUP": 2}):
        for found, meant in zip(*both(xp.cumulative_sum, array)):
            assert_array_equal(found, meant)


def test_running_totals_of_running_totals() -> None:
    """Another kernel, if a plan asks; else the host."""
    for found, meant in zip(*both(lambda x: xp.cumulative_sum(xp.cumulative_sum(x)), np.array([1.5, 2.0]))):
        assert_array_equal(found, meant)


def test_a_flattened_transpose_is_scanned_in_tiles() -> None:
    def function(x: Any) -> Any:
        return xp.cumulative_sum(xp.reshape(x.T, (-1,))) + 1

    with mock.patch.multiple(cuda_lookback, **SMALL_TILES):
        (source, *_) = sources(function, integers((30, 51)))
        for found, meant in zip(*both(function, integers((30, 51)))):
            assert_array_equal(found, meant)
    assert source is not None and source.words


def test_tiles_follow_from_the_shape() -> None:
    """How many there are, and whether they lie side by side."""
    (few,) = sources(xp.cumulative_sum, np.ones(1 << 15, np.float32))
    (many,) = sources(xp.cumulative_sum, np.broadcast_to(np.ones(1, np.int8), (1 << 25) + 5))
    assert few is not None and many is not None and few.text.count("awaited_float64") == 4
    # Tiles, groups of 32, groups of those; two words for a value of eight bytes.
    assert few.grid == (4, 1, 1) and few.words == (2 * (4 + 1 + 1),)
    assert many.grid == (4097, 1, 1) and many.words == (2 * (4097 + 129 + 5),)
    for rows, tiled in ((cuda_lookback.ENOUGH_ROWS - 1, True), (cuda_lookback.ENOUGH_ROWS, False)):
        tall = np.broadcast_to(np.ones(1, np.float64), (rows, 1 << 15))
        (source,) = sources(lambda x: xp.cumulative_sum(x, axis=1), tall)
        assert source is not None and bool(source.words) == tiled
    # A product of a tile might be infinite where no running product is.
    (source,) = sources(xp.cumulative_prod, np.ones(1 << 16, np.float32))
    assert source is not None and not source.words


def test_indices_are_checked_in_tiles() -> None:
    numbers = np.arange(1100.0)
    places = np.arange(1100)[::-1].copy()
    with mock.patch.multiple(cuda_lookback, **SMALL_TILES):
        found, meant = both(lambda x, k: xp.cumulative_sum(xp.take(x, k)), numbers, places)
        assert_array_equal(found[0], meant[0])
        with simulated(), pytest.raises(IndexError, match="out of bounds"):
            np.asarray(xp.cumulative_sum(xp.take(xp.asarray(numbers), xp.asarray(places + 1))))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "complex128"])
def test_tiles_side_by_side_compile(dtype: str) -> None:
    (source,) = sources(xp.cumulative_sum, np.ones(1 << 16, dtype))
    assert source is not None and source.words
    ptx = ptx_of(source)
    assert ".local" not in ptx and "shfl.sync.up" in ptx and "shfl.sync.bfly" in ptx
    assert "ld.relaxed" in ptx and "st.relaxed" in ptx and ".minnctapersm 4" in ptx
    if dtype != "complex128":
        assert ptx.count("ld.global.nc.v") == ptx.count("st.global.v") == 8


@pytest.mark.parametrize("dtype", dtypes.NUMERIC, ids=str)
def test_every_scan_compiles(dtype: np.dtype) -> None:
    for source in sources(lambda x: xp.cumulative_sum(x, axis=1), np.ones((40, 64), dtype)):
        assert source is not None
        ptx = ptx_of(source)
        assert ".local" not in ptx and "shfl.sync.up" in ptx and "bar.sync" in ptx


# -- PTX -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_every_reduction_compiles(dtype: np.dtype) -> None:
    if dtype == dtypes.float16:
        return
    array = np.ones((40, 64), dtype)
    for axis in (None, 0, 1):
        for source in sources(everything(axis), array):
            assert source is not None
            ptx = ptx_of(source)
            assert ".local" not in ptx, "an array that has no register"
            assert "shfl.sync" in ptx or "bar.sync" in ptx or axis == 0


def test_rows_and_columns_are_read_sixteen_bytes_at_a_time() -> None:
    def softmax(x: Any) -> Any:
        weights = xp.exp(x - xp.max(x, axis=1, keepdims=True))
        return weights / xp.sum(weights, axis=1, keepdims=True)

    array = np.ones((64, 640), np.float32)
    for function, loads, stores in (
        (lambda x: xp.sum(x, axis=1), 4, 0),
        (lambda x: xp.sum(x, axis=0), cuda_columns.AHEAD + 1, 0),
        (softmax, 4, 4),
    ):
        (source,) = sources(function, array)
        ptx = ptx_of(source)
        assert ptx.count("ld.global.nc.v4.b32") == loads
        assert ptx.count("st.global.v4.b32") == stores
        assert ".local" not in ptx
        assert source.aligned
        (source,) = sources(function, array, vectors=False)
        assert ".v4" not in ptx_of(source) and not source.aligned


def test_weights_beside_a_held_row_come_in_parts() -> None:
    def layer_norm(x: Any, scale: Any, shift: Any) -> Any:
        apart = x - xp.mean(x, axis=1, keepdims=True)
        return apart / xp.sqrt(xp.mean(apart * apart, axis=1, keepdims=True) + 1e-5) * scale + shift

    for length in (33, 64, 2052):
        arrays = (integers((3, length)), integers((length,)), integers((length,)) + 1)
        for found, meant in zip(*both(layer_norm, *arrays)):
            assert_allclose(found, meant, rtol=1e-5, atol=1e-6)
    (source,) = sources(layer_norm, *arrays)
    ptx = ptx_of(source)
    assert ".local" not in ptx
    order = "".join("r" if "ld" in line else "w" for line in re.findall(r"(?:ld|st)\.global.*v4", ptx))
    assert order == "rrrr" + 2 * "rrrrww"


def test_long_rows_are_read_ahead_and_from_registers(capfd: pytest.CaptureFixture[str]) -> None:
    def softmax(x: Any) -> Any:
        weights = xp.exp(x - xp.max(x, axis=1, keepdims=True))
        return weights / xp.sum(weights, axis=1, keepdims=True)

    (source,) = sources(softmax, np.ones((300, 20_000), np.float32))
    ptx = ptx_of(source)
    assert ".local" not in ptx
    # Each line of interest as a letter: a read of a vector, arithmetic of elements.
    order = "".join("r" if "nc.v4" in line else "a" for line in re.findall(r"ld.*nc.v4|.*f32", ptx))
    assert order.count("a" + "r" * cuda_rows.AHEAD + "a") >= 2, "pieces are read before any of them is used"
    assert capfd.readouterr().err == "", "LLVM says which loops it could not write out"
