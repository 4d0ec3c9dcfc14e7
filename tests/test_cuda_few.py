"""Few results side by side that share work, and short reductions within others: one kernel on a GPU, in which
nothing is stored for all pairs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import pytest
from fake_driver import fake_gpus
from numpy.testing import assert_allclose, assert_array_equal

import toonygrad as xp
from toonygrad.codegen import cuda_few


def forces(xp: Any, position: Any, mass: Any) -> Any:
    away = position[None, :, :] - position[:, None, :]
    squared = xp.sum(away * away, axis=-1) + 1e-3
    return xp.sum(away * (mass / (squared * xp.sqrt(squared)))[:, :, None], axis=1)


def forces_of_planes(xp: Any, position: Any, mass: Any) -> Any:
    """The same where a component lies beside the next."""
    away = position.T[:, None, :] - position.T[:, :, None]
    squared = xp.sum(away * away, axis=0) + 1e-3
    return xp.sum(away * (mass / (squared * xp.sqrt(squared))), axis=2).T


def guarded_forces(xp: Any, position: Any, mass: Any) -> Any:
    away = position[None, :, :] - position[:, None, :]
    weight = xp.exp(-xp.sum(away * away, axis=-1)) * mass
    return xp.sum(away * weight[:, :, None], axis=1)


def extremes_and_sums(xp: Any, position: Any, mass: Any) -> Any:
    """Two reductions of one kernel."""
    weight = xp.sqrt(mass * mass + 1.0) / (mass + 2.0) / (mass + 3.0) / (mass + 4.0)
    weighted = position * weight[:, None]
    return xp.stack([xp.sum(weighted, axis=0), xp.max(weighted, axis=0)])


def weighted_mean(xp: Any, position: Any, mass: Any) -> Any:
    weight = xp.exp(mass)
    return xp.sum(position * weight[:, None], axis=0)


def close_pairs(xp: Any, position: Any, mass: Any) -> Any:
    """For each body the largest of what short reductions say of the others."""
    away = xp.abs(position[None, :, :] - position[:, None, :])
    return xp.max(xp.max(away, axis=-1) - xp.min(away, axis=-1), axis=1)


def on_gpu(function: Callable[..., Any], *arrays: np.ndarray) -> tuple[np.ndarray, int]:
    """The result, and how many kernels were launched."""
    with fake_gpus(1 << 28), xp.config(device="cuda"):
        result = function(xp, *map(xp.asarray, arrays))
        before = xp.counters()
        found = np.asarray(result)
        return found, (xp.counters() - before).kernels_launched


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", [forces, forces_of_planes, guarded_forces, close_pairs])
@pytest.mark.parametrize("enough", [9, 528])
def test_pairs_are_never_stored(function: Callable[..., Any], dtype: str, enough: int) -> None:
    """Where rows are few each has a block, and of many rows some share one."""
    generator = np.random.default_rng(5)
    position, mass = generator.random((71, 3)).astype(dtype), generator.random(71).astype(dtype)
    with mock.patch.object(cuda_few, "ENOUGH_BLOCKS", enough):
        found, kernels = on_gpu(function, position, mass)
    meant = function(np, position.astype(np.float64), mass.astype(np.float64))
    assert kernels == 1
    assert_allclose(found, meant, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-5 * np.abs(meant).max())


def test_quotients_of_every_size() -> None:
    """Zeros, infinities and the ends of the range among divisors."""
    generator = np.random.default_rng(8)
    mass = generator.choice(np.float32([0.0, 1.0, 1e-30, 1e30, 1e-42, 3.0, np.inf]), 600, p=[0.1] * 6 + [0.4])
    for kept in (mass, np.where(np.isinf(mass), np.float32(2), mass)):
        spread = generator.normal(0, 1, (600, 3)).astype(np.float32)

        def quotients(xp: Any, position: Any, mass: Any) -> Any:
            weight = xp.sqrt(position[:, 0] ** 2) / mass / (mass + 1.0) / 3.0
            return xp.max(position * weight[:, None], axis=0)

        with np.errstate(all="ignore"):
            meant = quotients(np, spread, kept)
        found, _ = on_gpu(quotients, spread, kept)
        assert_array_equal(found, meant)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", [weighted_mean, extremes_and_sums])
def test_few_results_of_many_elements_come_in_chunks(function: Callable[..., Any], dtype: str) -> None:
    generator = np.random.default_rng(6)
    position, mass = generator.normal(0, 1, (3001, 5)).astype(dtype), generator.random(3001).astype(dtype)
    with mock.patch.object(cuda_few, "CHUNK", 600):
        found, kernels = on_gpu(function, position, mass)
    meant = function(np, position.astype(np.float64), mass.astype(np.float64))
    assert kernels >= 2
    assert_allclose(found, meant, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-6 * np.abs(meant).max())


def test_what_results_share_is_gathered_or_rolled() -> None:
    generator = np.random.default_rng(9)
    values, weights = generator.random((3000, 3)), generator.random(3000)
    places = generator.integers(0, 3000, 3000)

    def gathered(xp: Any, x: Any, w: Any, i: Any) -> Any:
        return xp.sum(x * xp.exp(xp.take(w, i))[:, None] * xp.take(x, i, axis=0), axis=0)

    def rolled(xp: Any, x: Any, w: Any, i: Any) -> Any:
        return xp.sum(x * (xp.exp(xp.roll(w, 3) * 1.5) + xp.sin(w))[:, None], axis=0)

    def of_integers(xp: Any, x: Any, w: Any, i: Any) -> Any:
        return xp.sum(xp.stack([i, -i, i], axis=1) * (i * i + i // 3 + i % 7)[:, None], axis=0)

    for function in (gathered, rolled, of_integers):
        found, _ = on_gpu(function, values, weights, places)
        assert_allclose(found, function(np, values, weights, places), rtol=1e-13)
    places[7] = 9999
    with pytest.raises(IndexError, match="out of bounds"):
        on_gpu(gathered, values, weights, places)


def test_many_reductions_of_few_results() -> None:
    """As many as a thread has totals for, and more."""

    def several(xp: Any, x: Any, w: Any, count: int) -> Any:
        shared = xp.exp(w)[:, None]
        return xp.stack([xp.sum(x * shared * k, axis=0) for k in range(1, count + 1)])

    generator = np.random.default_rng(10)
    values, weights = generator.random((3000, 8)), generator.random(3000)
    for count in (4, 7):
        found, _ = on_gpu(partial(several, count=count), values, weights)
        assert_allclose(found, several(np, values, weights, count), rtol=1e-12)


def test_another_number_of_bodies_takes_the_same_text() -> None:
    generator = np.random.default_rng(7)
    compiled = []
    for count in (70, 131, 90):
        with fake_gpus(1 << 28), xp.config(device="cuda"):
            arrays = [xp.asarray(generator.random(shape)) for shape in ((count, 3), (count,))]
            compiled.append({kernel.source for kernel in xp.explain(forces(xp, *arrays)).kernels})
    assert compiled[0] == compiled[1] == compiled[2] and len(compiled[0]) == 1
