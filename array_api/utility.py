"""Tests of all elements, and differences of neighbours (the standard's chapter "Utility functions").

Re-exported by toonygrad. Records; computes nothing.
"""

from __future__ import annotations

from toonygrad import dtypes, record
from toonygrad.array import Array, array_node, from_node
from toonygrad.array_api.arguments import flag
from toonygrad.errors import dtype_error
from toonygrad.uop.ops import Op, Ops

__all__ = ["all", "any", "diff"]


def all(x: Array, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """Whether all elements over axes are true, which is to say not zero; true over no elements.

    Parameters
    ----------
    x : Array
        Any shape, any data type.
    axis : int or tuple of int, optional
        None: all.
    keepdims : bool
        Whether the axes stay, with size one.

    Returns
    -------
    Array
        Boolean.

    Raises
    ------
    TypeError
        `x` is no Array.
    IndexError, ValueError
        An axis is out of bounds, or named twice.

    Notes
    -----
    The standard's "Utility functions", `all`.
    """
    return _test("all", Ops.AND, x, axis, keepdims)


def any(x: Array, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    """Whether at least one element over axes is true, which is to say not zero; false over no elements.

    Parameters
    ----------
    x : Array
        Any shape, any data type.
    axis : int or tuple of int, optional
        None: all.
    keepdims : bool
        Whether the axes stay, with size one.

    Returns
    -------
    Array
        Boolean.

    Raises
    ------
    TypeError
        `x` is no Array.
    IndexError, ValueError
        An axis is out of bounds, or named twice.

    Notes
    -----
    The standard's "Utility functions", `any`.
    """
    return _test("any", Ops.OR, x, axis, keepdims)


def diff(
    x: Array, /, *, axis: int = -1, n: int = 1, prepend: Array | None = None, append: Array | None = None
) -> Array:
    """Differences of neighbours along an axis, `n` times over.

    Parameters
    ----------
    x : Array
        At least one dimension, of a numeric data type.
    axis : int
    n : int
        How often, at least 0.
    prepend, append : Array, optional
        Put in front and behind before, of the shape of `x` but for `axis`.

    Returns
    -------
    Array
        Of the shape of `x` with what is put in front and behind, `n` shorter along `axis`, but not shorter
        than 0.

    Raises
    ------
    TypeError
        A data type isn't numeric, or there is no common one.
    ValueError
        `n` is negative, `x` is 0-d, or a shape doesn't fit.
    IndexError
        `axis` is out of bounds.

    Notes
    -----
    The standard's "Utility functions", `diff`.
    """
    node = array_node("diff", x)
    if node.dtype == dtypes.bool_:
        raise dtype_error("diff", "numeric", node.dtype)
    if not node.shape:
        raise ValueError("diff: needs at least one dimension, not the shape ()")
    along = record.one_axis("diff", axis, len(node.shape))
    times = record.integer("diff", "n", n)
    if times < 0:
        raise ValueError(f"diff: n can't be negative, as {times} is")
    given = [array_node("diff", part) for part in (prepend, x, append) if part is not None]
    node = record.join("diff", given, along)
    for _ in range(times):
        size = node.shape[along]
        if size == 0:
            break
        later = record.slice_axis(node, along, 1, 1, size - 1)
        node = later - record.slice_axis(node, along, 0, 1, size - 1)
    return from_node(node)


def _test(call: str, op: Op, x: Array, axis: int | tuple[int, ...] | None, keepdims: bool) -> Array:
    node = record.cast(array_node(call, x), dtypes.bool_)
    axes = record.several_axes(call, axis, len(node.shape))
    return from_node(record.reduce(node, op, axes, flag(call, "keepdims", keepdims)))
