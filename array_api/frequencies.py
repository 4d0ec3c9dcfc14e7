"""The frequencies of Fourier transforms and their order (the standard's extension "fft").

Re-exported by toonygrad.fft beside the transforms. Expressions, which fuse with what surrounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toonygrad import dtypes, record
from toonygrad.array import Array, array_node, from_node
from toonygrad.array_api.arguments import MOST_ELEMENTS, real
from toonygrad.array_api.manipulation import roll
from toonygrad.dtypes import DTypeLike
from toonygrad.errors import dtype_error
from toonygrad.placement import chosen, on_device

__all__ = ["fftfreq", "fftshift", "ifftshift", "rfftfreq"]


def fftfreq(n: int, /, *, d: float = 1.0, dtype: DTypeLike | None = None, device: str | None = None) -> Array:
    """The frequencies of what `fft` answers: 0, 1, ..., then the negative ones up to -1, divided by d * n.

    Parameters
    ----------
    n : int
        How many.
    d : float
        The time between two samples.
    dtype : optional
        A real floating data type. None: float64.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.

    Returns
    -------
    Array
        Of shape (n,), cycles per unit of `d`.

    Raises
    ------
    TypeError
        `n` is no integer, `d` no real number, or `dtype` not real floating.
    ValueError
        `n` isn't positive, `d` is 0, or there is no such device.

    Notes
    -----
    The standard's "fft" extension, `fftfreq`.
    """
    count, length, kind = _frequencies("fftfreq", n, d, dtype)
    place = record.iota((count,), 0)
    turned = place - record.number("fftfreq", count, dtypes.INDEX)
    negative = place > record.number("fftfreq", (count - 1) // 2, dtypes.INDEX)
    position = record.cast(negative.where(turned, place), dtypes.float64)
    frequencies = position / record.number("fftfreq", length, dtypes.float64)
    return from_node(on_device(record.cast(frequencies, kind), chosen("fftfreq", device)))


def rfftfreq(
    n: int, /, *, d: float = 1.0, dtype: DTypeLike | None = None, device: str | None = None
) -> Array:
    """The frequencies of what `rfft` answers for `n` elements: 0, 1, ..., n // 2, divided by d * n.

    Parameters
    ----------
    n : int
        How many elements were transformed.
    d : float
        The time between two samples.
    dtype : optional
        A real floating data type. None: float64.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.

    Returns
    -------
    Array
        Of shape (n // 2 + 1,), cycles per unit of `d`.

    Raises
    ------
    TypeError
        `n` is no integer, `d` no real number, or `dtype` not real floating.
    ValueError
        `n` isn't positive, `d` is 0, or there is no such device.

    Notes
    -----
    The standard's "fft" extension, `rfftfreq`.
    """
    count, length, kind = _frequencies("rfftfreq", n, d, dtype)
    position = record.cast(record.iota((count // 2 + 1,), 0), dtypes.float64)
    frequencies = position / record.number("rfftfreq", length, dtypes.float64)
    return from_node(on_device(record.cast(frequencies, kind), chosen("rfftfreq", device)))


def fftshift(x: Array, /, *, axes: int | Sequence[int] | None = None) -> Array:
    """The frequency 0 brought from the front to the middle.

    Parameters
    ----------
    x : Array
        Any shape, any data type.
    axes : int or sequence of int, optional
        None: all.

    Returns
    -------
    Array
        Of the shape and data type of `x`.

    Raises
    ------
    TypeError
        `x` is no Array, or an axis no integer.
    ValueError, IndexError
        An axis is named twice, or out of bounds.

    Notes
    -----
    The standard's "fft" extension, `fftshift`.
    """
    return _shifted("fftshift", x, axes, lambda size: size // 2)


def ifftshift(x: Array, /, *, axes: int | Sequence[int] | None = None) -> Array:
    """The frequency 0 brought from the middle to the front: the inverse of `fftshift`.

    Parameters
    ----------
    x : Array
        Any shape, any data type.
    axes : int or sequence of int, optional
        None: all.

    Returns
    -------
    Array
        Of the shape and data type of `x`.

    Raises
    ------
    TypeError
        `x` is no Array, or an axis no integer.
    ValueError, IndexError
        An axis is named twice, or out of bounds.

    Notes
    -----
    The standard's "fft" extension, `ifftshift`.
    """
    return _shifted("ifftshift", x, axes, lambda size: -(size // 2))


def _frequencies(call: str, n: Any, d: Any, dtype: Any) -> tuple[int, float, np.dtype]:
    kind = dtypes.DEFAULT_FLOAT if dtype is None else record.data_type(call, dtype)
    if kind not in dtypes.REAL_FLOATING:
        raise dtype_error(call, "real floating", kind)
    count, spacing = record.integer(call, "n", n), real(call, "d", d)
    if not 1 <= count <= MOST_ELEMENTS or spacing == 0:
        raise ValueError(f"{call}: there are no frequencies of {count} samples {d} apart")
    return count, spacing * count, kind


def _shifted(call: str, x: Array, axes: Any, places: Callable[[int], int]) -> Array:
    node = array_node(call, x)
    along = record.several_axes(call, axes, len(node.shape))
    if not along:
        return from_node(node)
    return roll(x, tuple(places(node.shape[axis]) for axis in along), axis=along)
