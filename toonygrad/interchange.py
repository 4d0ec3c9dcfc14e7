"""How an Array speaks to Python, NumPy and other libraries: conversion, display, copies, DLPack, ufuncs.

Interchange is a base of Array (array.py) and of nothing else. It sees the elements as NumPy memory and makes
new arrays through the standard's functions, which it finds as everybody does: by `__array_namespace__`.
Memory of GPUs goes through exchange.py; beside that it imports the ground layer only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from toonygrad import dtypes, exchange
from toonygrad.devices import DEVICE
from toonygrad.placement import chosen

# NumPy's functions of elements and the standard's of the same meaning; most have the same name.
_RENAMED = {
    "absolute": "abs",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "conjugate": "conj",
    "invert": "bitwise_invert",
    "left_shift": "bitwise_left_shift",
    "power": "pow",
    "right_shift": "bitwise_right_shift",
    "rint": "round",
}
_SAME_NAME = (
    *("add", "bitwise_and", "bitwise_or", "bitwise_xor", "ceil", "copysign", "cos", "cosh", "divide"),
    *("equal", "exp", "expm1", "floor", "floor_divide", "greater", "greater_equal", "hypot", "isfinite"),
    *("isinf", "isnan", "less", "less_equal", "log", "log10", "log1p", "log2", "logaddexp", "logical_and"),
    *("logical_not", "logical_or", "logical_xor", "matmul", "maximum", "minimum", "multiply", "negative"),
    *("nextafter", "not_equal", "positive", "reciprocal", "remainder", "sign", "signbit", "sin", "sinh"),
    *("sqrt", "square", "subtract", "tan", "tanh", "trunc", "vecdot"),
)
# By the ufunc and not by its name: scipy.special has some of the same name.
_CALLED: dict[np.ufunc, str] = {
    getattr(np, theirs): ours for theirs, ours in (*_RENAMED.items(), *zip(_SAME_NAME, _SAME_NAME))
}
_REDUCED: dict[np.ufunc, str] = {
    np.add: "sum",
    np.multiply: "prod",
    np.maximum: "max",
    np.minimum: "min",
    np.logical_and: "all",
    np.logical_or: "any",
}
_METHODS = {"__call__": _CALLED, "reduce": _REDUCED}
# What NumPy says for `a @= x`, of a matrix and of a vector.
_OWN_AXES = ([(-2, -1), (-2, -1), (-2, -1)], [(-1,), (-2, -1), (-1,)])
# Keywords that change nothing.
_DEFAULTS = {"where": True, "dtype": None}


VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12", "2025.12")


class Interchange:
    """The methods by which others use an Array: Python's own, NumPy's, DLPack's."""

    __slots__ = ()

    if TYPE_CHECKING:  # what Array has

        @property
        def device(self) -> str: ...
        @property
        def dtype(self) -> np.dtype: ...
        @property
        def shape(self) -> tuple[int, ...]: ...
        @property
        def ndim(self) -> int: ...
        @property
        def size(self) -> int: ...
        def __setitem__(self, key: Any, value: Any, /) -> None: ...

        def _memory(self) -> np.ndarray:
            """The elements, computed if need be: the memory where they are, or a copy of what is on a GPU."""

        def _shared_buffer(self) -> Any:
            """Their buffer, where others may write: no array and nothing recorded sees what they write."""

        def _on(self, device: str) -> Self:
            """These elements in memory on another device."""

    # -- to NumPy and other libraries --------------------------------------------------------------

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        """The namespace with the standard's functions: the module toonygrad.

        Raises
        ------
        ValueError
            A version of the standard that isn't provided.
        """
        if api_version is not None and api_version not in VERSIONS:
            raise ValueError(
                f"__array_namespace__: version {api_version!r} of the standard isn't provided: {VERSIONS}"
            )
        return sys.modules["toonygrad"]

    def to_device(self, device: str, /, *, stream: Any = None) -> Self:
        """This array on `device`: itself where it is there, else a copy.

        Parameters
        ----------
        device : str
            "cpu", "cuda" (the first GPU), "cuda:1" and so on.
        stream : int, optional
            To or from a GPU, the handle of a stream of another library (as DLPack has it) that is to wait for
            the copy. What is done with this library alone is in order by itself.

        Raises
        ------
        ValueError
            There is no such device; or a stream where no GPU takes part.
        MemoryError
            The device hasn't got the memory.
        """
        place = chosen("to_device", device)
        here = self.device
        if stream is not None and place == here == DEVICE:
            raise ValueError("to_device: the CPU has no streams")
        moved = self if place == here else self._on(place)
        if stream is not None:
            exchange.let_wait("to_device", here if place == DEVICE else place, stream)
        return moved

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The elements as a NumPy array, read-only and sharing memory unless `dtype` or `copy` asks for more.

        From a GPU they are copied, as JAX does it: who calls NumPy with an array asks for that. CuPy and
        torch refuse; `to_device("cpu")` says it aloud.

        Raises
        ------
        ValueError
            `copy` is False, and another data type is asked for or the elements are on a GPU.
        """
        if copy is False and self.device != DEVICE:
            raise ValueError(f"__array__: elements on {self.device} can't be seen by NumPy without a copy")
        memory = self._memory()
        if dtype is not None and memory.dtype != dtype:
            if copy is False:
                raise ValueError(
                    f"__array__: {memory.dtype} can't be seen as {np.dtype(dtype)} without a copy"
                )
            return memory.astype(dtype)
        return memory.copy() if copy else _read_only(memory)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A DLPack capsule that shares the elements' memory, or holds a copy where sharing isn't safe.

        Parameters
        ----------
        stream
            None on the CPU, which has no streams. On a GPU the consumer's, which waits for the elements: None
            or 1 the legacy default stream, 2 that of the thread, -1 to wait for nothing, else a handle.
        max_version : tuple of int, optional
            The newest version of DLPack the consumer takes; from (1, 0) on it can be told not to write.
        dl_device : tuple of int, optional
            Where the consumer wants the elements: None or where they are; (1, 0), the CPU, copies from a GPU.
        copy : bool, optional
            True copies and False never does. None copies where sharing isn't safe: read-only memory whose
            consumer can't be told so, and axes that run backwards.

        Raises
        ------
        BufferError
            `dl_device` is another device; or `copy` is False where an axis runs backwards, the memory is
            read-only and the consumer can't be told so, or the elements would have to come from a GPU.
        RuntimeError
            `stream` isn't None on the CPU (as NumPy has it).

        Notes
        -----
        The standard's "Array object", `__dlpack__`.
        """
        here = self.__dlpack_device__()
        if dl_device is not None and dl_device != here:
            if dl_device != (exchange.CPU, 0):
                raise BufferError(f"__dlpack__: elements on {self.device} aren't on the device {dl_device!r}")
            if copy is False:
                raise BufferError(f"__dlpack__: elements on {self.device} can't be shared on the CPU")
            capsule = self._on(DEVICE).__dlpack__(max_version=max_version)
            exchange.say_copied(capsule)
            return capsule
        if here[0] != exchange.CPU:
            return exchange.dlpack(self._shared_buffer(), stream, max_version, copy)
        if stream is not None:
            raise RuntimeError(f"__dlpack__: the CPU has no streams, stream must be None and not {stream!r}")
        memory = self._shared_buffer().array
        least_step = min((step for size, step in zip(memory.shape, memory.strides) if size > 1), default=1)
        if least_step < 0 and copy is False:
            # torch 2.13 would end the process.
            raise BufferError("__dlpack__: an axis that runs backwards can't be shared, and copy is False")
        if copy is None and (least_step < 0 or not (memory.flags.writeable or exchange.is_told(max_version))):
            copy = True
        return memory.__dlpack__(max_version=max_version, copy=copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Device type and number by DLPack: (1, 0) the CPU, (2, 0) the first GPU."""
        return exchange.dlpack_device(self.device)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Where the elements are on a GPU, for libraries that share memory so: CuPy, Numba, torch.

        Raises
        ------
        AttributeError
            They are on the CPU.
        """
        if self.device == DEVICE:
            raise AttributeError("__cuda_array_interface__: the elements are on the CPU")
        return exchange.cuda_array_interface(self._shared_buffer())

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        """What NumPy's functions of elements do where Arrays take part: `np.exp(x)`, or `np.ones(3) + x`.

        They record what the standard's function of the same meaning does. NumPy's arrays and scalars count
        with their data types, `np.float64(2)` as a 0-d array of float64; Python's numbers take the Array's.

        Returns
        -------
        Array
            Or `out` where that is given, a NumPy array or an Array, with the result written to it.

        Raises
        ------
        TypeError
            The standard has no such function, a keyword isn't supported, or the result's data type can't be
            kept in `out`.
        ValueError
            `out` has another shape than the result.
        """
        outs = keywords.pop("out", ())
        if any(map(_is_strange, inputs)) or any(_is_strange(out) for out in outs if out is not None):
            return NotImplemented  # it may know what to do with an Array
        call = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        function = _METHODS.get(method, {}).get(ufunc)
        if function is None:
            raise TypeError(
                f"{call}: the array API standard has no such function; numpy.asarray(x) is for NumPy's own"
            )
        options = {}
        if method == "reduce":
            options = {"axis": keywords.pop("axis", 0), "keepdims": keywords.pop("keepdims", False)}
            if function in ("sum", "prod"):
                options["dtype"] = keywords.pop("dtype", None)
            elif function in ("all", "any") and keywords.get("dtype") is bool:
                del keywords["dtype"]  # np.all says so, and it is
        elif ufunc is np.matmul and keywords.get("axes") in _OWN_AXES:
            del keywords["axes"]
        for keyword, value in keywords.items():
            if keyword not in _DEFAULTS or value is not _DEFAULTS[keyword]:
                raise TypeError(f"{call}: {keyword}= isn't supported where Arrays take part")
        namespace = self.__array_namespace__()
        operands = [_operand(call, namespace, value, self.device) for value in inputs]
        result = getattr(namespace, function)(*operands, **options)
        return _delivered(call, result, *outs)

    # -- to Python ---------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        if self.size != 1:
            raise TypeError(
                f"bool: only arrays of one element have a truth value, not the shape {self.shape}"
            )
        return bool(self._memory().item())

    def __int__(self) -> int:
        if self.dtype.kind == "c":
            raise TypeError(f"int: a {self.dtype} array has no integer value")
        return int(self._element("int"))

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"__index__: only arrays of integers are indices, not {self.dtype}")
        return int(self._element("__index__"))

    def __float__(self) -> float:
        if self.dtype.kind == "c":
            raise TypeError(f"float: a {self.dtype} array has no real value")
        return float(self._element("float"))

    def __complex__(self) -> complex:
        return complex(self._element("complex"))

    def _element(self, call: str) -> Any:
        if self.ndim:
            raise TypeError(f"{call}: only 0-d arrays have one value, not the shape {self.shape}")
        return self._memory().item()

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: a 0-d array has no length")
        return self.shape[0]

    def item(self, *args: Any) -> bool | int | float | complex:
        """One element as a Python number: the only one, or that at an index.

        Parameters
        ----------
        *args : int or tuple of int
            None, an index into the elements in row-major order, or one for each axis.

        Raises
        ------
        ValueError
            There isn't exactly one element and no index, or not an index for each axis.
        IndexError
            An index is out of bounds.
        """
        try:
            return self._memory().item(*args)
        except (ValueError, IndexError) as error:
            raise type(error)(f"item: {error}") from None

    def tolist(self) -> Any:
        """The elements as Python numbers in nested lists; of a 0-d array the number itself."""
        return self._memory().tolist()

    # -- display -----------------------------------------------------------------------------------

    def __repr__(self) -> str:
        memory = self._memory()
        return f"Array({np.array2string(memory, separator=', ', prefix='Array(')}, dtype={memory.dtype})"

    def __str__(self) -> str:
        return str(self._memory())

    def __format__(self, format_spec: str, /) -> str:
        if not format_spec:
            return str(self)
        if self.ndim:
            raise TypeError(
                f"format: {format_spec!r} is for 0-d arrays and their element, not for the shape {self.shape}"
            )
        return format(self._memory()[()], format_spec)

    # -- copies ------------------------------------------------------------------------------------

    def copy(self) -> Self:
        """An array of its own with the same elements: what is written to one isn't seen in the other."""
        return self.__array_namespace__().asarray(self, copy=True)

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any], /) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[np.ndarray]]:
        # NumPy's pickle knows layouts, and from protocol 5 on buffers that travel beside the pickle.
        return self.__array_namespace__().asarray, (self._memory(),)

    # -- NumPy's methods that others call ----------------------------------------------------------

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements; memory may be shared, or not be there yet."""
        return self.size * self.itemsize

    def astype(self, dtype: Any, copy: bool = True) -> Self:
        """The elements as another data type; as the standard's function `astype`.

        Raises
        ------
        TypeError
            `dtype` is none of the standard's, or real for complex elements.
        """
        return self.__array_namespace__().astype(self, dtype, copy=copy)

    def reshape(self, *shape: int | tuple[int, ...], copy: bool | None = None) -> Self:
        """The elements in row-major order in another shape, given as integers or as a tuple.

        Raises
        ------
        TypeError
            `shape` holds something other than integers.
        ValueError
            Another number of elements, more than one -1, or `copy` is False where a copy can't be avoided.
        """
        return self.__array_namespace__().reshape(self, _unpacked(shape), copy=copy)

    def transpose(self, *axes: int | tuple[int, ...] | None) -> Self:
        """The axes in another order, given as integers or as a tuple; reversed where none is given.

        Raises
        ------
        ValueError, IndexError
            `axes` aren't all axes, each once.
        """
        backwards = axes in ((), (None,))
        order = tuple(reversed(range(self.ndim))) if backwards else _unpacked(axes)
        return self.__array_namespace__().permute_dims(self, order)

    def sum(
        self,
        axis: int | tuple[int, ...] | None = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
    ) -> Any:
        """Sums over axes, all of them unless some are given; as the standard's function `sum`.

        Parameters
        ----------
        axis, dtype, keepdims
            As of the function.
        out : NumPy array or Array, optional
            Written to, and answered.

        Raises
        ------
        TypeError
            `dtype` is none of the standard's, or the result's can't be kept in `out`.
        IndexError, ValueError
            An axis is out of bounds, or named twice; or `out` has another shape.
        """
        result = self.__array_namespace__().sum(self, axis=axis, dtype=dtype, keepdims=keepdims)
        return _delivered("sum", result, out)


def _read_only(memory: np.ndarray) -> np.ndarray:
    view = memory.view()
    view.flags.writeable = False
    return view


def _unpacked(integers: tuple[Any, ...]) -> tuple[Any, ...]:
    """What was given as one tuple or list, or as arguments of their own."""
    if len(integers) == 1 and isinstance(integers[0], (tuple, list)):
        return tuple(integers[0])
    return integers


def _is_strange(operand: Any) -> bool:
    """Whether a ufunc's operand is none of ours, NumPy's or Python's, which another library may handle."""
    if isinstance(operand, np.ndarray):
        return type(operand).__array_ufunc__ is not np.ndarray.__array_ufunc__
    return not isinstance(operand, (Interchange, np.generic, bool, int, float, complex))


def _operand(call: str, namespace: ModuleType, value: Any, device: str) -> Any:
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    if not dtypes.is_supported(value.dtype.newbyteorder("=")):
        raise TypeError(f"{call}: {value.dtype} is none of the standard's data types")
    # A scalar is at home on any device.
    return namespace.asarray(value, device=device if isinstance(value, np.generic) else DEVICE)


def _delivered(call: str, result: Interchange, out: Any = None) -> Any:
    """`result` itself, or `out` after it was written there.

    Raises
    ------
    TypeError
        `out` is no array, or can't keep the data type, by NumPy's "same kind".
    ValueError
        It has another shape, or is read-only.
    """
    if out is None:
        return result
    if not isinstance(out, (np.ndarray, Interchange)):
        raise TypeError(f"{call}: out is a NumPy array or an Array, not {type(out).__name__}")
    if not np.can_cast(result.dtype, out.dtype, "same_kind"):
        raise TypeError(f"{call}: the result is {result.dtype} and can't be kept in out, of {out.dtype}")
    if result.shape != out.shape:
        raise ValueError(f"{call}: the result has the shape {result.shape}, and out has {out.shape}")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError(f"{call}: out is read-only")
    out[...] = result
    return out
