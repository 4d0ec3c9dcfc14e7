"""Arrays from other objects, and of one number (from the standard's "Creation functions").

Re-exported by toonygrad beside ranges.py. An array of one number is recorded and takes no memory until it is
asked for; the number is an argument of the kernels it ends up in. Only foreign memory is copied at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import chain
from typing import Any

import numpy as np

from toonygrad import dtypes, exchange, record
from toonygrad.array import (
    Array,
    array_node,
    converted,
    from_foreign,
    from_node,
    from_numpy,
    node_of,
    realize,
)
from toonygrad.array_api.arguments import copying
from toonygrad.devices import DEVICE
from toonygrad.dtypes import DTypeLike
from toonygrad.placement import chosen, put

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

Shape = int | Sequence[int]
Scalar = bool | int | float | complex

# From the lowest kind to the highest.
_PYTHON_NUMBERS = (bool, int, float, complex)
_NUMBERS = (*_PYTHON_NUMBERS, np.number, np.bool_, np.ndarray, Array)
_SEQUENCES = (list, tuple, range)
_NO_LIBRARY = (*_SEQUENCES, *_PYTHON_NUMBERS, np.ndarray, np.generic)

# By DLPack.
_CPU = (1, 0)

# -- from objects ----------------------------------------------------------------------------------


def asarray(
    obj: Any, /, *, dtype: DTypeLike | None = None, device: str | None = None, copy: bool | None = None
) -> Array:
    """Make an array of numbers, nested sequences, or memory of other libraries.

    Parameters
    ----------
    obj
        An Array, a Python scalar, a nested sequence of them, a NumPy array, or an object with the buffer
        protocol, `__array__`, `__array_interface__` or `__dlpack__`.
    dtype : optional
        None: that of `obj`; of Python numbers the default type of the highest kind among them; of a sequence
        with arrays in it NumPy's common type.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.
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
        `copy` is False where a copy can't be avoided, a nested sequence is ragged, there is no such device,
        or `obj` doesn't hand out its elements, as a tensor with a gradient doesn't.
    OverflowError
        A Python integer doesn't fit the data type.
    BufferError
        `obj` has `__dlpack__` alone, and can't be exported.

    Notes
    -----
    The standard's "Creation functions", `asarray`.
    """
    call = "asarray"
    place = chosen(call, device, node_of(obj) if isinstance(obj, Array) else None)
    copy = copying(call, copy)
    target = None if dtype is None else record.data_type(call, dtype)
    if isinstance(obj, Array):
        same = target is None or target == obj.dtype
        if copy is False and not (same and obj.device == place):
            raise ValueError(f"{call}: {obj.dtype} can't be seen as {target} without a copy")
        obj = obj.to_device(place)
        if same and not copy:
            return obj
        return from_node(converted(call, node_of(obj), target or obj.dtype))
    if not isinstance(obj, _NO_LIBRARY) and exchange.is_elsewhere(obj):
        return _from_gpu(call, obj, device, copy, target)
    if place == DEVICE:
        return _on_the_host(call, obj, device, copy, target)
    if copy is False:
        raise ValueError(f"{call}: what is on the CPU can't be on {place} without a copy")
    return _sent(call, obj, device, place, target)


def _sent(call: str, obj: Any, device: str | None, place: str, target: np.dtype | None) -> Array:
    """What is on the host, on a GPU: other libraries' memory isn't copied first, and converted there."""
    if isinstance(obj, _SEQUENCES) or (isinstance(obj, Scalar) and not isinstance(obj, np.generic)):
        return _at(place, _on_the_host(call, obj, device, None, target))
    foreign = _foreign(call, obj, device, None)
    if not (dtypes.is_supported(foreign.dtype) and foreign.dtype.isnative and foreign.flags.aligned):
        return _at(place, from_foreign(call, foreign, target))
    there = _at(place, from_foreign(call, foreign, copy=False))
    return there if target is None else from_node(converted(call, node_of(there), target))


def _at(place: str, made: Array) -> Array:
    """An array that was just made, on its device."""
    return made if place == DEVICE else from_node(put(node_of(made), place))


def _on_the_host(
    call: str, obj: Any, device: str | None, copy: bool | None, target: np.dtype | None
) -> Array:
    if isinstance(obj, Scalar) and not isinstance(obj, np.generic):
        if copy is False:
            raise ValueError(f"{call}: a Python scalar can't be an array without a copy")
        return from_node(_number(call, obj, target))
    if isinstance(obj, _SEQUENCES):
        if copy is False:
            raise ValueError(f"{call}: a sequence can't be an array without a copy")
        return _from_sequence(call, obj, target)
    return from_foreign(call, _foreign(call, obj, device, copy), target, copy is not False)


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Array:
    """An array on the memory of an object with `__dlpack__`, shared wherever that is possible.

    Parameters
    ----------
    x
        An object with `__dlpack__` and `__dlpack_device__`, its memory on the CPU. Who writes into it later
        may or may not be seen by what has been recorded: copy if somebody does.
    device : str, optional
        "cpu" has an object on another device copied to the CPU, where it can do that; None refuses it.
    copy : bool, optional
        True copies, False refuses to.

    Returns
    -------
    Array

    Raises
    ------
    BufferError
        `x` is on another device, can't be exported, or not without the copy that was forbidden.
    TypeError
        `x` has no `__dlpack__`, or its data type is none of the standard's.
    ValueError
        There is no such device.

    Notes
    -----
    The standard's "Creation functions", `from_dlpack`.
    """
    call = "from_dlpack"
    place = None if device is None else chosen(call, device)
    copy = copying(call, copy)
    if isinstance(x, Array):
        return asarray(x, copy=copy, device=device)
    if exchange.is_elsewhere(x) and hasattr(x, "__dlpack__"):
        return _from_gpu(call, x, device, bool(copy), None)
    if place is not None and place != DEVICE:
        if copy is False:
            raise BufferError(f"{call}: what is on the CPU can't be on {place} without a copy")
        seen = _exported(call, x, None, copy)
        return _at(place, from_foreign(call, seen, copy=not seen.flags.aligned))
    foreign = _exported(call, x, device, copy)
    unaligned = not foreign.flags.aligned
    if copy is False and unaligned:
        raise BufferError(f"{call}: memory that isn't aligned can't be an array without a copy")
    return from_foreign(call, foreign, copy=bool(copy) or unaligned)


def _foreign(call: str, obj: Any, device: str | None, copy: bool | None) -> np.ndarray:
    """The memory of another library's object, not copied if that can be."""
    if hasattr(obj, "__dlpack__"):
        if not hasattr(obj, "__array__"):
            return _exported(call, obj, device, copy)
        if copy is False and not isinstance(obj, np.ndarray):
            with suppress(BufferError):  # torch shares memory this way alone: its `__array__` takes no `copy`
                return _exported(call, obj, device, copy)
    return _seen(call, obj, copy)


def _exported(call: str, x: Any, device: str | None, copy: bool | None) -> np.ndarray:
    """The memory behind `__dlpack__`; from another device no capsule is taken unless `device` asks for it."""
    for method in ("__dlpack__", "__dlpack_device__"):
        if not hasattr(x, method):
            raise TypeError(f"{call}: {type(x).__name__} has no {method}")
    with _exporting(call, x):
        place = x.__dlpack_device__()
    elsewhere = place[0] not in (exchange.CPU, exchange.CUDA_HOST)
    if elsewhere and (device is None or copy is False):
        raise BufferError(
            f"{call}: the memory of {type(x).__name__} is on device {place}, not on the CPU, {_CPU}"
        )
    with _exporting(call, x):
        return np.from_dlpack(x, device="cpu" if elsewhere else None, copy=False if copy is False else None)


@contextmanager
def _exporting(call: str, x: Any) -> Iterator[None]:
    """What an exporter raises, in the name of the call."""
    try:
        yield
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise BufferError(f"{call}: {type(x).__name__} can't be exported: {error}") from error


def _seen(call: str, obj: Any, copy: bool | None) -> np.ndarray:
    """The memory of `obj` where NumPy finds some, not copied if that can be."""
    # NumPy would make a string of bytes.
    memory = memoryview(obj) if isinstance(obj, (bytes, bytearray)) else obj
    try:
        return np.asarray(memory, copy=False if copy is False else None)
    except (RuntimeError, TypeError, ValueError) as error:
        if copy is False:
            raise ValueError(f"{call}: {type(obj).__name__} can't be an array without a copy") from error
        raise _named(call, error) from error


def _from_sequence(call: str, obj: Any, dtype: np.dtype | None) -> Array:
    types, arrays = _inside(obj)
    if arrays:
        realize(*arrays)
    wanted = (dtype or _default_dtype(types)) if types.issubset(_PYTHON_NUMBERS) else None
    try:
        with np.errstate(over="ignore"):
            array = np.array(obj, wanted)
    except OverflowError as error:
        raise OverflowError(f"{call}: a number is out of bounds for {wanted}: {error}") from None
    except (TypeError, ValueError) as error:
        raise _named(call, error) from None
    if array.dtype.kind not in "biufc":
        strangers = sorted(kind.__name__ for kind in types if not issubclass(kind, _NUMBERS))
        if strangers:
            raise TypeError(f"{call}: takes numbers, not {', '.join(strangers)}")
        if int in types:
            raise OverflowError(f"{call}: a Python integer is out of bounds for {dtypes.DEFAULT_INTEGER}")
    if not dtypes.is_supported(array.dtype):
        return from_foreign(call, array, dtype)  # what NumPy found inside, such as longdouble
    made = from_numpy(array)
    return made if dtype is None else from_node(converted(call, node_of(made), dtype))


def _named(call: str, error: Exception) -> TypeError | ValueError:
    """What NumPy or an object says, in the name of the call."""
    return (TypeError if isinstance(error, TypeError) else ValueError)(f"{call}: {error}")


def _inside(obj: Any) -> tuple[set[type], list[Array]]:
    """The types of what nested sequences hold, and the Arrays in them."""
    types: set[type] = set()
    arrays: list[Array] = []
    level = [obj]
    # NumPy refuses what is deeper. A list may hold itself, and often at that: each counts once on a level.
    for _ in range(record.MOST_DIMENSIONS):
        items = list(chain.from_iterable(level))
        here = set(map(type, items))
        nested = {kind for kind in here if issubclass(kind, _SEQUENCES)}
        types |= here - nested
        if Array in here:
            arrays += [one for one in items if isinstance(one, Array)]
        if not nested:
            break
        level = list({id(one): one for one in items if type(one) in nested}.values())
    return types, arrays


def _default_dtype(types: set[type]) -> np.dtype:
    """The type of an array of Python numbers of these types, the highest kind deciding."""
    highest = max(types, key=_PYTHON_NUMBERS.index, default=float)
    return dtypes.default_dtype(highest())


def _from_gpu(call: str, obj: Any, device: str | None, copy: bool | None, dtype: np.dtype | None) -> Array:
    """Memory of another library on a GPU: copied there unless that isn't wanted, or brought to `device`."""
    shares = hasattr(obj, "__dlpack__")
    with _exporting(call, obj) if shares else nullcontext():
        memory = (exchange.from_dlpack if shares else exchange.from_cuda_array_interface)(call, obj)
    place = memory.device if device is None else chosen(call, device)
    same = (dtype is None or dtype == memory.dtype) and place == memory.device
    if copy is False and not same:
        error = BufferError if call == "from_dlpack" else ValueError
        raise error(f"{call}: {memory.dtype} on {memory.device} can't be seen as asked for without a copy")
    made = from_node(exchange.copied_to(memory, place, copy is not False))
    return made if dtype is None else from_node(converted(call, node_of(made), dtype))


# -- one number everywhere -------------------------------------------------------------------------


def full(
    shape: Shape, fill_value: Scalar | Array, *, dtype: DTypeLike | None = None, device: str | None = None
) -> Array:
    """An array with the same number everywhere.

    Parameters
    ----------
    shape : int or tuple of int
    fill_value : Python scalar, NumPy scalar or 0-d array
    dtype : optional
        None: the type of `fill_value`, of a Python scalar the default one of its kind.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.

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
    place = chosen("full", device)
    return _at(place, _full("full", record.shape_of("full", shape), fill_value, dtype))


def full_like(
    x: Array, /, fill_value: Scalar | Array, *, dtype: DTypeLike | None = None, device: str | None = None
) -> Array:
    """An array of the shape of `x` with the same number everywhere.

    Parameters
    ----------
    x : Array
    fill_value : Python scalar, NumPy scalar or 0-d array
    dtype : optional
        None: that of `x`.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.

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
    place = chosen("full_like", device, node)
    return _at(place, _full("full_like", node.shape, fill_value, node.dtype if dtype is None else dtype))


def zeros(shape: Shape, *, dtype: DTypeLike | None = None, device: str | None = None) -> Array:
    """An array of zeros.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : optional
        None: float64.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.

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


def ones(shape: Shape, *, dtype: DTypeLike | None = None, device: str | None = None) -> Array:
    """An array of ones.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : optional
        None: float64.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.

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


def empty(shape: Shape, *, dtype: DTypeLike | None = None, device: str | None = None) -> Array:
    """An array whose elements don't matter: zeros, which take no memory before they are replaced.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : optional
        None: float64.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.

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


def zeros_like(x: Array, /, *, dtype: DTypeLike | None = None, device: str | None = None) -> Array:
    """Zeros of the shape of `x`.

    Parameters
    ----------
    x : Array
    dtype : optional
        None: that of `x`.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.

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


def ones_like(x: Array, /, *, dtype: DTypeLike | None = None, device: str | None = None) -> Array:
    """Ones of the shape of `x`.

    Parameters
    ----------
    x : Array
    dtype : optional
        None: that of `x`.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.

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


def empty_like(x: Array, /, *, dtype: DTypeLike | None = None, device: str | None = None) -> Array:
    """An array of the shape of `x` whose elements don't matter: zeros.

    Parameters
    ----------
    x : Array
    dtype : optional
        None: that of `x`.
    device : str, optional
        "cpu", "cuda" or "cuda:0" and so on. None: as `config` says.

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


def _full(call: str, shape: tuple[int, ...], fill_value: Any, dtype: DTypeLike | None) -> Array:
    target = None if dtype is None else record.data_type(call, dtype)
    if isinstance(fill_value, (np.ndarray, np.generic)) and not isinstance(fill_value, Scalar):
        fill_value = from_foreign(call, np.asarray(fill_value))  # a type of its own, as a 0-d Array has
    if isinstance(fill_value, Array):
        value = node_of(fill_value)
        if value.shape:
            raise TypeError(f"{call}: the fill value is one number, not an array of shape {value.shape}")
        value = converted(call, value, target or value.dtype)
    else:
        value = _number(call, fill_value, target)
    return from_node(record.filled(shape, value))


def _constant(
    call: str,
    shape: Shape,
    value: int,
    dtype: DTypeLike | None,
    device: str | None,
    beside: record.Node | None = None,
) -> Array:
    place = chosen(call, device, beside)
    target = dtypes.DEFAULT_FLOAT if dtype is None else record.data_type(call, dtype)
    return _at(place, from_node(record.filled(record.shape_of(call, shape), record.constant(value, target))))


def _constant_like(call: str, x: Array, value: int, dtype: DTypeLike | None, device: str | None) -> Array:
    node = array_node(call, x)
    return _constant(call, node.shape, value, node.dtype if dtype is None else dtype, device, node)
