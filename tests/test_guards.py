"""Blocks computed again: each shape of loop once what it assumes of its numbers fails.

A sine reduces arguments beyond 2**32 in another, slow way. One such argument must change nothing but its own
element, and nothing may be counted twice.
"""

import numpy as np
import pytest

import toonygrad as xp
from toonygrad.config import config

HUGE = 1e20


def arguments(*places: tuple[int, int]) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(300, 2500))
    for place in places:
        x[place] = HUGE
    return x


@pytest.mark.parametrize("places", [[], [(0, 0)], [(299, 2499)], [(5, 7), (5, 1100), (170, 1023)]])
@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("name", ["sum", "max", "prod"])
def test_reductions_count_every_element_once(
    name: str, axis: int | None, places: list[tuple[int, int]]
) -> None:
    x = arguments(*places)
    with config(compile="always"):
        found = np.asarray(getattr(xp, name)(xp.sin(xp.asarray(x)), axis=axis))
    expected = getattr(np, name)(np.sin(x), axis=axis)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("axis", [0, 1])
def test_running_sums_go_on_from_where_they_were(axis: int) -> None:
    x = arguments((5, 7), (5, 1100), (170, 1023))
    with config(compile="always"):
        found = np.asarray(xp.cumulative_sum(xp.sin(xp.asarray(x)), axis=axis))
    np.testing.assert_allclose(found, np.cumsum(np.sin(x), axis=axis), rtol=1e-10, atol=1e-10)


def test_elements_are_right_beside_a_huge_one() -> None:
    x = arguments((5, 7), (299, 2499))
    with config(compile="always"):
        found = np.asarray(xp.sin(xp.asarray(x)))
    np.testing.assert_allclose(found, np.sin(x), rtol=1e-15)


@pytest.mark.parametrize("places", [[0], [1023, 1024], [4999]])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_a_modulus_is_right_beside_extreme_ones(dtype: str, places: list[int]) -> None:
    limits, inf, nan = np.finfo(dtype), np.inf, np.nan
    least, most = float(limits.smallest_subnormal), float(limits.max)
    z = np.random.default_rng(1).normal(size=10000).view(complex).astype(dtype)
    z[10:14] = [0, complex(-0.0, 0.0), complex(nan, 1.0), complex(0.0, 1.0)]
    for extreme in (
        *(complex(inf, nan), complex(nan, -inf), complex(-inf, inf), complex(nan, most), complex(most, 0.0)),
        *(
            complex(3 * least, 4 * least),
            complex(0.0, -least),
            complex(most / 2, most / 4),
            complex(1e-30, 1e30),
        ),
    ):
        z[places] = extreme
        with config(compile="always"):
            a = xp.asarray(z)
            found = [np.asarray(xp.abs(a)), np.asarray(xp.hypot(xp.real(a), xp.imag(a)))]
        for each in found:
            np.testing.assert_array_max_ulp(each, np.hypot(z.real, z.imag), 1)
            assert not np.signbit(each).any()
