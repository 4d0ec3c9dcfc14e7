"""Discrete Fourier transforms (the standard's extension "fft").

toonygrad.fft re-exports these. Transforms along one axis are a library's routines, recorded; those along
several are chains of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from toonygrad import dtypes, record
from toonygrad.array import Array, array_node, from_node
from toonygrad.array_api.arguments import MOST_ELEMENTS, sequence
from toonygrad.array_api.frequencies import fftfreq, fftshift, ifftshift, rfftfreq
from toonygrad.errors import dtype_error
from toonygrad.uop.ops import Ops

__all__ = [
    "fft",
    "ifft",
    "fftn",
    "ifftn",
    "rfft",
    "irfft",
    "rfftn",
    "irfftn",
    "hfft",
    "ihfft",
    "fftfreq",
    "rfftfreq",
    "fftshift",
    "ifftshift",
]

Norm = Literal["backward", "ortho", "forward"]


def fft(x: Array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Array:
    """Discrete Fourier transforms along an axis.

    Parameters
    ----------
    x : Array
        At least one dimension, of a numeric data type; integers are taken as float64.
    n : int, optional
        How many elements are transformed: `x` is cut off, or zeros stand behind it. None: all there are.
    axis : int
    norm : {"backward", "ortho", "forward"}
        By what results are divided: 1, the square root of `n`, or `n`.

    Returns
    -------
    Array
        Complex, in the precision of `x`, with size `n` along `axis`.

    Raises
    ------
    TypeError
        `x` is boolean, or `n` no integer.
    ValueError
        `n` isn't positive, or `norm` none of the three.
    IndexError
        `axis` is out of bounds.

    Notes
    -----
    The standard's "fft" extension, `fft`.
    """
    return _along_one("fft", x, n, axis, norm)


def ifft(x: Array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Array:
    """Inverse discrete Fourier transforms along an axis.

    Parameters
    ----------
    x : Array
        At least one dimension, of a numeric data type; integers are taken as float64.
    n : int, optional
        How many elements are transformed: `x` is cut off, or zeros stand behind it. None: all there are.
    axis : int
    norm : {"backward", "ortho", "forward"}
        By what results are divided: `n`, its square root, or 1.

    Returns
    -------
    Array
        Complex, in the precision of `x`, with size `n` along `axis`.

    Raises
    ------
    TypeError
        `x` is boolean, or `n` no integer.
    ValueError
        `n` isn't positive, or `norm` none of the three.
    IndexError
        `axis` is out of bounds.

    Notes
    -----
    The standard's "fft" extension, `ifft`.
    """
    return _along_one("ifft", x, n, axis, norm)


def rfft(x: Array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Array:
    """Discrete Fourier transforms of real numbers along an axis, without the half that mirrors the other.

    Parameters
    ----------
    x : Array
        At least one dimension, of a real numeric data type; integers are taken as float64.
    n : int, optional
        How many elements are transformed: `x` is cut off, or zeros stand behind it. None: all there are.
    axis : int
    norm : {"backward", "ortho", "forward"}
        By what results are divided: 1, the square root of `n`, or `n`.

    Returns
    -------
    Array
        Complex, in the precision of `x`, with size n // 2 + 1 along `axis`.

    Raises
    ------
    TypeError
        `x` is complex or boolean, or `n` no integer.
    ValueError
        `n` isn't positive, or `norm` none of the three.
    IndexError
        `axis` is out of bounds.

    Notes
    -----
    The standard's "fft" extension, `rfft`.
    """
    return _along_one("rfft", x, n, axis, norm)


def irfft(x: Array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Array:
    """Inverse of `rfft` along an axis.

    Parameters
    ----------
    x : Array
        At least one dimension, of a numeric data type; integers are taken as float64.
    n : int, optional
        How many elements the result has: n // 2 + 1 of `x` are taken, with zeros behind where there are less.
        None: 2 * (m - 1) for a size of m.
    axis : int
    norm : {"backward", "ortho", "forward"}
        By what results are divided: `n`, its square root, or 1.

    Returns
    -------
    Array
        Real, in the precision of `x`, with size `n` along `axis`.

    Raises
    ------
    TypeError
        `x` is boolean, or `n` no integer.
    ValueError
        `n` isn't positive, or `norm` none of the three.
    IndexError
        `axis` is out of bounds.

    Notes
    -----
    The standard's "fft" extension, `irfft`.
    """
    return _along_one("irfft", x, n, axis, norm)


def hfft(x: Array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Array:
    """Discrete Fourier transforms of signals with Hermitian symmetry, of which one half is given.

    Parameters
    ----------
    x : Array
        At least one dimension, of a numeric data type; integers are taken as float64.
    n : int, optional
        How many elements the result has: n // 2 + 1 of `x` are taken, with zeros behind where there are less.
        None: 2 * (m - 1) for a size of m.
    axis : int
    norm : {"backward", "ortho", "forward"}
        By what results are divided: 1, the square root of `n`, or `n`.

    Returns
    -------
    Array
        Real, in the precision of `x`, with size `n` along `axis`.

    Raises
    ------
    TypeError
        `x` is boolean, or `n` no integer.
    ValueError
        `n` isn't positive, or `norm` none of the three.
    IndexError
        `axis` is out of bounds.

    Notes
    -----
    The standard's "fft" extension, `hfft`.
    """
    call = "hfft"
    node = record.elementwise(call, Ops.CONJ, _checked(call, x, norm))
    along = record.one_axis(call, axis, len(node.shape))
    return from_node(_transformed(call, "irfft", node, n, along, _OPPOSITE[norm]))


def ihfft(x: Array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward") -> Array:
    """Inverse of `hfft` along an axis.

    Parameters
    ----------
    x : Array
        At least one dimension, of a real numeric data type; integers are taken as float64.
    n : int, optional
        How many elements are transformed: `x` is cut off, or zeros stand behind it. None: all there are.
    axis : int
    norm : {"backward", "ortho", "forward"}
        By what results are divided: `n`, its square root, or 1.

    Returns
    -------
    Array
        Complex, in the precision of `x`, with size n // 2 + 1 along `axis`.

    Raises
    ------
    TypeError
        `x` is complex or boolean, or `n` no integer.
    ValueError
        `n` isn't positive, or `norm` none of the three.
    IndexError
        `axis` is out of bounds.

    Notes
    -----
    The standard's "fft" extension, `ihfft`.
    """
    call = "ihfft"
    node = _checked(call, x, norm)
    along = record.one_axis(call, axis, len(node.shape))
    transform = _transformed(call, "rfft", node, n, along, _OPPOSITE[norm])
    return from_node(record.elementwise(call, Ops.CONJ, transform))


def fftn(
    x: Array,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = "backward",
) -> Array:
    """Discrete Fourier transforms along several axes.

    Parameters
    ----------
    x : Array
        Any shape, of a numeric data type; integers are taken as float64.
    s : sequence of int, optional
        For each of `axes`, which then must be given, how many elements are transformed: `x` is cut off, or
        zeros stand behind it. -1: all there are.
    axes : sequence of int, optional
        None: all.
    norm : {"backward", "ortho", "forward"}
        By what results are divided: 1, the square root of the number of elements transformed, or that number.

    Returns
    -------
    Array
        Complex, in the precision of `x`, with the sizes `s` along `axes`.

    Raises
    ------
    TypeError
        `x` is boolean, or a size or an axis no integer.
    ValueError
        A size isn't positive, there are more or fewer of them than axes, an axis is named twice, or `norm` is
        none of the three.
    IndexError
        An axis is out of bounds.

    Notes
    -----
    The standard's "fft" extension, `fftn`.
    """
    return _complex_along_several("fftn", "fft", x, s, axes, norm)


def ifftn(
    x: Array,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = "backward",
) -> Array:
    """Inverse discrete Fourier transforms along several axes.

    Parameters
    ----------
    x : Array
        Any shape, of a numeric data type; integers are taken as float64.
    s : sequence of int, optional
        For each of `axes`, which then must be given, how many elements are transformed: `x` is cut off, or
        zeros stand behind it. -1: all there are.
    axes : sequence of int, optional
        None: all.
    norm : {"backward", "ortho", "forward"}
        By what results are divided: the number of elements transformed, its square root, or 1.

    Returns
    -------
    Array
        Complex, in the precision of `x`, with the sizes `s` along `axes`.

    Raises
    ------
    TypeError
        `x` is boolean, or a size or an axis no integer.
    ValueError
        A size isn't positive, there are more or fewer of them than axes, an axis is named twice, or `norm` is
        none of the three.
    IndexError
        An axis is out of bounds.

    Notes
    -----
    The standard's "fft" extension, `ifftn`.
    """
    return _complex_along_several("ifftn", "ifft", x, s, axes, norm)


def rfftn(
    x: Array,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = "backward",
) -> Array:
    """Discrete Fourier transforms of real numbers along several axes, the last of them as of `rfft`.

    Parameters
    ----------
    x : Array
        At least one dimension, of a real numeric data type; integers are taken as float64.
    s : sequence of int, optional
        For each of `axes`, which then must be given, how many elements are transformed: `x` is cut off, or
        zeros stand behind it. -1: all there are.
    axes : sequence of int, optional
        At least one. None: all.
    norm : {"backward", "ortho", "forward"}
        By what results are divided: 1, the square root of the number of elements transformed, or that number.

    Returns
    -------
    Array
        Complex, in the precision of `x`, with the sizes `s` along `axes`, but s[-1] // 2 + 1 along the last.

    Raises
    ------
    TypeError
        `x` is complex or boolean, or a size or an axis no integer.
    ValueError
        A size isn't positive, there are more or fewer of them than axes, there is no axis or one is named
        twice, or `norm` is none of the three.
    IndexError
        An axis is out of bounds.

    Notes
    -----
    The standard's "fft" extension, `rfftn`.
    """
    call = "rfftn"
    node, along, sizes = _several(call, x, s, axes, norm)
    node = _transformed(call, "rfft", node, sizes[-1], along[-1], norm)
    for axis, size in zip(reversed(along[:-1]), reversed(sizes[:-1])):
        node = _transformed(call, "fft", node, size, axis, norm)
    return from_node(node)


def irfftn(
    x: Array,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = "backward",
) -> Array:
    """Inverse of `rfftn`.

    Parameters
    ----------
    x : Array
        At least one dimension, of a numeric data type; integers are taken as float64.
    s : sequence of int, optional
        For each of `axes`, which then must be given, how many elements the result has: `x` is cut off, or
        zeros stand behind it. -1: as many as without `s`, which for the last of `axes` are 2 * (m - 1) for a
        size of m.
    axes : sequence of int, optional
        At least one. None: all.
    norm : {"backward", "ortho", "forward"}
        By what results are divided: the number of elements transformed, its square root, or 1.

    Returns
    -------
    Array
        Real, in the precision of `x`, with the sizes `s` along `axes`.

    Raises
    ------
    TypeError
        `x` is boolean, or a size or an axis no integer.
    ValueError
        A size isn't positive, there are more or fewer of them than axes, there is no axis or one is named
        twice, or `norm` is none of the three.
    IndexError
        An axis is out of bounds.

    Notes
    -----
    The standard's "fft" extension, `irfftn`.
    """
    call = "irfftn"
    node, along, sizes = _several(call, x, s, axes, norm)
    for axis, size in zip(along[:-1], sizes[:-1]):
        node = _transformed(call, "ifft", node, size, axis, norm)
    return from_node(_transformed(call, "irfft", node, sizes[-1], along[-1], norm))


# The calls that take real numbers alone.
_OF_REALS = frozenset({"rfft", "ihfft", "rfftn"})
# The norm that divides an inverse transform as another one divides the transform.
_OPPOSITE: dict[Norm, Norm] = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _checked(call: str, x: Array, norm: Any) -> record.Node:
    node = array_node(call, x)
    wanted = "real numeric" if call in _OF_REALS else "numeric"
    if node.dtype not in dtypes.CATEGORIES[wanted]:
        raise dtype_error(call, wanted, node.dtype)
    if norm not in ("backward", "ortho", "forward"):
        raise ValueError(f"{call}: norm is 'backward', 'ortho' or 'forward', not {norm!r}")
    return record.as_floating(node)


def _transformed(
    call: str, routine: str, node: record.Node, n: int | None, axis: int, norm: Norm
) -> record.Node:
    """`routine` along one axis, for the user's `call`."""
    size = node.shape[axis]
    if n is None:
        n = 2 * (size - 1) if routine == "irfft" else size
        given = f"an axis of size {size}"
    else:
        n = record.integer(call, "a number of elements", n)
        given = f"{n} elements"
    if not 1 <= n <= MOST_ELEMENTS:
        raise ValueError(f"{call}: there is no transform of {given}")
    parts = dtypes.REAL_PART if routine == "irfft" else dtypes.COMPLEX_OF
    extent = n // 2 + 1 if routine == "rfft" else n
    shape = (*node.shape[:axis], extent, *node.shape[axis + 1 :])
    return record.external(routine, (n, axis, norm), parts.get(node.dtype, node.dtype), shape, node)


def _along_one(call: str, x: Array, n: int | None, axis: int, norm: Norm) -> Array:
    node = _checked(call, x, norm)
    along = record.one_axis(call, axis, len(node.shape))
    return from_node(_transformed(call, call, node, n, along, norm))


def _several(
    call: str, x: Array, s: Sequence[int] | None, axes: Sequence[int] | None, norm: Norm
) -> tuple[record.Node, list[int], list[int | None]]:
    """The node, the axes in their order, and for each its number of elements; None: what is there decides."""
    node = _checked(call, x, norm)
    ndim = len(node.shape)
    given = None if s is None else sequence(call, "s", s)
    if axes is None and given is not None:
        raise ValueError(f"{call}: sizes {given} need axes")
    named = range(ndim) if axes is None else sequence(call, "axes", axes)
    along = [record.one_axis(call, axis, ndim) for axis in named]
    if len(set(along)) != len(along):
        raise ValueError(f"{call}: axes {axes} name an axis twice")
    if not along and call in ("rfftn", "irfftn"):
        raise ValueError(f"{call}: needs at least one axis")
    if given is None:
        return node, along, [None] * len(along)
    sizes = [record.integer(call, "a size", size) for size in given]
    if len(sizes) != len(along):
        raise ValueError(f"{call}: {len(sizes)} sizes for {len(along)} axes")
    return node, along, [None if size == -1 else size for size in sizes]


def _complex_along_several(
    call: str, routine: str, x: Array, s: Sequence[int] | None, axes: Sequence[int] | None, norm: Norm
) -> Array:
    node, along, sizes = _several(call, x, s, axes, norm)
    for axis, size in zip(reversed(along), reversed(sizes)):
        node = _transformed(call, routine, node, size, axis, norm)
    return from_node(record.cast(node, dtypes.COMPLEX_OF.get(node.dtype, node.dtype)))
