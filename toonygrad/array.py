"""Array: the handle users hold on a node of the graph. Its operators and indexing.

Operators record one node and compute nothing; whatever needs a value asks realize.py. The standard's
functions stand in array_api/, on top of this file and record.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from toonygrad import dtypes, indexing, placement, products, record, views
from toonygrad.devices import DEVICE, use
from toonygrad.errors import shapes_error, storage_error
from toonygrad.interchange import Interchange
from toonygrad.realize import in_memory, realize_nodes, shallow
from toonygrad.runtime.buffer import Buffer, SharedBuffer
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import COMPARISONS, Op, Ops
from toonygrad.uop.shape import Shape, size_of
from toonygrad.views import Step, View
from toonygrad.writing import SCALARS, is_recorded, write_all, write_number, write_value

# A chain of this many pending operations is computed before it grows: graphs stay bounded whatever a loop
# records.
MOST_PENDING = 128

# Nodes of numbers that stood beside arrays lately, which take longer to make than all the rest. None of zeros
# and complex numbers, for 0.0 and -0.0 are equal.
_recent: dict[tuple[Any, np.dtype], UOp] = {}
_MOST_RECENT = 256

_new = object.__new__
_Binary = Callable[["Array", Any], "Array"]


# -- operators -------------------------------------------------------------------------------------


def _in_place(call: str, array: Array, result: Any) -> Array:
    """What `array op= other` leaves: the same handle on the new value, of the old type and shape."""
    if result is NotImplemented:
        return NotImplemented
    if not np.can_cast(result.dtype, array.dtype, "same_kind"):
        raise TypeError(
            f"{call}: the result's data type {result.dtype} can't be kept in an array of {array.dtype}"
        )
    if result.shape != array.shape:
        raise shapes_error(call, (array.shape, result.shape))
    if result.dtype != array.dtype:
        result = from_node(record.cast(node_of(result), array.dtype))
    if array._view is None and not views.is_shared(array):
        array._uop = result._uop  # nobody else's memory: the new value is recorded
    else:
        cell, steps = _cell(array)
        block = views.large_block(cell, steps)
        if block is None:
            write_all(call, cell, steps, realized(result))
        else:
            views.compute_into(cell, block, node_of(result))
    return array


def binary_recorder(call: str, op: Op, reflected: bool = False, mirrored: bool = False) -> _Binary:
    """The function that records `op` of an Array and an operand; it answers NotImplemented for what is none.

    Parameters
    ----------
    call : what errors call it
    op : what it records
    reflected : the operand stands on the left, as in `__radd__`
    mirrored : `op` takes the right one first: x > y is LT of y and x
    """
    swapped = reflected != mirrored
    allowed = record.allowed(op)
    truths = op in COMPARISONS
    keeps_dtype = record.KEEPS_DTYPE
    recent = _recent

    def method(self: Array, other: Any, /) -> Array:
        left = self._uop
        if left.realized is not None:
            left = node_of(self)
        dtype = left.dtype
        kind = type(other)
        right: Any
        # Two quick ways, with nothing to promote, broadcast or refuse: most operations come through here.
        if kind is Array:
            right = other._uop
            if right.realized is not None:
                right = node_of(other)
            shape, beside = left.shape, right.shape
            if (
                dtype is right.dtype
                and (shape == beside or not beside or not shape)
                and dtype in allowed
                and left.depth < MOST_PENDING
                and right.depth < MOST_PENDING
            ):
                array = _new(Array)
                sources = (right, left) if swapped else (left, right)
                array._uop = UOp.known(op, sources, None, dtypes.bool_ if truths else dtype, shape or beside)
                array._view = None
                return array
        elif (kind, dtype) in keeps_dtype and dtype in allowed and left.depth < MOST_PENDING:
            right = recent.get((other, dtype)) if other else None
            if right is None:
                right = record.number(call, other, dtype)
                if other and kind is not complex:
                    if len(recent) >= _MOST_RECENT:
                        recent.clear()
                    recent[other, dtype] = right
            array = _new(Array)
            sources = (right, left) if swapped else (left, right)
            array._uop = UOp.known(op, sources, None, dtypes.bool_ if truths else dtype, left.shape)
            array._view = None
            return array
        elif isinstance(other, (np.ndarray, np.generic)):
            # Before Python's scalars, of which numpy.float64 is one: NumPy's count with their data types.
            right = numpy_operand(call, other)
        elif isinstance(other, SCALARS):
            right = other
        else:
            return NotImplemented
        operands = (right, left) if reflected else (left, right)
        return from_node(record.elementwise(call, op, *operands, mirrored=mirrored))

    method.__name__ = method.__qualname__ = call
    return method


def _in_place_operator(call: str, op: Op) -> _Binary:
    forward = binary_recorder(call, op)

    def method(self: Array, other: Any, /) -> Array:
        return _in_place(call, self, forward(self, other))

    method.__name__ = method.__qualname__ = call
    return method


class Array(Interchange):
    """An n-dimensional array of the Python array API standard, computed when a value is asked for.

    Made by `asarray` and the other creation functions, not by calling the class.
    """

    # A view has no node of its own, so that nothing it keeps looks like a reader of its memory: reading the
    # empty slot asks the view, and other arrays pay nothing for that.
    __slots__ = ("__weakref__", "_uop", "_view")
    _uop: UOp
    _view: View | None

    def __init__(self) -> None:
        raise TypeError("Array: make arrays with asarray, zeros, arange and the like")

    def __getattr__(self, name: str) -> UOp:
        if name == "_uop" and self._view is not None:
            return self._view.node
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # -- attributes --------------------------------------------------------------------------------

    @property
    def dtype(self) -> np.dtype:
        """Data type of the elements."""
        return (self._uop if self._view is None else self._view.cell._uop).dtype

    @property
    def device(self) -> str:
        """Where the elements are or will be: "cpu", "cuda:0"."""
        if not use.several:
            return DEVICE
        return placement.place_of(self._uop if self._view is None else self._view.cell._uop)

    @property
    def shape(self) -> Shape:
        """Sizes of the axes."""
        return (self._uop if self._view is None else self._view).shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return size_of(self.shape)

    @property
    def T(self) -> Array:
        """The transpose of a two-dimensional array.

        Raises
        ------
        ValueError
            The array doesn't have two dimensions.
        """
        if self.ndim != 2:
            raise ValueError(
                f"T: needs two dimensions, not the shape {self.shape}; permute_dims takes any number"
            )
        return permuted(self, (1, 0))

    @property
    def mT(self) -> Array:
        """Each matrix of a stack of matrices transposed.

        Raises
        ------
        ValueError
            The array has fewer than two dimensions.
        """
        if self.ndim < 2:
            raise ValueError(f"mT: needs at least two dimensions, not the shape {self.shape}")
        last = self.ndim - 1
        return permuted(self, (*range(last - 1), last, last - 1))

    # -- computing ---------------------------------------------------------------------------------

    def block_until_ready(self) -> Array:
        """Compute the elements now, and answer this array."""
        buffer: Any = realized(self)
        if buffer.device != DEVICE:
            placement.wait(buffer)
        return self

    def _memory(self) -> np.ndarray:
        return realized(self).array

    def _shared_buffer(self) -> Any:
        views.share(_cell(self)[0])
        return realized(self)

    def _on(self, device: str) -> Array:
        return from_node(placement.brought(realized(self), device))

    def __iter__(self) -> Iterator[Array]:
        if not self.shape:
            raise TypeError("iter: a 0-d array has no elements to go through")
        return (self[index] for index in range(self.shape[0]))

    # -- reading and writing -----------------------------------------------------------------------

    def __getitem__(self, key: Any, /) -> Array:
        """Elements by integers, slices, None, Ellipsis, integer arrays and masks, as NumPy combines them.

        Without arrays in the key the result shares the elements: what is written into one is seen in the
        other.

        Raises
        ------
        IndexError
            Too many indices, an index out of bounds (of an integer array: when the elements are computed), a
            mask of another shape, or an object that is no index.
        """
        items = indexing.parsed("__getitem__", key, self.shape, self._as_key)
        movement = indexing.movement("__getitem__", items, self.shape)
        if movement is not None:
            return shared(self, *movement)
        return from_node(indexing.gathered("__getitem__", node_of(self), items))

    def __setitem__(self, key: Any, value: Any, /) -> None:
        """Write elements, at once and seen by all that share them; in place where nobody needs the old ones.

        Parameters
        ----------
        key
            As for reading.
        value : Array, Python scalar, or what `asarray` takes
            Converted to the array's data type, and broadcast to the shape that reading would have.

        Raises
        ------
        IndexError
            As for reading, integer arrays out of bounds included.
        TypeError
            Complex numbers are to become real ones, or `value` isn't made of numbers.
        ValueError
            `value` doesn't broadcast to what the key selects.
        OverflowError
            A Python integer doesn't fit the data type.
        """
        mask = type(key) is Array and key.dtype == dtypes.bool_ and is_recorded(self, value, key._uop)
        as_node = self._as_key if mask or in_memory(node_of(self)) is None else self._as_computed_key
        items = indexing.parsed("__setitem__", key, self.shape, as_node)
        _assign("__setitem__", self, items, value)

    def _as_key(self, call: str, value: Any) -> UOp | None:
        """The node of an array in a key; None for anything else."""
        if isinstance(value, Array):
            # 0-d integer arrays are integers in a key: they have to be known for its bounds.
            return None if not value.shape and value.dtype.kind in "iu" else node_of(value)
        if isinstance(value, list):
            value = np.array(value, dtype=None if value else dtypes.INDEX)
        if not isinstance(value, np.ndarray):
            return None
        array = from_foreign(call, value)
        return node_of(array._on(self.device) if use.several else array)

    def _as_computed_key(self, call: str, value: Any) -> UOp | None:
        if isinstance(value, Array):
            realized(value)  # from now on it needs no elements of what is written
        return self._as_key(call, value)

    # -- arithmetic --------------------------------------------------------------------------------

    # Binary operators: normal, reflected and in place.
    __add__ = binary_recorder("__add__", Ops.ADD)
    __radd__ = binary_recorder("__radd__", Ops.ADD, reflected=True)
    __iadd__ = _in_place_operator("__iadd__", Ops.ADD)
    __sub__ = binary_recorder("__sub__", Ops.SUB)
    __rsub__ = binary_recorder("__rsub__", Ops.SUB, reflected=True)
    __isub__ = _in_place_operator("__isub__", Ops.SUB)
    __mul__ = binary_recorder("__mul__", Ops.MUL)
    __rmul__ = binary_recorder("__rmul__", Ops.MUL, reflected=True)
    __imul__ = _in_place_operator("__imul__", Ops.MUL)
    __truediv__ = binary_recorder("__truediv__", Ops.DIV)
    __rtruediv__ = binary_recorder("__rtruediv__", Ops.DIV, reflected=True)
    __itruediv__ = _in_place_operator("__itruediv__", Ops.DIV)
    __floordiv__ = binary_recorder("__floordiv__", Ops.FLOORDIV)
    __rfloordiv__ = binary_recorder("__rfloordiv__", Ops.FLOORDIV, reflected=True)
    __ifloordiv__ = _in_place_operator("__ifloordiv__", Ops.FLOORDIV)
    __mod__ = binary_recorder("__mod__", Ops.REMAINDER)
    __rmod__ = binary_recorder("__rmod__", Ops.REMAINDER, reflected=True)
    __imod__ = _in_place_operator("__imod__", Ops.REMAINDER)
    __and__ = binary_recorder("__and__", Ops.AND)
    __rand__ = binary_recorder("__rand__", Ops.AND, reflected=True)
    __iand__ = _in_place_operator("__iand__", Ops.AND)
    __or__ = binary_recorder("__or__", Ops.OR)
    __ror__ = binary_recorder("__ror__", Ops.OR, reflected=True)
    __ior__ = _in_place_operator("__ior__", Ops.OR)
    __xor__ = binary_recorder("__xor__", Ops.XOR)
    __rxor__ = binary_recorder("__rxor__", Ops.XOR, reflected=True)
    __ixor__ = _in_place_operator("__ixor__", Ops.XOR)
    __lshift__ = binary_recorder("__lshift__", Ops.SHL)
    __rlshift__ = binary_recorder("__rlshift__", Ops.SHL, reflected=True)
    __ilshift__ = _in_place_operator("__ilshift__", Ops.SHL)
    __rshift__ = binary_recorder("__rshift__", Ops.SHR)
    __rrshift__ = binary_recorder("__rrshift__", Ops.SHR, reflected=True)
    __irshift__ = _in_place_operator("__irshift__", Ops.SHR)
    __rpow__ = binary_recorder("__rpow__", Ops.POW, reflected=True)
    _power = binary_recorder("__pow__", Ops.POW)
    _square = binary_recorder("__pow__", Ops.MUL)

    __lt__ = binary_recorder("__lt__", Ops.LT)
    __le__ = binary_recorder("__le__", Ops.LE)
    __gt__ = binary_recorder("__gt__", Ops.LT, mirrored=True)
    __ge__ = binary_recorder("__ge__", Ops.LE, mirrored=True)
    # Elementwise, as the standard says; object has them answer a bool.
    __eq__ = binary_recorder("__eq__", Ops.EQ)  # type: ignore[assignment]
    __ne__ = binary_recorder("__ne__", Ops.NE)  # type: ignore[assignment]

    def __neg__(self) -> Array:
        return from_node(record.elementwise("__neg__", Ops.NEG, node_of(self)))

    def __pos__(self) -> Array:
        record.check_takes("__pos__", Ops.NEG, node_of(self))
        return from_node(node_of(self))

    def __abs__(self) -> Array:
        return from_node(record.elementwise("__abs__", Ops.ABS, node_of(self)))

    def __invert__(self) -> Array:
        return from_node(record.elementwise("__invert__", Ops.NOT, node_of(self)))

    def __matmul__(self, other: Array, /) -> Array:
        if isinstance(other, np.ndarray):
            other = from_foreign("__matmul__", other)
        elif not isinstance(other, Array):
            return NotImplemented
        return from_node(products.matmul("__matmul__", node_of(self), node_of(other)))

    def __rmatmul__(self, other: Array, /) -> Array:
        # Between two Arrays the forward method answers; this one makes NumPy arrays on the left work.
        if not isinstance(other, np.ndarray):
            return NotImplemented
        left = from_foreign("__rmatmul__", other)
        return from_node(products.matmul("__rmatmul__", node_of(left), node_of(self)))

    def __imatmul__(self, other: Array, /) -> Array:
        return _in_place("__imatmul__", self, self.__matmul__(other))

    def __pow__(self, other: Any, /) -> Array:
        few = products.few_factors(other, self.dtype)
        if few == 2:
            return self._square(self)
        return from_node(products.cube("__pow__", node_of(self))) if few else self._power(other)

    def __ipow__(self, other: Any, /) -> Array:
        return _in_place("__ipow__", self, self.__pow__(other))


# -- handles and nodes -----------------------------------------------------------------------------


def from_node(node: UOp) -> Array:
    """A handle on `node`; where the graph below it has grown deep, some of that is computed first."""
    if node.depth >= MOST_PENDING:
        node = shallow(node, MOST_PENDING)
    array = Array.__new__(Array)
    array._uop = node
    array._view = None
    return array


def shared(array: Array, steps: tuple[Step, ...], shape: Shape) -> Array:
    """A handle that shows the elements of `array` through movement: writes into one are seen in the other.

    Parameters
    ----------
    steps : `record.permute`, `record.slice_axes` and `record.reshape`, each with its argument
    shape : where they lead
    """
    cell, before = _cell(array)
    result = _new(Array)
    result._view = View(cell, views.joined(before, steps) if before else steps, shape)
    return result


def permuted(array: Array, axes: Sequence[int]) -> Array:
    """A handle that shares the elements of `array`, with axis k of it axis axes[k]."""
    shape = array.shape
    return shared(array, ((record.permute, tuple(axes)),), tuple(shape[axis] for axis in axes))


def sliced(array: Array, parts: Sequence[tuple[int, int, int]]) -> Array:
    """A handle that shares for each axis `size` elements of `array` from `start` by `step`."""
    return shared(array, ((record.slice_axes, tuple(parts)),), tuple(size for _, _, size in parts))


def reshaped(array: Array, shape: Shape) -> Array | None:
    """A handle that shares the elements of `array` under another shape; None if strides can't express it."""
    steps = ((record.reshape, shape),)
    cell, before = _cell(array)
    return shared(array, steps, shape) if views.strided(cell, views.joined(before, steps)) else None


def _cell(array: Array) -> tuple[views.Cell, tuple[Step, ...]]:
    view = array._view
    return (array, ()) if view is None else (view.cell, view.steps)


def node_of(array: Array) -> UOp:
    """The node an array stands for: the memory itself once it has been computed."""
    node = array._uop
    if node.realized is not None:
        node = array._uop = node.realized  # a view's node never is
    return node


def realized(array: Array) -> Buffer:
    """The memory with the array's elements, computed if need be."""
    node = node_of(array)
    if node.op is not Ops.BUFFER:
        (memory,) = realize_nodes([node])
        views.settle(array, node)
        node = memory
    return node.arg


def _assign(call: str, array: Array, items: list[indexing.Item], value: Any) -> None:
    """Write `value` where a parsed key leads."""
    if use.several:
        indexing.check_key(node_of(array), items)
    cell, steps = _cell(array)
    movement = indexing.movement(call, items, array.shape)
    path, shape = (None, ()) if movement is None else (views.joined(steps, movement[0]), movement[1])
    view = value._view if isinstance(value, Array) else None
    if view is not None and view.cell is cell and view.steps == path:
        return  # its own elements: `x[i] += 1` has written them already
    whole = path == () and not views.is_shared(cell)
    mask = indexing.mask_of_all(items, array.shape, array.device)
    mask = mask if mask is not None and is_recorded(array, value, mask) else None
    block = None if path is None or isinstance(value, SCALARS) else views.large_block(cell, path)
    node = _converted_value(call, value, array, computed=not whole and block is None and mask is None)
    if whole:
        node = placement.on_device(views.spread(call, node, array.shape), array.device)
        cell._uop = from_node(node)._uop
    elif mask is not None:
        cell._uop = from_node(record.where(call, mask, record.reshape(node, ()), views.current(cell)))._uop
    elif block is not None and in_memory(node) is None:
        views.compute_into(cell, block, views.spread(call, node, shape))
    elif path is None or node.op is not Ops.SCALAR or not use.several or not write_number(cell, path, node):
        held = [node]
        del node
        write_value(call, cell, steps, items, array.shape, held)


def _converted_value(call: str, value: Any, array: Array, computed: bool) -> UOp:
    """What is to be written, on the device and in the data type of the array it is written to."""
    if isinstance(value, SCALARS):
        return record.number(call, record.python_number(call, value), array.dtype)
    if not isinstance(value, Array):
        value = from_foreign(call, np.asarray(value))
        value = value._on(array.device) if use.several else value
    if computed:
        realized(value)  # from now on it needs no elements of what is written
    node = node_of(value)
    if use.several:
        placement.check_together(node, node_of(array))
    return converted(call, node, array.dtype)


def from_numpy(array: np.ndarray) -> Array:
    """A handle on a NumPy array's memory, which nobody may write any more."""
    return from_node(UOp.new(Ops.BUFFER, (), Buffer(array)))


def from_foreign(call: str, array: np.ndarray, dtype: np.dtype | None = None, copy: bool = True) -> Array:
    """A handle on memory that others may write: copied, or shared with them where `copy` is False.

    Raises
    ------
    TypeError
        Its data type is none of ours and no other is asked for, or complex numbers are to become real ones.
    ValueError
        `copy` is False, and the data type, the byte order or the alignment asks for a copy.
    """
    source = array.dtype.newbyteorder("=")
    if not dtypes.is_supported(source):
        if dtype is None or source.kind not in "bifc":
            raise TypeError(f"{call}: {array.dtype} is none of the standard's data types")
        source = dtype
    shareable = array.dtype == source and array.dtype.isnative and array.flags.aligned
    if not copy and not (shareable and (dtype is None or dtype == source)):
        raise ValueError(f"{call}: {array.dtype} can't be seen as {dtype or source} without a copy")
    if copy:
        # Order "K": the elements lie as they lay, which copies fastest; kernels read any layout.
        result = from_numpy(np.array(array, source, copy=True, order="K", subok=False))
    else:
        result = from_node(UOp.new(Ops.BUFFER, (), SharedBuffer(array.view(np.ndarray))))
    return result if dtype is None else from_node(converted(call, node_of(result), dtype))


def numpy_operand(call: str, value: np.ndarray | np.generic) -> UOp:
    """A NumPy array or scalar beside an Array; a scalar is at home on any device."""
    node = node_of(from_foreign(call, np.asarray(value)))
    if use.several and isinstance(value, np.generic) and node.dtype not in dtypes.STORAGE:
        return UOp.scalar(value.item(), node.dtype)
    return node


def converted(call: str, node: UOp, dtype: np.dtype) -> UOp:
    """`node` as `dtype`, whatever that loses but an imaginary part.

    Raises
    ------
    TypeError
        Complex numbers are to become real ones.
    """
    if node.dtype.kind == "c" and dtype.kind not in "cb":
        raise TypeError(f"{call}: {node.dtype} can't be {dtype}; take its real or its imag first")
    return record.cast(node, dtype)


def array_node(call: str, value: Any) -> UOp:
    """The node of an argument that must be an Array.

    Raises
    ------
    TypeError
        It is something else, or of float16 for a call that computes.
    """
    if type(value) is not Array:
        raise TypeError(f"{call}: takes an Array, not {type(value).__name__}; asarray makes one")
    node = value._uop
    if node.dtype in dtypes.STORAGE and call not in record.MOVES:
        raise storage_error(call)
    return node if node.realized is None else node_of(value)


def operand(call: str, value: Any) -> record.Operand:
    """An argument that may be an Array, a Python scalar, or one of NumPy's, which is a 0-d array.

    Raises
    ------
    TypeError
        It is none of them.
    """
    if isinstance(value, np.generic):
        return numpy_operand(call, value)
    return value if isinstance(value, SCALARS) else array_node(call, value)


def realize(*arrays: Array) -> None:
    """Compute several arrays in one schedule, so that they share kernels and intermediate results.

    Raises
    ------
    TypeError
        An argument isn't an Array.
    """
    nodes = [array_node("realize", array) for array in arrays]
    realize_nodes(nodes)
    for array, node in zip(arrays, nodes):
        views.settle(array, node)
