"""Patterns over UOps and tables of rules made of them: rules are data.

A PatternMatcher is a list of (UPat, function) pairs; rewriting, decomposition and each stage's spec are such
tables. A pattern's own depth is a few levels, so matching may recurse over the pattern, never over the graph.
Imports nodes and the page of ops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Op


class UPat:
    """What a node must look like.

    Parameters
    ----------
    op : the op, several of them, or None for any
    src : a pattern for each source; None for any sources
    name : under which name the rule gets the matched node; used twice, it must match the same node twice
    dtype : the type, several of them, or None for any
    arg : the exact arg, or None for any
    """

    __slots__ = ("arg", "dtypes", "name", "ops", "src")

    def __init__(
        self,
        op: Op | Iterable[Op] | None = None,
        src: Sequence[UPat] | None = None,
        *,
        name: str | None = None,
        dtype: np.dtype | Iterable[np.dtype] | None = None,
        arg: Any = None,
    ) -> None:
        self.ops = None if op is None else frozenset({op} if isinstance(op, Op) else op)
        self.src = None if src is None else tuple(src)
        self.name = name
        self.dtypes = None if dtype is None else frozenset({dtype} if isinstance(dtype, np.dtype) else dtype)
        self.arg = arg

    def match(self, node: UOp, found: dict[str, UOp]) -> bool:
        """Whether `node` fits; named nodes are added to `found`."""
        if self.ops is not None and node.op not in self.ops:
            return False
        if self.dtypes is not None and node.dtype not in self.dtypes:
            return False
        if self.arg is not None and node.arg != self.arg:
            return False
        if self.name is not None and found.setdefault(self.name, node) is not node:
            return False
        if self.src is None:
            return True
        return len(self.src) == len(node.src) and all(
            pattern.match(source, found) for pattern, source in zip(self.src, node.src, strict=True)
        )


Rule = tuple[UPat, Callable[..., Any]]


class PatternMatcher:
    """Rules in order; the first whose pattern fits and whose function gives something decides.

    A function takes the pattern's named nodes by keyword. It answers None for "not here after all".
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._cache: dict[Op, tuple[Rule, ...]] = {}

    def __add__(self, other: PatternMatcher) -> PatternMatcher:
        return PatternMatcher(self.rules + other.rules)

    def candidates(self, op: Op) -> tuple[Rule, ...]:
        """The rules whose pattern may fit a node of `op`, in order."""
        found = self._cache.get(op)
        if found is None:
            found = tuple(rule for rule in self.rules if rule[0].ops is None or op in rule[0].ops)
            self._cache[op] = found
        return found

    def apply(self, node: UOp) -> Any:
        """What the first fitting rule makes of `node`; None where none fits."""
        for pattern, function in self.candidates(node.op):
            names: dict[str, UOp] = {}
            if pattern.match(node, names):
                result = function(**names)
                if result is not None:
                    return result
        return None
