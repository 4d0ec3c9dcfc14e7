"""Operands of linear algebra: stacks of matrices, and the data types of what is computed of them.

factorizations.py and linalg.py, both of the standard's extension "linalg", come here.
"""

from __future__ import annotations

import numpy as np

from toonygrad import dtypes, record
from toonygrad.array import Array, array_node
from toonygrad.errors import dtype_error


def matrices(call: str, x: Array) -> record.Node:
    """`x` as a stack of floating matrices, of any shape.

    Raises
    ------
    TypeError
        It isn't numeric.
    ValueError
        It has fewer than two dimensions.
    """
    node = numeric(call, x)
    if len(node.shape) < 2:
        raise ValueError(f"{call}: needs at least two dimensions, not the shape {node.shape}")
    return node


def square_matrices(call: str, x: Array) -> record.Node:
    """`x` as a stack of square floating matrices; TypeError or ValueError, naming the call, if it is none."""
    node = matrices(call, x)
    if node.shape[-1] != node.shape[-2]:
        raise ValueError(f"{call}: takes square matrices, not the shape {node.shape}")
    return node


def real_part(dtype: np.dtype) -> np.dtype:
    """The data type of the absolute values of `dtype`."""
    return dtypes.REAL_PART.get(dtype, dtype)


def complex_of(dtype: np.dtype) -> np.dtype:
    """The complex data type in the precision of `dtype`."""
    return dtypes.COMPLEX_OF.get(dtype, dtype)


def numeric(call: str, x: Array) -> record.Node:
    """`x` as floating; TypeError, naming the call, if it is boolean."""
    node = array_node(call, x)
    if node.dtype == dtypes.bool_:
        raise dtype_error(call, "numeric", node.dtype)
    return record.as_floating(node)
