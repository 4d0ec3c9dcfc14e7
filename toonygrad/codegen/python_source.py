"""A loop nest written as readable Python source, for both targets.

An expression used once stands where it is used, one used several times gets a name in the loop where it first
can be computed, and what doesn't change inside a loop is computed before it. Only words of the dialect
(codegen/cpu.py) and names made here reach the source: nothing a user wrote does.
"""

from __future__ import annotations

import functools
import hashlib
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.cpu import Parameter
from toonygrad.codegen.loops import Nest
from toonygrad.codegen.lower import Arguments
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import STATEMENTS, Ops

# A longer expression gets a name although it is used once.
LONGEST = 88

_INFIX = {
    Ops.ADD: "+",
    Ops.SUB: "-",
    Ops.MUL: "*",
    Ops.DIV: "/",
    Ops.AND: "&",
    Ops.OR: "|",
    Ops.XOR: "^",
    Ops.LT: "<",
    Ops.LE: "<=",
    Ops.EQ: "==",
    Ops.NE: "!=",
}
_WORDS = {
    Ops.SQRT: "sqrt",
    Ops.FLOOR: "floor",
    Ops.CEIL: "ceil",
    Ops.TRUNC: "trunc",
    Ops.ROUND: "rint",
    Ops.ABS: "absolute",
    Ops.COPYSIGN: "copysign",
    Ops.MAXIMUM: "maximum",
    Ops.MINIMUM: "minimum",
    Ops.WHERE: "where",
    Ops.FMA: "fma",
    Ops.QUOTIENT: "quotient",
    Ops.MODULO: "remainder",
    Ops.SHIFT_LEFT: "shift_left",
    Ops.SHIFT_RIGHT: "shift_right",
    Ops.REASSOCIATING_ADD: "reassociating_add",
    Ops.REASSOCIATING_MUL: "reassociating_multiply",
    Ops.TWO_OVER_PI: "two_over_pi",
    Ops.POW: "integer_power",
}
# How tightly Python binds them; a name or a call binds tightest.
_PRECEDENCE = {
    **dict.fromkeys((Ops.MUL, Ops.DIV), 7),
    **dict.fromkeys((Ops.ADD, Ops.SUB), 6),
    Ops.AND: 5,
    Ops.XOR: 4,
    Ops.OR: 3,
    **dict.fromkeys((Ops.LT, Ops.LE, Ops.EQ, Ops.NE), 2),
}
_ATOM = 9
_WRAPPING = frozenset({Ops.ADD, Ops.SUB, Ops.MUL, Ops.AND, Ops.OR, Ops.XOR})
_ARRAYS = frozenset({Ops.SCRATCH, Ops.SHARED})
_LEAVES = _ARRAYS | {Ops.CONST, Ops.SIZE, Ops.NUMBER, Ops.RANGE, Ops.VARIABLE, Ops.POINTER, Ops.THREAD}
_MUTABLE = _ARRAYS | {Ops.RANGE, Ops.VARIABLE}
_INDEX_LEAVES = frozenset({Ops.SIZE, Ops.RANGE, Ops.CONST, Ops.CHECKED, Ops.THREAD})


@dataclass(frozen=True)
class KernelSource:
    """A kernel as text.

    Attributes
    ----------
    name : kernel_ and a hash of the text: equal kernels have equal names
    text : one function definition in words of the dialect
    parameters : its arguments, on the CPU before lo and hi
    """

    name: str
    text: str
    parameters: tuple[Parameter, ...]


def python_source(nest: Nest) -> KernelSource:
    """The source of a loop nest for the CPU, which is given its piece of the parallel range."""
    return write(nest.body, nest.arguments, ("lo", "hi"))


def write(body: UOp, arguments: Arguments, given: Sequence[str] = ()) -> KernelSource:
    """The source of statements; `given` are what it takes beside its arguments."""
    text, checks = _written(body)
    pointers = [*(pointer for _, pointer in arguments.ordered_pointers()), *arguments.carries.values()]
    parameters = [Parameter(pointer.arg[0], "pointer", pointer.dtype) for pointer in pointers]
    if checks:
        parameters.append(Parameter("status", "pointer", dtypes.int64))
    parameters += [Parameter(name, "integer", dtypes.int64) for name in arguments.integers]
    parameters += [Parameter(_number_name(node), "scalar", node.dtype) for node in arguments.numbers]
    signature = ", ".join([*(p.name for p in parameters), *given])
    types = " ".join(f"{p.name}:{p.dtype}" for p in parameters)
    digest = hashlib.sha256(f"{types}\n{signature}\n{text}".encode()).hexdigest()[:12]
    name = f"kernel_{digest}"
    return KernelSource(name, f"def {name}({signature}):\n{text}\n", tuple(parameters))


# Statements are nodes without numbers of a shape: where only the shape is new, so that nothing will be
# compiled, they are the same ones, and writing them again would be half of what the plan takes.
@functools.lru_cache(maxsize=128)
def _written(body: UOp) -> tuple[str, bool]:
    """The lines of a function, and whether they check indices."""
    writer = _Writer(body)
    writer.kernel(body.src)
    return "\n".join(writer.lines), bool(writer.checks)


def _number_name(node: UOp) -> str:
    position = node.arg[0]
    if isinstance(position, tuple):
        return f"x{position[0]}_{('real', 'imaginary')[position[1]]}"
    return f"x{position}"


class _Writer:
    """Lines of source, and which expressions have names at the line being written."""

    def __init__(self, body: UOp) -> None:
        order = toposort(body)
        self.lines: list[str] = []
        self._resident = body.arg
        self.names: dict[UOp, str] = {}
        self.checks = sorted({node.arg for node in order if node.op is Ops.CHECKED})
        self._has_pieces = any(node.op is Ops.PIECEWISE for node in order)
        self._count = 0
        self._uses = dict.fromkeys(order, 0)
        self._mutable: dict[UOp, frozenset[UOp]] = {}
        self._index: set[UOp] = set()
        self._declared: set[UOp] = set()
        nothing: frozenset[UOp] = frozenset()
        for node in order:
            for source in node.src:
                self._uses[source] += 1
            own = frozenset((node,)) if node.op in _MUTABLE else nothing
            self._mutable[node] = own.union(*(self._mutable[s] for s in node.src))
            leaf = node.op in _INDEX_LEAVES or (node.op is Ops.VARIABLE and node.dtype == dtypes.INDEX)
            # Only of an index's type: int32 of constants or positions wraps, and is written so.
            typed = node.dtype == dtypes.INDEX or node.dtype == dtypes.bool_
            made = bool(node.src) and typed and node.op is not Ops.LOAD
            made = made and all(s in self._index for s in node.src)
            if leaf or made:
                self._index.add(node)

    # -- statements ------------------------------------------------------------------------------------------

    def kernel(self, statements: Sequence[UOp]) -> None:
        """Write the function's statements.

        Whether an index was out of bounds is kept in a local to the end: with a store in the loop a gather of
        5 M float64 took 1.5 times as long.
        """
        for check in self.checks:
            self._line(1, f"outside{check} = False")
        if self._resident is not None:
            self._line(1, f"resident({self._resident})")
        self.block(statements, 1)
        for check in self.checks:
            self._line(1, f"if outside{check}:")
            self._line(2, f"status[{check}] = 1")

    def block(self, statements: Sequence[UOp], depth: int) -> None:
        """Write statements in order, indented `depth` times."""
        for statement in statements:
            if statement.op is Ops.LOOP:
                over, start, stop, *inside = statement.src
                self._hoist(statement, depth)
                bounds = self._text(stop, depth)
                if not (start.op is Ops.CONST and start.arg == 0):
                    bounds = f"{self._text(start, depth)}, {bounds}"
                self._line(depth, f"for {over.arg} in range({bounds}):")
                if statement.arg == "unrolled":
                    self._line(depth + 1, "unrolled()")
                self._inside(inside, depth)
                self._forget(_changed(statement))
            elif statement.op is Ops.IF:
                self._line(depth, f"if {self._text(statement.src[0], depth)}:")
                self._inside(statement.src[1:], depth)
                self._forget(_changed(statement))
            elif statement.op is Ops.ASSIGN:
                target, value = statement.src
                self._line(depth, f"{target.arg[0]} = {self._text(value, depth)}")
                self._forget({target})
            elif statement.op is Ops.TRANSPOSE:
                target, width, source, *sizes = statement.src
                arrays = [self._array(target, depth), self._text(width, depth), self._array(source, depth)]
                places = [self._text(size, depth) for size in sizes]
                self._line(depth, f"transpose({', '.join(arrays + places)})")
                self._forget({target})
            elif statement.op is Ops.SHUFFLE:
                target, value = statement.src
                word, lanes = statement.arg
                self._line(depth, f"{target.arg[0]} = {word}({self._text(value, depth)}, {lanes})")
                self._forget({target})
            elif statement.op is Ops.PUBLISH:
                words, *rest = statement.src
                given = ", ".join([words.arg[0], *(self._text(one, depth) for one in rest)])
                self._line(depth, f"publish({given})")
            elif statement.op is Ops.AWAIT:
                target, words, where = statement.src
                awaited = f"awaited_{target.dtype}({words.arg[0]}, {self._text(where, depth)})"
                self._line(depth, f"{target.arg[0]} = {awaited}")
                self._forget({target})
            elif statement.op is Ops.BARRIER:
                self._line(depth, "barrier()")
                self._forget({node for node in self._mutable if node.op is Ops.SHARED})
            elif statement.op in (Ops.LOAD_VECTOR, Ops.STORE_VECTOR):
                target, first, source, start = statement.src
                into = f"{self._array(target, depth)}, {self._text(first, depth)}"
                of = f"{self._array(source, depth)}, {self._text(start, depth)}"
                if statement.arg is not None:
                    of = f"{of}, {statement.arg}"
                self._line(depth, f"{statement.op.name.lower()}({into}, {of})")
                self._forget({target})
            else:
                target, index, value = statement.src
                text = self._text(value, depth)
                if value.dtype == dtypes.bool_:
                    text = f"uint8({text})"
                place = self._text(index, depth)
                self._line(depth, f"{self._array(target, depth)}[{place}] = {text}")
                self._forget({target})

    def _inside(self, statements: Sequence[UOp], depth: int) -> None:
        before = dict(self.names)
        self.block(statements, depth + 1)
        self.names = before

    def _array(self, node: UOp, depth: int) -> str:
        if node.op in _ARRAYS and node not in self._declared:
            self._declared.add(node)
            element = "uint8" if node.dtype == dtypes.bool_ else node.dtype
            # Once, at the top: memory on the stack lives until the kernel returns.
            self.lines.insert(0, f"    {node.arg[0]} = {element}_{node.op.name.lower()}({node.arg[2]})")
        return node.arg[0]

    def _hoist(self, loop: UOp, depth: int) -> None:
        """Give a name, before `loop`, to what its statements compute from nothing that changes inside."""
        changed = _changed(loop)
        for node in toposort(loop):
            if node.op in _ARRAYS:
                self._array(node, depth)
        wanted: list[UOp] = []
        for node in toposort(*loop.src[3:]):
            for source in node.src:
                outer = not self._mutable[source] & changed
                inner = node.op in STATEMENTS or self._mutable[node] & changed
                if outer and inner and source.op not in _LEAVES and source not in self._index:
                    wanted.append(source)
        # Indices are left to LLVM, but which piece an index is in takes comparisons.
        if self._has_pieces:
            wanted += [
                node
                for node in toposort(*loop.src[3:])
                if node.op is Ops.PIECEWISE and not self._mutable[node] & changed
            ]
        for node in dict.fromkeys(wanted):
            if node.op not in STATEMENTS and node not in self.names:
                text = self._text(node, depth)
                if node not in self.names:  # used several times, it has got one
                    self._name(node, text, depth)

    def _forget(self, changed: Iterable[UOp]) -> None:
        """Drop the names of expressions whose value has just changed."""
        gone = set(changed)
        self.names = {node: name for node, name in self.names.items() if not self._mutable[node] & gone}

    def _line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    # -- expressions -----------------------------------------------------------------------------------------

    def _name(self, node: UOp, text: str, depth: int) -> str:
        name = f"v{self._count}"
        self._count += 1
        self._line(depth, f"{name} = {text}")
        self.names[node] = name
        return name

    def _text(self, root: UOp, depth: int) -> str:
        """`root` as text; writes lines for the parts that get names."""
        texts: dict[UOp, str] = {}
        self._binding: dict[UOp, int] = {}
        for node in toposort(root, until=self.names):
            self._binding[node] = _ATOM
            text = self.names.get(node) or self._expression(node, texts, depth)
            long = len(text) > LONGEST and node is not root
            short = node in self._index and len(text) < 24
            again = self._uses[node] > 1 and not short and node.op not in _LEAVES and not _reads_scratch(node)
            if node not in self.names and (long or again):
                text = self._name(node, text, depth)
                self._binding[node] = _ATOM
            texts[node] = text
        return texts[root]

    def _joined(self, node: UOp, texts: Mapping[UOp, str], sign: str, binding: int) -> str:
        """An infix expression, operands that bind more loosely (the right: as loosely) in parentheses."""
        self._binding[node] = binding
        left, right = node.src
        parts = [
            texts[s] if self._binding[s] >= least else f"({texts[s]})"
            for s, least in ((left, binding + (binding == _PRECEDENCE[Ops.LT])), (right, binding + 1))
        ]
        return f"{parts[0]} {sign} {parts[1]}"

    def _expression(self, node: UOp, texts: dict[UOp, str], depth: int) -> str:
        op, dtype = node.op, node.dtype
        if op is Ops.CONST:
            text = constant(node.arg, dtype)
            if text.startswith("-"):
                self._binding[node] = _PRECEDENCE[Ops.MUL]
            return text
        if op is Ops.NUMBER:
            return _number_name(node)
        if op in (Ops.SIZE, Ops.RANGE):
            return node.arg
        if op is Ops.THREAD:
            return f"{node.arg}()"
        if op in (Ops.VARIABLE, Ops.POINTER) or op in _ARRAYS:
            return node.arg[0]
        given = [texts[s] for s in node.src]
        if op is Ops.LOAD:
            text = f"{self._array(node.src[0], depth)}[{given[1]}]"
            if dtype != dtypes.bool_:
                return text
            self._binding[node] = _PRECEDENCE[Ops.NE]
            return f"{text} != 0"
        if op is Ops.CHECKED:
            noted, condition = f"outside{node.arg}", given[1]
            if self._binding[node.src[1]] < _PRECEDENCE[Ops.OR]:
                condition = f"({condition})"
            self._line(depth, f"{noted} = {noted} | {condition}")
            self._binding[node] = self._binding[node.src[0]]
            return given[0]
        if op is Ops.PIECEWISE:
            index, *sizes = given
            cuts, (*shifts, text) = sizes[: len(sizes) // 2], sizes[len(sizes) // 2 :]
            for cut, shift in reversed(list(zip(cuts, shifts, strict=True))):
                text = f"where({index} < {cut}, {shift}, {text})"
            return text
        if op is Ops.CAST:
            return conversion(given[0], dtype)
        if op is Ops.BITCAST:
            return _reinterpreted(given[0], node.src[0].dtype, dtype)
        if op is Ops.GUARDED:
            return f"where({given[2]}, {given[0]}, {given[1]})"
        if op in _WORDS:
            return f"{_WORDS[op]}({', '.join(given)})"
        return self._arithmetic(node, texts)

    def _arithmetic(self, node: UOp, texts: Mapping[UOp, str]) -> str:
        op, dtype = node.op, node.dtype
        index = node in self._index
        if op in (Ops.NOT, Ops.NEG):
            operand = texts[node.src[0]]
            if op is Ops.NEG and dtype == dtypes.int64 and not index:
                return f"int64(uint64(0) - uint64({operand}))"
            if self._binding[node.src[0]] < _ATOM:
                operand = f"({operand})"
            if op is Ops.NOT:
                return f"(not {operand})" if dtype == dtypes.bool_ else conversion(f"~{operand}", dtype)
            self._binding[node] = _PRECEDENCE[Ops.MUL]
            return f"-{operand}" if dtype.kind == "f" or index else conversion(f"-{operand}", dtype)
        sign, binding = _INFIX[op], _PRECEDENCE[op]
        if op in _WRAPPING and dtype.kind in "iu" and dtype != dtypes.uint64 and not index:
            if dtype != dtypes.int64:
                # Numba computes them in 64 bits.
                text = conversion(self._joined(node, texts, sign, binding), dtype)
                self._binding[node] = _ATOM
                return text
            if op not in (Ops.AND, Ops.OR, Ops.XOR):
                # Overflow of int64 is undefined to LLVM, of uint64 it wraps.
                left, right = (texts[s] for s in node.src)
                return f"int64(uint64({left}) {sign} uint64({right}))"
        return self._joined(node, texts, sign, binding)


def _reads_scratch(node: UOp) -> bool:
    return node.op is Ops.LOAD and node.src[0].op in _ARRAYS


def conversion(text: str, dtype: np.dtype) -> str:
    """`text` converted to `dtype`."""
    return f"{'boolean' if dtype == dtypes.bool_ else dtype}({text})"


def _reinterpreted(text: str, source: np.dtype, target: np.dtype) -> str:
    if source.kind == "f":
        bits = f"bits_of_{source}({text})"
        return bits if target.kind == "i" else conversion(bits, target)
    if target.kind == "f":
        signed = np.dtype(f"int{8 * target.itemsize}")
        return f"{target}_of_bits({text if source == signed else conversion(text, signed)})"
    return conversion(text, target)


def constant(value: bool | int | float, dtype: np.dtype) -> str:
    """A number as a literal of exactly this type."""
    if dtype == dtypes.bool_:
        return str(bool(value))
    if dtype.kind in "iu":
        if dtype != dtypes.int64:
            return f"{dtype}({int(value)})"
        return str(int(value)) if int(value) > -(2**63) else f"int64(uint64({2**63}))"
    value = float(value)
    if not math.isfinite(value):
        form, size = ("<q", "<d") if dtype == dtypes.float64 else ("<i", "<f")
        (bits,) = struct.unpack(form, struct.pack(size, value))
        return f"{dtype}_of_bits({bits})" if dtype == dtypes.float64 else f"float32_of_bits(int32({bits}))"
    text = repr(value)
    if dtype == dtypes.float32:
        return f"float32({text})"
    return text


def _changed(statement: UOp) -> frozenset[UOp]:
    """Loop variables, locals and scratch arrays that a statement gives new values."""
    found: set[UOp] = set()
    stack = [statement]
    while stack:
        node = stack.pop()
        if node.op is Ops.LOOP:
            found.add(node.src[0])
            stack.extend(node.src[3:])
        elif node.op is Ops.IF:
            stack.extend(node.src[1:])
        elif node.src:
            found.add(node.src[0])
    return frozenset(found)
