"""The one rewriting engine: a table of rules applied to a graph until nothing changes, without recursion.

simplify and the decompositions of codegen are tables; this file runs them. A recorder can be switched on to
see every step. Imports nodes and patterns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from toonygrad.uop.node import UOp
from toonygrad.uop.pattern import PatternMatcher

# A table that rewrites one graph this often doesn't terminate: the largest kernels need some thousand steps.
MOST_STEPS = 1_000_000


@dataclass(frozen=True)
class Step:
    """One rewrite: in which pass, from which node, to which."""

    stage: str
    before: UOp
    after: UOp


_recorders: list[list[Step]] = []


@contextmanager
def record_rewrites() -> Iterator[list[Step]]:
    """Every rewrite made inside the with block, in order."""
    steps: list[Step] = []
    _recorders.append(steps)
    try:
        yield steps
    finally:
        _recorders.remove(steps)


def graph_rewrite(root: UOp, rules: PatternMatcher, stage: str) -> UOp:
    """`root` with `rules` applied to every node, sources first, until none fits.

    Raises
    ------
    RuntimeError
        The rules do not come to an end; the message names the pass.
    """
    done: dict[UOp, UOp] = {}
    answers: dict[UOp, UOp] = {}
    stack, steps = [root], 0
    while stack:
        node = stack[-1]
        if node in done:
            stack.pop()
            continue
        waiting = [source for source in node.src if source not in done]
        if waiting:
            stack.extend(waiting)
            continue
        rebuilt = node.replace(tuple(done[source] for source in node.src))
        if rebuilt in done:
            done[node] = done[rebuilt]
            continue
        result = answers.get(rebuilt)
        if result is None:
            result = rules.apply(rebuilt)
            if result is None or result is rebuilt:
                done[node] = done[rebuilt] = rebuilt
                continue
            answers[rebuilt] = result
            for recorder in _recorders:
                recorder.append(Step(stage, rebuilt, result))
        if result in done:
            done[node] = done[rebuilt] = done[result]
            continue
        steps += 1
        if steps > MOST_STEPS:
            raise RuntimeError(f"the pass {stage!r} does not come to an end, last at {rebuilt}")
        stack.append(result)  # its own sources may be new; this node is looked at again when it is done
    return done[root]
