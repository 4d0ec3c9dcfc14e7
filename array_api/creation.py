"""Arrays from other objects, and of one number (from the standard's "Creation functions").

Re-exported by toonygrad beside ranges.py. An array of one number is recorded and takes no memory until it is
asked for; the number is an argument of the kernels it ends up in. Only foreign memory is copied at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toonygrad import dtypes, record
from toonygrad.array import (
    Array,
    array_node,
    check_device,
    converted,
    from_foreign,
    from_node,
    from_numpy,
    node_of,
)

__all__ = [
    "asarray",
    "empty",
    "empty_like",
    "from_dlpack",
    "full",
    "full_like",
    "ones",
    "ones_like",
    "zeros",
    "zeros_like",
]

Shape = int | tuple[int, ...]
Scalar = bool | int | float | complex


# -- from objects ----------------------------------------------------------------------------------


def asarray(
    obj: Any, /, *, dtype: np.dtype | None = None, device: str | None = None, copy: bool | None = None
) -> Array:
    """Make an array of numbers, nested sequences, or memory of other libraries.

    Parameters
    ----------
    obj
        An Array, a Python scalar, a nested sequence of them, a NumPy array, or an object with the buffer
        protocol, `__array__` or `__dlpack__`.
    dtype : optional
        None: that of `obj`; of Python numbers the default type of the highest kind among them.
    device : str, optional
        "cpu" or None.
    copy : bool, optional
        Foreign memory is copied, because what is recorded must not see later writes; False shares it. An
        Array is copied only for True.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `obj` isn't made of numbers; the data type is none of the standard's, or real where `obj` is complex.
    ValueError
        `copy` is False where a copy can't be avoided, a nested sequence is ragged, or there is no such
        device.
    OverflowError
        A Python integer doesn't fit the data type.

    Notes
    -----
    The standard's "Creation functions", `asarray`.
    """
    call = "asarray"
    check_device(call, device)
    target = None if dtype is None else record.data_type(call, dtype)
    if isinstance(obj, Array):
        same = target is None or target == obj.dtype
        if copy is False and not same:
            raise ValueError(f"{call}: {obj.dtype} can't be seen as {target} without a copy")
        if same and not copy:
            return obj
        return from_node(converted(call, node_of(obj), target or obj.dtype))
    if isinstance(obj, Scalar) and not isinstance(obj, np.generic):
        if copy is False:
            raise ValueError(f"{call}: a Python scalar can't be an array without a copy")
        return from_node(_number(call, obj, target))
    if isinstance(obj, (list, tuple, range)):
        if copy is False:
            raise ValueError(f"{call}: a sequence can't be an array without a copy")
        return _from_sequence(call, obj, target)
    if hasattr(obj, "__dlpack__") and not hasattr(obj, "__array__"):
        foreign = _exported(call, obj, copy)
    else:
        # NumPy would make a string of bytes.
        seen = memoryview(obj) if isinstance(obj, (bytes, bytearray)) else obj
        foreign = np.asarray(seen, copy=False if copy is False else None)
    return from_foreign(call, foreign, target, copy is not False)


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Array:
    """An array on the memory of an object with `__dlpack__`, shared wherever that is possible.

    Parameters
    ----------
    x
        An object with `__dlpack__` and `__dlpack_device__`, its memory on the CPU. Who writes into it later
        may or may not be seen by what has been recorded: copy if somebody does.
    device : str, optional
        "cpu" or None.
    copy : bool, optional
        True copies, False refuses to.

    Returns
    -------
    Array

    Raises
    ------
    AttributeError
        `x` has no `__dlpack__`.
    BufferError
        `x` can't be exported, or not without the copy that was forbidden.
    TypeError
        Its data type is none of the standard's.
    ValueError
        There is no such device.

    Notes
    -----
    The standard's "Creation functions", `from_dlpack`.
    """
    call = "from_dlpack"
    check_device(call, device)
    if isinstance(x, Array):
        return asarray(x, copy=copy)
    return from_foreign(call, _exported(call, x, copy), copy=bool(copy))


def _exported(call: str, x: Any, copy: bool | None) -> np.ndarray:
    for method in ("__dlpack__", "__dlpack_device__"):
        if not hasattr(x, method):
            raise AttributeError(f"{call}: {type(x).__name__} has no {method}")
    return np.from_dlpack(x, copy=copy)


def _from_sequence(call: str, obj: Any, dtype: np.dtype | None) -> Array:
    try:
        array = np.array(obj)
        if array.dtype.kind not in "biufc":
            # Objects, to NumPy: integers past 64 bits, or no numbers at all.
            strangers = {type(one) for one in array.flat if not isinstance(one, Scalar)}
            if strangers:
                raise TypeError(
                    "takes numbers, not " + ", ".join(sorted(each.__name__ for each in strangers))
                )
            if dtype is None:
                raise OverflowError(f"a Python integer is out of bounds for {dtypes.DEFAULT_INTEGER}")
        elif dtype is None and array.dtype == dtypes.uint64 and _holds_python_integers(obj):
            raise OverflowError(f"a Python integer is out of bounds for {dtypes.DEFAULT_INTEGER}")
        if dtype is not None and array.dtype != dtype:
            array = np.array(obj, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise type(error)(f"{call}: {error}") from None
    # Already nobody else's; the other way with a copy is for what NumPy found inside, such as float16.
    if dtypes.is_supported(array.dtype):
        return from_numpy(array)
    return from_foreign(call, array, dtype)


def _holds_python_integers(obj: Any) -> bool:
    return any(type(one) is int for one in np.array(obj, object).flat)


# -- one number everywhere -------------------------------------------------------------------------


def full(
    shape: Shape, fill_value: Scalar, *, dtype: np.dtype | None = None, device: str | None = None
) -> Array:
    """An array with the same number everywhere.

    Parameters
    ----------
    shape : int or tuple of int
    fill_value : Python scalar or 0-d Array
    dtype : optional
        None: the type of `fill_value`, of a Python scalar the default one of its kind.
    device : str, optional
        "cpu" or None.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `shape` holds something other than integers, `fill_value` is no number, or the data type is none of
        the standard's or real for a complex number.
    ValueError
        A size is negative, or there is no such device.
    OverflowError
        `fill_value` doesn't fit the data type.

    Notes
    -----
    The standard's "Creation functions", `full`.
    """
    check_device("full", device)
    return _full("full", record.shape_of("full", shape), fill_value, dtype)


def full_like(
    x: Array, /, fill_value: Scalar, *, dtype: np.dtype | None = None, device: str | None = None
) -> Array:
    """An array of the shape of `x` with the same number everywhere.

    Parameters
    ----------
    x : Array
    fill_value : Python scalar or 0-d Array
    dtype : optional
        None: that of `x`.
    device : str, optional
        "cpu" or None.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `x` is no Array, `fill_value` no number, or the data type none of the standard's or real for a complex
        number.
    ValueError
        There is no such device.
    OverflowError
        `fill_value` doesn't fit the data type.

    Notes
    -----
    The standard's "Creation functions", `full_like`.
    """
    node = array_node("full_like", x)
    check_device("full_like", device)
    return _full("full_like", node.shape, fill_value, node.dtype if dtype is None else dtype)


def zeros(shape: Shape, *, dtype: np.dtype | None = None, device: str | None = None) -> Array:
    """An array of zeros.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : optional
        None: float64.
    device : str, optional
        "cpu" or None.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `shape` holds something other than integers, or the data type is none of the standard's.
    ValueError
        A size is negative, or there is no such device.

    Notes
    -----
    The standard's "Creation functions", `zeros`.
    """
    return _constant("zeros", shape, 0, dtype, device)


def ones(shape: Shape, *, dtype: np.dtype | None = None, device: str | None = None) -> Array:
    """An array of ones.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : optional
        None: float64.
    device : str, optional
        "cpu" or None.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `shape` holds something other than integers, or the data type is none of the standard's.
    ValueError
        A size is negative, or there is no such device.

    Notes
    -----
    The standard's "Creation functions", `ones`.
    """
    return _constant("ones", shape, 1, dtype, device)


def empty(shape: Shape, *, dtype: np.dtype | None = None, device: str | None = None) -> Array:
    """An array whose elements don't matter: zeros, which take no memory before they are replaced.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : optional
        None: float64.
    device : str, optional
        "cpu" or None.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `shape` holds something other than integers, or the data type is none of the standard's.
    ValueError
        A size is negative, or there is no such device.

    Notes
    -----
    The standard's "Creation functions", `empty`.
    """
    return _constant("empty", shape, 0, dtype, device)


def zeros_like(x: Array, /, *, dtype: np.dtype | None = None, device: str | None = None) -> Array:
    """Zeros of the shape of `x`.

    Parameters
    ----------
    x : Array
    dtype : optional
        None: that of `x`.
    device : str, optional
        "cpu" or None.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `x` is no Array, or the data type none of the standard's.
    ValueError
        There is no such device.

    Notes
    -----
    The standard's "Creation functions", `zeros_like`.
    """
    return _constant_like("zeros_like", x, 0, dtype, device)


def ones_like(x: Array, /, *, dtype: np.dtype | None = None, device: str | None = None) -> Array:
    """Ones of the shape of `x`.

    Parameters
    ----------
    x : Array
    dtype : optional
        None: that of `x`.
    device : str, optional
        "cpu" or None.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `x` is no Array, or the data type none of the standard's.
    ValueError
        There is no such device.

    Notes
    -----
    The standard's "Creation functions", `ones_like`.
    """
    return _constant_like("ones_like", x, 1, dtype, device)


def empty_like(x: Array, /, *, dtype: np.dtype | None = None, device: str | None = None) -> Array:
    """An array of the shape of `x` whose elements don't matter: zeros.

    Parameters
    ----------
    x : Array
    dtype : optional
        None: that of `x`.
    device : str, optional
        "cpu" or None.

    Returns
    -------
    Array

    Raises
    ------
    TypeError
        `x` is no Array, or the data type none of the standard's.
    ValueError
        There is no such device.

    Notes
    -----
    The standard's "Creation functions", `empty_like`.
    """
    return _constant_like("empty_like", x, 0, dtype, device)


def _number(call: str, value: Any, dtype: np.dtype | None) -> record.Node:
    number = record.python_number(call, value)
    return record.number(call, number, dtypes.default_dtype(number) if dtype is None else dtype)


def _full(call: str, shape: tuple[int, ...], fill_value: Any, dtype: np.dtype | None) -> Array:
    target = None if dtype is None else record.data_type(call, dtype)
    if isinstance(fill_value, np.generic) and not isinstance(fill_value, Scalar):
        fill_value = asarray(fill_value)  # a type of its own, as a 0-d Array has
    if isinstance(fill_value, Array):
        value = node_of(fill_value)
        if value.shape:
            raise TypeError(f"{call}: the fill value is one number, not an array of shape {value.shape}")
        value = converted(call, value, target or value.dtype)
    else:
        value = _number(call, fill_value, target)
    return from_node(record.filled(shape, value))


def _constant(call: str, shape: Shape, value: int, dtype: np.dtype | None, device: str | None) -> Array:
    check_device(call, device)
    target = dtypes.DEFAULT_FLOAT if dtype is None else record.data_type(call, dtype)
    return from_node(record.filled(record.shape_of(call, shape), record.constant(value, target)))


def _constant_like(call: str, x: Array, value: int, dtype: np.dtype | None, device: str | None) -> Array:
    node = array_node(call, x)
    return _constant(call, node.shape, value, node.dtype if dtype is None else dtype, device)
