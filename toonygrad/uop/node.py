"""UOp: a node of the one graph. Immutable, hash-consed, freed when nobody holds it.

Two nodes with the same op, sources and arg are the same object, so equality is identity and a common
subexpression exists once. Every layer above builds, reads and rewrites these nodes. Walks are iterative: a
chain of 100,000 operations is a graph like any other. Imports the page of ops, shape inference and the data
types.
"""

from __future__ import annotations

import struct
import weakref
from collections.abc import Callable, Container, Iterable, Iterator
from ctypes import c_float
from typing import Any

import numpy as np

from toonygrad import dtypes
from toonygrad.devices import mixed_devices_error
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.shape import Shape, infer

Number = bool | int | float | complex


class _Entry(weakref.ref):
    """A table entry that knows its key, so that a dying node can take its entry along."""

    __slots__ = ("key",)
    key: tuple


_table: dict[tuple, _Entry] = {}


def _forget(entry: _Entry) -> None:
    other = _table.pop(entry.key, entry)
    if other is not entry:  # another thread has interned an equal node in the meantime
        _table.setdefault(entry.key, other)


class UOp:
    """One operation on others.

    Attributes
    ----------
    op, src, arg
        What it does, to which nodes, with which parameters (uop/ops.py lists them).
    dtype, shape
        Of the result; kernel nodes and statements are scalars, of shape ().
    depth
        The longest way down to a leaf, which bounds how much is recorded before something is computed; what
        mostly ends a kernel counts as several (`Op.length`).
    realized
        The BUFFER that holds this node's value, once somebody computed it. A memo, not part of its meaning.
    demanded
        How many computations had this node inside without storing it. The second one stores it (realize.py).
    device
        Where the memory below it is, None where there is none. Set in processes that use several devices
        (`follow_devices`); `device_of` finds it for any node.
    bits
        Of a real SCALAR, as kernels take it, once one has; set by who launches them.
    """

    __slots__ = (
        *("__weakref__", "arg", "bits", "demanded", "depth", "device", "dtype", "op", "realized", "shape"),
        "src",
    )

    op: Op
    src: tuple[UOp, ...]
    arg: Any
    dtype: np.dtype
    shape: Shape
    depth: int
    realized: UOp | None
    demanded: int
    device: str | None
    bits: int

    @staticmethod
    def new(op: Op, src: tuple[UOp, ...] = (), arg: Any = None) -> UOp:
        """The node (op, src, arg), made or found."""
        key = (op, src, arg)
        entry = _table.get(key)
        if entry is not None:
            node = entry()
            if node is not None:
                return node
        dtype, shape = infer(op, src, arg)
        return _intern(key, op, src, arg, dtype, shape)

    @staticmethod
    def known(op: Op, src: tuple[UOp, ...], arg: Any, dtype: np.dtype, shape: Shape) -> UOp:
        """As `new` for a caller who knows type and shape of the result: the short way, for recording."""
        key = (op, src, arg)
        entry = _table.get(key)
        if entry is not None:
            node = entry()
            if node is not None:
                return node
        return _intern(key, op, src, arg, dtype, shape)

    @staticmethod
    def const(value: Number, dtype: np.dtype) -> UOp:
        """A number of the engine's own, part of a kernel's source."""
        return _number(Ops.CONST, value, dtype)

    @staticmethod
    def scalar(value: Number, dtype: np.dtype) -> UOp:
        """A number of the user's (or of a shape), an argument of the kernel: another value never compiles."""
        return _number(Ops.SCALAR, value, dtype)

    def replace(self, src: tuple[UOp, ...]) -> UOp:
        """This node on other sources."""
        return self if src == self.src else UOp.new(self.op, src, self.arg)

    # Arithmetic, for rules and decompositions. Python numbers become constants of the other operand's type.

    def alu(self, op: Op, *others: UOp | Number) -> UOp:
        """`op` of this node and others; numbers among them become constants of this node's type."""
        if len(others) == 1:  # nearly always
            other = others[0]
            return UOp.new(op, (self, other if isinstance(other, UOp) else UOp.const(other, self.dtype)))
        return UOp.new(op, (self, *(o if isinstance(o, UOp) else UOp.const(o, self.dtype) for o in others)))

    def __add__(self, other: UOp | Number) -> UOp:
        return self.alu(Ops.ADD, other)

    def __radd__(self, other: Number) -> UOp:
        return UOp.const(other, self.dtype).alu(Ops.ADD, self)

    def __sub__(self, other: UOp | Number) -> UOp:
        return self.alu(Ops.SUB, other)

    def __rsub__(self, other: Number) -> UOp:
        return UOp.const(other, self.dtype).alu(Ops.SUB, self)

    def __mul__(self, other: UOp | Number) -> UOp:
        return self.alu(Ops.MUL, other)

    def __rmul__(self, other: Number) -> UOp:
        return UOp.const(other, self.dtype).alu(Ops.MUL, self)

    def __truediv__(self, other: UOp | Number) -> UOp:
        return self.alu(Ops.DIV, other)

    def __rtruediv__(self, other: Number) -> UOp:
        return UOp.const(other, self.dtype).alu(Ops.DIV, self)

    def __neg__(self) -> UOp:
        return self.alu(Ops.NEG)

    def __invert__(self) -> UOp:
        return self.alu(Ops.NOT)

    def __abs__(self) -> UOp:
        return self.alu(Ops.ABS)

    def __and__(self, other: UOp | Number) -> UOp:
        return self.alu(Ops.AND, other)

    def __or__(self, other: UOp | Number) -> UOp:
        return self.alu(Ops.OR, other)

    def __xor__(self, other: UOp | Number) -> UOp:
        return self.alu(Ops.XOR, other)

    def __lshift__(self, other: UOp | Number) -> UOp:
        return self.alu(Ops.SHIFT_LEFT, other)

    def __rshift__(self, other: UOp | Number) -> UOp:
        return self.alu(Ops.SHIFT_RIGHT, other)

    def __lt__(self, other: UOp | Number) -> UOp:
        return self.alu(Ops.LT, other)

    def __le__(self, other: UOp | Number) -> UOp:
        return self.alu(Ops.LE, other)

    def __gt__(self, other: UOp | Number) -> UOp:
        return (other if isinstance(other, UOp) else UOp.const(other, self.dtype)).alu(Ops.LT, self)

    def __ge__(self, other: UOp | Number) -> UOp:
        return (other if isinstance(other, UOp) else UOp.const(other, self.dtype)).alu(Ops.LE, self)

    # `==` is identity, as hash-consing needs; these two build nodes.
    def eq(self, other: UOp | Number) -> UOp:
        """The comparison self == other as a node."""
        return self.alu(Ops.EQ, other)

    def ne(self, other: UOp | Number) -> UOp:
        """The comparison self != other as a node."""
        return self.alu(Ops.NE, other)

    def where(self, yes: UOp, no: UOp | Number) -> UOp:
        """`yes` where this boolean node holds, else `no`."""
        return UOp.new(Ops.WHERE, (self, yes, no if isinstance(no, UOp) else UOp.const(no, yes.dtype)))

    def fma(self, factor: UOp | Number, addend: UOp | Number) -> UOp:
        """self * factor + addend, rounded once."""
        return self.alu(Ops.FMA, factor, addend)

    def cast(self, dtype: np.dtype) -> UOp:
        """This node converted to `dtype`; itself where it has that type."""
        return self if self.dtype == dtype else UOp.new(Ops.CAST, (self,), dtype)

    def bitcast(self, dtype: np.dtype) -> UOp:
        """The same bits as `dtype`, of the same size."""
        return self if self.dtype == dtype else UOp.new(Ops.BITCAST, (self,), dtype)

    def __repr__(self) -> str:
        parts = [self.op.name, str(self.dtype)]
        if self.shape:
            parts.append(str(self.shape))
        if self.arg is not None:
            parts.append(str(self.arg))
        return f"UOp({', '.join(parts)}; {len(self.src)} sources)"


def _made(key: tuple, op: Op, src: tuple[UOp, ...], arg: Any, dtype: np.dtype, shape: Shape) -> UOp:
    """Make the node under `key`, or find the one that another thread has just made."""
    node = UOp()
    node.op = op
    node.src = src
    node.arg = arg
    node.dtype = dtype
    node.shape = shape
    node.realized = None
    node.demanded = 0
    depth = -1
    for source in src:
        if source.depth > depth:
            depth = source.depth
    node.depth = depth + op.length
    entry = _Entry(node, _forget)
    entry.key = key
    present = _table.setdefault(key, entry)
    return node if present is entry else _entered(key, node, entry)


def _entered(key: tuple, node: UOp, entry: _Entry) -> UOp:
    """`node` where its entry is in the table, which had another one; else the node that has it."""
    while (present := _table.setdefault(key, entry)) is not entry:
        # Another thread made the same node in the meantime, or a dead one has not been forgotten yet.
        other = present()
        if other is not None:
            return other
        _forget(present)
    return node


# -- devices ---------------------------------------------------------------------------------------


def _made_on_a_device(
    key: tuple, op: Op, src: tuple[UOp, ...], arg: Any, dtype: np.dtype, shape: Shape
) -> UOp:
    """As `_made`, written out again for the time that a call takes; the node knows its device, which is that
    of all its sources that have one.
    """
    device: str | None = arg.device if op is Ops.BUFFER else None
    depth = -1
    for source in src:
        if source.depth > depth:
            depth = source.depth
        try:
            other = source.device
        except AttributeError:
            other = device_of(source)
        if other is not device and other is not None and other != device:
            if device is not None:
                raise mixed_devices_error({device, other})
            device = other
    node = UOp()
    node.op = op
    node.src = src
    node.arg = arg
    node.dtype = dtype
    node.shape = shape
    node.realized = None
    node.demanded = 0
    node.depth = depth + op.length
    node.device = device
    entry = _Entry(node, _forget)
    entry.key = key
    present = _table.setdefault(key, entry)
    return node if present is entry else _entered(key, node, entry)


# What `UOp.new` and `UOp.known` call: another function once there are devices to tell apart, so that who
# never uses any pays nothing.
_intern: Callable[[tuple, Op, tuple[UOp, ...], Any, np.dtype, Shape], UOp] = _made


def follow_devices(follow: bool) -> None:
    """From now on nodes know their device, and none is made of sources on several; or no longer."""
    global _intern
    _intern = _made_on_a_device if follow else _made


def device_of(node: UOp) -> str | None:
    """Where the memory below a node is; None where there is none."""
    try:
        return node.device
    except AttributeError:
        pass
    for each in toposort(node):  # made before there were devices to tell apart
        if not hasattr(each, "device"):
            if each.op is Ops.BUFFER:
                each.device = each.arg.device
            else:
                known = (source.device for source in each.src)
                each.device = next((device for device in known if device is not None), None)
    return node.device


# -- numbers ---------------------------------------------------------------------------------------

_float_bits, _complex_bits = struct.Struct("<d").pack, struct.Struct("<dd").pack


def _number(op: Op, value: Any, dtype: np.dtype) -> UOp:
    # Numbers may be equal that aren't the same (0.0 == -0.0, nan != nan): the key holds type and bits.
    identity: int | bytes
    kind = dtype.kind
    if kind == "f":
        # c_float rounds as NumPy does, and says nothing where a number is too large.
        if dtype == dtypes.float64:
            value = float(value)
        elif dtype == dtypes.float32:
            value = c_float(value).value
        else:
            with np.errstate(over="ignore"):
                value = float(np.float64(value).astype(dtype))
        identity = _float_bits(value)
    elif kind == "c":
        value = complex(value)
        if dtype == dtypes.complex64:
            value = complex(c_float(value.real).value, c_float(value.imag).value)
        identity = _complex_bits(value.real, value.imag)
    else:
        value = bool(value) if kind == "b" else int(value)
        identity = value
    key = (op, dtype, identity)
    entry = _table.get(key)
    if entry is not None:
        node = entry()
        if node is not None:
            return node
    return _intern(key, op, (), value, dtype, ())


def toposort(*roots: UOp, until: Container[UOp] = ()) -> list[UOp]:
    """Every node below and including `roots`, each once, sources first; nothing below those in `until`."""
    order: list[UOp] = []
    done: set[UOp] = set()
    stack = list(reversed(roots))
    while stack:
        node = stack[-1]
        if node in done:
            stack.pop()
            continue
        ready = True
        if node.src and node not in until:
            for source in reversed(node.src):
                if source not in done:
                    stack.append(source)
                    ready = False
        if ready:
            stack.pop()
            done.add(node)
            order.append(node)
    return order


def substitute(roots: Iterable[UOp], replacements: dict[UOp, UOp]) -> list[UOp]:
    """`roots` with some nodes below them replaced."""
    roots = list(roots)
    made = dict(replacements)
    for node in toposort(*roots):
        if node not in made:
            made[node] = node.replace(tuple(made[source] for source in node.src))
    return [made[root] for root in roots]


def live_nodes() -> Iterator[UOp]:
    """Every node alive now, for tests and diagnosis."""
    for entry in list(_table.values()):
        node = entry()
        if node is not None:
            yield node
