"""Complex arrays in compiled kernels: both parts through one pointer, so that loops load vectors."""

from collections.abc import Callable

import numpy as np
import pytest

import toonygrad as xp
from toonygrad.codegen.cpu import Parameter
from toonygrad.runtime.compile import kernel_llvm


def complex_array(*shape: int, dtype: str = "complex128", seed: int = 0) -> np.ndarray:
    real, imaginary = np.random.default_rng(seed).normal(size=(2, *shape))
    return (real + 1j * imaginary).astype(dtype)


def pointers(expression: xp.Array) -> list[str]:
    """The names of a kernel's array arguments."""
    (kernel,) = xp.explain(expression).kernels
    names = kernel.function.partition("(")[2].partition(")")[0].split(", ")
    return [name for name in names if name.startswith(("in", "out"))]


def test_both_parts_go_through_one_pointer() -> None:
    z, w = (xp.asarray(complex_array(10000, seed=seed)) for seed in range(2))
    assert pointers(z * w) == ["out0", "in0", "in1"]
    assert pointers(z / xp.conj(z)) == ["out0", "in0"]
    assert pointers(xp.abs(z)) == ["out0", "in0"]
    assert pointers(xp.real(z) * xp.imag(z)) == ["out0", "in0"]
    assert pointers(xp.real(z[1:]) * xp.imag(z[:-1])) == ["out0", "in0", "in1"]


def test_products_load_and_store_vectors() -> None:
    z, w = (xp.asarray(complex_array(10000, seed=seed)) for seed in range(2))
    (kernel,) = xp.explain(z * w + z).kernels
    parameters = [Parameter(name, "pointer", np.dtype("float64")) for name in pointers(z * w + z)]
    text = kernel_llvm(kernel.function, kernel.name, parameters)
    assert "shufflevector" in text and "fmul <" in text
    assert "gather" not in text and "scatter" not in text


EXPRESSIONS: dict[str, Callable[..., object]] = {
    "real": lambda xp, z: xp.real(z) + 1.0,
    "imaginary": lambda xp, z: xp.imag(z) * 2.0,
    "parts of views": lambda xp, z: xp.imag(z[::-2, 3:]) - xp.real(z[1::2, :-3]),
    "parts of the transpose": lambda xp, z: xp.imag(z.T)[5:, ::-1] + xp.real(z.T)[:-5],
    "every third": lambda xp, z: z[:, ::3] * z[:, 1::3],
    "gathered": lambda xp, z: xp.take(z, xp.asarray([5, 0, 7, 7]), axis=1) + xp.real(z[:, :4]),
    "picked by its own part": lambda xp, z: (
        xp.take(z, xp.astype(xp.imag(z[0]) * 0.0, xp.int64), axis=0) + z[0]
    ),
    "broadcast": lambda xp, z: z[:, :1] * xp.conj(z[0]) + xp.imag(z[1]),
    "sums": lambda xp, z: xp.sum(z * z, axis=0) + xp.sum(xp.imag(z), axis=0),
    "sums of rows": lambda xp, z: xp.sum(z / (z + 2.0), axis=1) + xp.sum(xp.real(z), axis=1),
    "whole sum": lambda xp, z: xp.sum(xp.conj(z)),
}


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_parts_are_found_wherever_they_lie(name: str, dtype: str) -> None:
    z = complex_array(60, 99, dtype=dtype)
    with xp.config(compile="always"):
        found = np.asarray(EXPRESSIONS[name](xp, xp.asarray(z)))
    expected = np.asarray(EXPRESSIONS[name](np, z))
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-4 if dtype == "complex64" else 1e-12)
