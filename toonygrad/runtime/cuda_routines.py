"""Routines on a GPU: which of the recorded ones its libraries do, in their words, and the plan's step.

cuda_plan.py and explain.py come here. A recorded routine becomes calls of a library among ordinary
operations, before anything is scheduled, so that these fuse with what stands around. Without the library it
stays as it is, and the host computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toonygrad.runtime import cuda_factorizations, cuda_stacks
from toonygrad.runtime.cuda_fft import Cufft, run_cufft, transformed
from toonygrad.runtime.cuda_libraries import Library
from toonygrad.runtime.cuda_sorting import (
    Cub,
    run_cub,
    run_lanes,
    run_search,
    searched,
    sorted_by_blocks,
    sorted_by_keys,
)
from toonygrad.runtime.device import Checks, Device, DeviceBuffer, layout_of
from toonygrad.runtime.plan import RunStep, Slots
from toonygrad.schedule.fusion import Routine
from toonygrad.uop.node import Number, UOp, toposort
from toonygrad.uop.ops import Ops

# What does a call: on these sources, with these parameters, into this row-major memory; the answer is what is
# to be looked at when the result is read.
Call = Callable[[Device, Sequence[DeviceBuffer], tuple[Any, ...], DeviceBuffer], Checks | None]
# What a recorded routine becomes; numbers become arguments of the plan, and a table is kept for the graph.
Rule = Callable[[UOp, Callable[[Number, Any], UOp], dict[UOp, Any]], UOp | None]

# For each routine the libraries that a rule takes, and the rule; the first that fits is taken.
_RULES: dict[str, tuple[tuple[tuple[type[Library], ...], Rule], ...]] = {
    **{name: (((Cufft,), transformed),) for name in ("fft", "ifft", "rfft", "irfft")},
    **{name: (((), sorted_by_blocks), ((Cub,), sorted_by_keys)) for name in ("sort", "argsort")},
    "searchsorted": (((), searched),),
    **{name: (rule,) for name, rule in cuda_factorizations.RULES.items()},
}

_CALLS: dict[str, Call] = {
    "cufft": run_cufft,
    "cub_sort": run_cub,
    "cub_order": run_cub,
    "bisection": run_search,
    "sort_lanes": run_lanes,
    **cuda_stacks.CALLS,
}
# What makes several arrays; each is taken out by a node of its own, "output".
_SEVERAL = cuda_stacks.SEVERAL


def in_words_of_libraries(
    roots: Mapping[UOp, str], device: Device, slots: int
) -> tuple[list[UOp], list[UOp]]:
    """The roots with routines replaced where the device has the library, and numbers that they take.

    Parameters
    ----------
    slots : arguments of the graph; the numbers become those that follow
    """
    order = toposort(*roots)
    numbers: list[UOp] = []
    if not any(node.op is Ops.EXTERNAL and node.arg[0] in _RULES for node in order):
        return list(roots), numbers

    def number(value: Number, dtype: Any) -> UOp:
        numbers.append(UOp.scalar(value, dtype))
        return UOp.new(Ops.ARGUMENT, (), (slots + len(numbers) - 1, dtype, (), None))

    made: dict[UOp, UOp] = {}
    known: dict[UOp, Any] = {}
    for node in order:
        again = node.replace(tuple(made[source] for source in node.src))
        if node.op is Ops.EXTERNAL and all(again.shape) and all(all(s.shape) for s in again.src):
            for libraries, rule in _RULES.get(node.arg[0], ()):
                if all(device.library(kind) is not None for kind in libraries):
                    found = rule(again, number, known)
                    if found is not None:
                        again = found
                        break
        made[node] = again
    return [made[root] for root in roots], numbers


def is_library_call(step: Routine) -> bool:
    """Whether a routine is a call of one of the device's libraries."""
    name = step.node.arg[0] if step.node.op is Ops.EXTERNAL else None
    return name in _CALLS or name in _SEVERAL or name == "output"


class LibraryStep(RunStep):
    """A call of a library."""

    def __init__(self, device: Device, routine: Routine, slot: dict[UOp, int]) -> None:
        self._device, node = device, routine.node
        name, self._parameters, dtype, shape = node.arg
        self._name, self._call, self._several = name, _CALLS.get(name), _SEVERAL.get(name)
        self._slot, self._layout = slot[node], layout_of(device, dtype, shape)
        self._sources = [(slot[view.node], view.path) for view in routine.sources]
        self._checks: int | None = None

    @property
    def checking(self) -> bool:
        """Whether its result may prove not to be there."""
        return self._name in cuda_stacks.CHECKED and self._parameters[0] is not None

    def leave_checks(self, slot: int) -> None:
        """Fill this slot with what is to be looked at."""
        self._checks = slot

    def run(self, values: Slots) -> None:
        """Call the library."""
        device, parameters = self._device, self._parameters
        if self._name == "output":
            values[self._slot] = values[self._sources[0][0]][parameters[0]]
        else:
            sources = [values[slot].moved(path) if path else values[slot] for slot, path in self._sources]
            if self._several is not None:
                values[self._slot] = self._several(device, sources, parameters)
            else:
                assert self._call is not None
                result = values[self._slot] = device.take(self._layout)
                checks = self._call(device, sources, parameters, result)
                if self._checks is not None:
                    values[self._checks] = checks
        for slot in self.dead:
            values[slot] = None
