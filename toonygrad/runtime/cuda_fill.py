"""One number written to part of an array on a GPU, whatever its strides: `x[1:-1] = 2.0`.

writing.py comes here. The number is an argument of a generated kernel, so nothing is copied to the GPU first;
what was found out for a layout is kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toonygrad.codegen.cuda_generate import generate_cuda
from toonygrad.config import counters
from toonygrad.runtime.device import Device, Layout
from toonygrad.runtime.driver import Call, Runnable
from toonygrad.schedule.fusion import Kernel
from toonygrad.schedule.ranges import Index
from toonygrad.schedule.trace import Output, range_named
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

# Layouts kept; more are looked at anew.
_MOST_KEPT = 1024

_AS_INTEGERS = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


class Fill(NamedTuple):
    """What writes a number to one layout, given the address of its first element and the number's bits."""

    device: Device
    program: Runnable

    def run(self, address: int, bits: int) -> None:
        """Hand it over."""
        self.device.run(self.program, address, bits)
        counters.kernels_launched += 1


def fill_of(layout: Layout) -> Fill | None:
    """What fills such a layout; None where there is no kernel for it."""
    if layout not in _kept:
        if len(_kept) >= _MOST_KEPT:
            _kept.pop(next(iter(list(_kept))), None)
        _kept[layout] = _made(layout)
    return _kept[layout]


_kept: dict[Layout, Fill | None] = {}


def _made(layout: Layout) -> Fill | None:
    # As integers of the same size, which numbers of all kinds are as bits.
    dtype = _AS_INTEGERS.get(layout.dtype.itemsize)
    if dtype is None or any(stride % dtype.itemsize for stride in layout.strides):
        return None
    sides = [(size, stride) for size, stride in zip(layout.shape, layout.strides) if size > 1]
    ranges = {range_named("fill", axis): side for axis, side in enumerate(sides)}
    index = Index(tuple((node, stride // dtype.itemsize) for node, (_, stride) in ranges.items()))
    memory = UOp.new(Ops.ARGUMENT, (), (0, dtype, (1,), (1,)))
    kernel = Kernel(
        outputs=(Output(memory, UOp.new(Ops.NUMBER, (), (0, dtype)), index),),
        arrays=(),
        numbers=(UOp.new(Ops.ARGUMENT, (), (1, dtype, (), None)),),
        sizes=(),
        outer=None,
        domain=tuple(ranges),
        extents={node: size for node, (size, _) in ranges.items()},
        checks=(),
        nodes=(),
        reason="filled",
    )
    source = generate_cuda(kernel, vectors=False)
    if source is None:
        return None
    device = layout.place
    arguments: list[tuple[int, int]] = [
        (1, offset * dtype.itemsize) for (_, _, offset), _ in source.arguments.ordered_pointers()
    ]
    arguments += [(0, value) for value in source.arguments.integers.values()]
    arguments.append((2, 0))
    code = device.kernel(source.text, source.name, source.parameters)
    call = Call(code, *source.launch, tuple(arguments))
    return Fill(device, device.driver.program(device.number, 2, [call], {}))
