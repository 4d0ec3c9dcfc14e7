"""Elements in order, and the order they stand in (the standard's chapter "Sorting functions").

Re-exported by toonygrad. Both record a library's routine; what surrounds it still fuses.
"""

from __future__ import annotations

import numpy as np

from toonygrad import dtypes, record
from toonygrad.array import Array, array_node, from_node
from toonygrad.array_api.arguments import flag
from toonygrad.errors import dtype_error

__all__ = ["argsort", "sort"]


def argsort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Positions of the elements along an axis, in the order of the elements.

    NaN counts as the greatest: it comes last, or first where the order descends. Signed zeros are equal.

    Parameters
    ----------
    x : Array
        At least one dimension, of a real numeric data type or boolean.
    axis : int
    descending : bool
        Whether the greatest come first.
    stable : bool
        Whether equal elements keep their order, also where the others' descends. If not, they may.

    Returns
    -------
    Array
        int64, of the shape of `x`.

    Raises
    ------
    TypeError
        `x` is complex.
    IndexError
        `axis` is out of bounds, as each is where `x` is 0-d.

    Notes
    -----
    The standard's "Sorting functions", `argsort`.
    """
    return _ordered("argsort", x, axis, descending, stable, dtypes.INDEX)


def sort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Elements in order along an axis.

    NaN counts as the greatest: it comes last, or first where the order descends. Signed zeros are equal.

    Parameters
    ----------
    x : Array
        At least one dimension, of a real numeric data type or boolean.
    axis : int
    descending : bool
        Whether the greatest come first.
    stable : bool
        Whether equal elements keep their order, which shows only in the signs of zeros. If not, they may.

    Returns
    -------
    Array
        Of the shape and data type of `x`.

    Raises
    ------
    TypeError
        `x` is complex.
    IndexError
        `axis` is out of bounds, as each is where `x` is 0-d.

    Notes
    -----
    The standard's "Sorting functions", `sort`.
    """
    return _ordered("sort", x, axis, descending, stable)


def _ordered(
    call: str, x: Array, axis: int, descending: bool, stable: bool, dtype: np.dtype | None = None
) -> Array:
    node = array_node(call, x)
    if node.dtype in dtypes.COMPLEX_FLOATING:
        raise dtype_error(call, "real numeric", node.dtype)
    along = record.one_axis(call, axis, len(node.shape))
    parameters = (along, flag(call, "descending", descending), flag(call, "stable", stable))
    return from_node(record.external(call, parameters, dtype or node.dtype, node.shape, node))
