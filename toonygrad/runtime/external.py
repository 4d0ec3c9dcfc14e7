"""Operations that a library does better than a generated kernel, as opaque nodes: name -> routine.

A routine takes NumPy views of its sources, the node's parameters and the array to fill. Called by plans;
knows NumPy alone. What a routine refuses, it refuses in the name of the user's call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Routine = Callable[[Sequence[np.ndarray], tuple[Any, ...], np.ndarray], None]


def _matmul(sources: Sequence[np.ndarray], parameters: tuple[Any, ...], out: np.ndarray) -> None:
    left, right = sources
    np.matmul(left, right, out=out)


# -- sorting -----------------------------------------------------------------------------------------------


def _sort(sources: Sequence[np.ndarray], parameters: tuple[Any, ...], out: np.ndarray) -> None:
    axis, descending, stable = parameters
    given, lanes = np.moveaxis(sources[0], axis, -1), np.moveaxis(out, axis, -1)
    lanes[...] = given
    lanes.sort(axis=-1)
    if descending:
        lanes[...] = lanes[..., ::-1]
    if stable and out.dtype.kind == "f":
        # Zeros are the only equal numbers that can be told apart. Putting theirs back in the order they came
        # in keeps the sort that isn't stable, which is several times as fast.
        zeros = given[given == 0]
        if np.signbit(zeros).any():
            lanes[lanes == 0] = zeros


def _argsort(sources: Sequence[np.ndarray], parameters: tuple[Any, ...], out: np.ndarray) -> None:
    axis, descending, stable = parameters
    kind: Any = "stable" if stable else "quicksort"
    if not descending:
        out[...] = np.argsort(sources[0], axis=axis, kind=kind)
        return
    # Reversed before as well as after, equal elements stand in their order again.
    backwards = np.argsort(np.flip(sources[0], axis), axis=axis, kind=kind)
    np.subtract(out.shape[axis] - 1, np.flip(backwards, axis), out=out)


def _searchsorted(sources: Sequence[np.ndarray], parameters: tuple[Any, ...], out: np.ndarray) -> None:
    ordered, values = sources
    out[...] = np.searchsorted(ordered, values, side=parameters[0])


# -- linear algebra ------------------------------------------------------------------------------------------


def _of_matrices(function: Callable[..., Any]) -> Routine:
    """What LAPACK answers; where it can't, LinAlgError naming the user's call, the first parameter."""

    def routine(sources: Sequence[np.ndarray], parameters: tuple[Any, ...], out: np.ndarray) -> None:
        call, *arguments = parameters
        try:
            out[...] = function(*sources, *arguments)
        except np.linalg.LinAlgError as error:
            raise np.linalg.LinAlgError(f"{call}: {error}") from None

    return routine


def _cholesky(x: np.ndarray, upper: bool) -> np.ndarray:
    return np.linalg.cholesky(x, upper=upper)


def _one_of(function: Callable[..., Any]) -> Routine:
    """One of several results, by its number, the second parameter."""

    def chosen(x: np.ndarray, which: int, *arguments: Any) -> np.ndarray:
        return function(x, *arguments)[which]

    return _of_matrices(chosen)


def _pinv(x: np.ndarray, rtol: np.ndarray | float) -> np.ndarray:
    return np.linalg.pinv(x, rtol=rtol)


# -- Fourier transforms --------------------------------------------------------------------------------------


def _transform(function: Callable[..., Any]) -> Routine:
    def routine(sources: Sequence[np.ndarray], parameters: tuple[Any, ...], out: np.ndarray) -> None:
        n, axis, norm = parameters
        function(sources[0], n=n, axis=axis, norm=norm, out=out)

    return routine


EXTERNAL: dict[str, Routine] = {
    "matmul": _matmul,
    "sort": _sort,
    "argsort": _argsort,
    "searchsorted": _searchsorted,
    "cholesky": _of_matrices(_cholesky),
    "det": _of_matrices(np.linalg.det),
    "eigvals": _of_matrices(np.linalg.eigvals),
    "eigvalsh": _of_matrices(np.linalg.eigvalsh),
    "inv": _of_matrices(np.linalg.inv),
    "pinv": _of_matrices(_pinv),
    "solve": _of_matrices(np.linalg.solve),
    "svdvals": _of_matrices(np.linalg.svdvals),
    "eig": _one_of(np.linalg.eig),
    "eigh": _one_of(np.linalg.eigh),
    "qr": _one_of(np.linalg.qr),
    "slogdet": _one_of(np.linalg.slogdet),
    "svd": _one_of(np.linalg.svd),
    "fft": _transform(np.fft.fft),
    "ifft": _transform(np.fft.ifft),
    "rfft": _transform(np.fft.rfft),
    "irfft": _transform(np.fft.irfft),
}
