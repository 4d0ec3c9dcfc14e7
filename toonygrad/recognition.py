"""Structures that come again and again, each told by a function written for it: what tracing compilers call
guards.

realize.py has one written once a plan has been found often enough, and asks it before it makes a key: a key
takes looking up each node, where a function that knows what to expect only compares.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from typing import Any

from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

# Answers what a plan is run with and the nodes stored beside the roots, where the graph under these roots has
# the structure, and counts that as a demand of what is inside; None for any other graph.
Recogniser = Callable[[Sequence[UOp]], tuple[list[UOp], tuple[UOp, ...]] | None]

# Graphs of more nodes aren't worth so long a function.
MOST_NODES = 256


def recogniser(
    roots: Sequence[UOp],
    number: Collection[UOp],
    memory: Mapping[UOp, UOp],
    kept: Sequence[UOp],
    given: Collection[UOp],
    held: Mapping[UOp, bool],
) -> Recogniser:
    """The function for a graph of which no node has been demanded before.

    Parameters
    ----------
    roots, number, memory : as in realize.Structure
    kept : the nodes that are stored beside the roots
    given : nodes that may have been demanded before
    held : for some nodes whether somebody holds them beside the graph
    """
    slots = _slots(number, memory)
    text = _Text()
    text.unpack([text.named(root) for root in roots], "roots")
    leaves = [""] * len(slots)
    demanded = []
    pending = list(roots)
    while pending:
        node = pending.pop()
        name = text.names[node]
        if not node.src:  # CONST and IOTA are their own structure
            text.expect(f"{name} is {text.constant(node)}", f"{name}.realized is None")
            continue
        expected = [f"{name}.op is {text.constant(node.op)}", f"{name}.realized is None"]
        expected.append(f"{name}.arg {'is None' if node.arg is None else '== ' + text.constant(node.arg)}")
        if node not in given:
            expected.append(f"not {name}.demanded")
            demanded.append(f"{name}.demanded")
        if node.op.arity is None:
            expected.append(f"len({name}.src) == {len(node.src)}")
        text.expect(*expected)
        sources = [text.fresh() for _ in node.src]
        text.unpack(sources, f"{name}.src")
        for place, (source, found) in enumerate(zip(node.src, sources, strict=True)):
            if source.op is Ops.SCALAR:
                text.expect(f"{found}.op is SCALAR", f"{found}.dtype is {text.constant(source.dtype)}")
                leaves[slots[node, place]] = found
                continue
            leaf = memory.get(source, source)
            if leaf.op is Ops.BUFFER:
                text.line(f"if {found}.op is not BUFFER: {found} = {found}.realized")
            if text.is_again(leaf, found):
                continue
            if leaf.op is Ops.BUFFER:
                layout = text.constant(leaf.arg.layout)
                text.expect(f"{found} is not None", f"{found}.arg.layout == {layout}")
                leaves[slots[leaf, None]] = found
            else:
                pending.append(leaf)
    uses = Counter(chain.from_iterable([node.src for node in number if node not in memory]))
    for node, is_held in held.items():
        sign = ">" if is_held else "=="
        text.expect(f"references({text.names[node]}) {sign} {_OWN + uses[node] + text.repeated[node]}")
    text.line(" = ".join([*demanded, "1"]))
    stored = "".join(f"{text.names[node]}, " for node in kept)
    text.line(f"return [{', '.join(leaves)}], ({stored})")
    return text.function()


def _slots(number: Collection[UOp], memory: Mapping[UOp, UOp]) -> dict[tuple[UOp, int | None], int]:
    """The slot of each memory and, by its user and where, of each number, as a walk finds them."""
    slots: dict[tuple[UOp, int | None], int] = {}
    for node in number:
        leaf = memory.get(node, node)
        if leaf.op is Ops.BUFFER:
            slots.setdefault((leaf, None), len(slots))
            continue
        for place, source in enumerate(node.src):
            if source.op is Ops.SCALAR:
                slots[node, place] = len(slots)
    return slots


class _Text:
    """A function as it is written.

    Attributes
    ----------
    names : of nodes
    repeated : how many more names a node has
    """

    def __init__(self) -> None:
        self.names: dict[UOp, str] = {}
        self.repeated: Counter[UOp] = Counter()
        self._lines = ["def recognise(roots):"]
        self._used = 0
        self._constants: dict[str, Any] = {
            "BUFFER": Ops.BUFFER,
            "SCALAR": Ops.SCALAR,
            "references": sys.getrefcount,
        }

    def fresh(self) -> str:
        """A name that nothing has."""
        self._used += 1
        return f"n{self._used}"

    def named(self, node: UOp) -> str:
        """A new name, which is the node's."""
        self.names[node] = self.fresh()
        return self.names[node]

    def is_again(self, node: UOp, found: str) -> bool:
        """Whether a node has a name already, which `found` is then expected to be another of."""
        name = self.names.setdefault(node, found)
        if name == found:
            return False
        self.expect(f"{found} is {name}")
        self.repeated[node] += 1
        return True

    def constant(self, value: Any) -> str:
        """A name for an object."""
        name = f"c{len(self._constants)}"
        self._constants[name] = value
        return name

    def line(self, text: str) -> None:
        """A statement."""
        self._lines.append(f"    {text}")

    def unpack(self, names: Sequence[str], values: str) -> None:
        """Names for the elements of a tuple."""
        self.line(f"{', '.join(names)}, = {values}")

    def expect(self, *conditions: str) -> None:
        """Any other graph ends here."""
        self.line(f"if not ({' and '.join(conditions)}): return None")

    def function(self) -> Recogniser:
        """What has been written."""
        exec(compile("\n".join(self._lines), "<recogniser>", "exec"), self._constants)
        function: Recogniser = self._constants["recognise"]
        return function


def _own_references() -> int:
    """References to a source that one node has, where one name stands for it in a function."""
    node = UOp.new(Ops.NEG, (UOp.new(Ops.IOTA, (), ((0,), -1)),))
    (source,) = node.src
    return sys.getrefcount(source) - 1


_OWN = _own_references()
