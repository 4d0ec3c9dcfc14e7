"""Selecting by masks and positions of truths, in chunks on all cores and by NumPy, against NumPy."""

import numpy as np
import pytest

import toonygrad as xp
from toonygrad.runtime import selection

DTYPES = ["bool", "int8", "float16", "uint16", "float32", "float64", "int64", "complex64", "complex128"]
SHAPES = [(5,), (selection.CHUNK + 1,), (2 * selection.CHUNK,), (333, 334), (60, 30, 40), (1, 70000)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_masks_of_all_elements(shape: tuple[int, ...], dtype: str) -> None:
    generator = np.random.default_rng(0)
    a = generator.integers(-5, 5, shape).astype(dtype)
    for share in (0.0, 0.01, 0.5, 1.0):
        mask = generator.random(shape) < share
        x, chosen = xp.asarray(a), xp.asarray(mask)
        found = x[chosen]
        assert found.dtype == a.dtype
        np.testing.assert_array_equal(np.asarray(found), a[mask])
        np.testing.assert_array_equal(np.asarray(x[mask]), a[mask])
        axes = tuple(range(x.ndim))[::-1]
        moved, mask_moved = xp.permute_dims(x, axes), xp.permute_dims(chosen, axes)
        np.testing.assert_array_equal(np.asarray(moved[mask_moved]), a.T[mask.T])
        np.testing.assert_array_equal(np.asarray(x[..., ::-1][chosen]), a[..., ::-1][mask])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_positions(shape: tuple[int, ...]) -> None:
    a = np.random.default_rng(1).integers(0, 2, shape)
    found = xp.nonzero(xp.asarray(a))
    for one, other in zip(found, np.nonzero(a), strict=True):
        assert one.dtype == xp.int64
        np.testing.assert_array_equal(np.asarray(one), other)
    rows = a.reshape(len(a), -1)[:, 0] != 0
    np.testing.assert_array_equal(np.asarray(xp.asarray(a)[xp.asarray(rows)]), a[rows])


def test_threads_change_nothing() -> None:
    a = np.random.default_rng(2).normal(size=300_001)
    for threads in (1, 2, 5):
        with xp.config(num_threads=threads):
            x = xp.asarray(a)
            np.testing.assert_array_equal(np.asarray(x[x > 0.3]), a[a > 0.3])
            np.testing.assert_array_equal(np.asarray(xp.nonzero(x > 0.3)[0]), np.nonzero(a > 0.3)[0])


def test_truths_of_other_bits_count_once() -> None:
    mask = np.full(100_000, 255, np.uint8)
    mask[::3] = 0
    a = np.arange(100_000.0)
    np.testing.assert_array_equal(np.asarray(xp.asarray(a)[xp.asarray(mask.view(bool))]), a[mask != 0])


def test_what_a_mask_is_made_from_is_computed_once() -> None:
    x = xp.asarray(np.linspace(-1, 1, 100_000))
    y = xp.exp(x) - 1
    before = xp.counters()
    found = y[y > 0]
    made = xp.counters() - before
    assert (made.plans_made, made.kernels_launched) == (1, 3)  # y and the mask, counts, elements
    np.testing.assert_allclose(np.asarray(found), np.exp(np.asarray(x)[50_000:]) - 1, atol=1e-15)


def test_a_selection_keeps_its_elements() -> None:
    x = xp.asarray(np.arange(100_000.0))
    found = x[x > 10]
    x[...] = 0.0
    found[0] = -1.0
    assert float(found[1]) == 12.0
    assert float(xp.sum(x)) == 0.0


def test_small_arrays_and_never_compile_nothing() -> None:
    before = xp.counters()
    x = xp.asarray(np.arange(100.0))
    assert x[x > 50].shape == (49,)
    with xp.config(compile="never"):
        x = xp.asarray(np.arange(100_000.0))
        assert x[x > 50].shape == (99_949,)
    assert (xp.counters() - before).kernels_launched == 0


def test_a_mask_that_changes_meanwhile_writes_nothing_out_of_bounds() -> None:
    """Counted in one launch, read again in another: a foreign thread may write shared memory between them."""
    mask = np.zeros(100_000, bool)
    accumulate = np.add.accumulate

    def change(offsets: np.ndarray, out: np.ndarray) -> np.ndarray:
        mask[:] = True
        return accumulate(offsets, out=out)

    patched = pytest.MonkeyPatch()
    with patched.context() as context:
        context.setattr(selection.np.add, "accumulate", change, raising=False)
        assert selection.selected(mask, np.ones(100_000)).array.size == 0
