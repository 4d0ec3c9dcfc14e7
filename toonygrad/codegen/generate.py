"""From a scheduled kernel to its source: lower, loops, python_source in one call, for plans and explain."""

from __future__ import annotations

from typing import NamedTuple

from toonygrad.codegen.columns import Columns, runs_along_columns
from toonygrad.codegen.contractions import Contraction, shared_values
from toonygrad.codegen.loops import Elementwise, Nest
from toonygrad.codegen.lower import Body, lower
from toonygrad.codegen.python_source import KernelSource, python_source
from toonygrad.codegen.rows import Rows
from toonygrad.codegen.scans import Scan
from toonygrad.codegen.tiles import Tiles, tiled_range
from toonygrad.config import settings
from toonygrad.schedule.fusion import Kernel
from toonygrad.uop.node import toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.spec import KERNEL, LOWERED, NEST, verify


class Generated(NamedTuple):
    """A kernel's loop nest and the source written from it."""

    nest: Nest
    source: KernelSource


def generate(kernel: Kernel) -> Generated:
    """The loop nest and source of `kernel`."""
    if settings.debug:
        verify(KERNEL, [output.value for output in kernel.outputs])
    body = lower(kernel)
    if settings.debug:
        verify(LOWERED, [part for store in body.stores for part in (store.index, store.value)])
    loops = nest(body)
    if settings.debug:
        verify(NEST, [loops.body])
    return Generated(loops, python_source(loops))


def nest(body: Body) -> Nest:
    """The loop nest for a lowered kernel."""
    values = [store.value for store in body.stores]
    if any(node.op is Ops.SCAN for node in toposort(*values)):
        return Scan(body).build()
    if not body.reduces:
        row = tiled_range(body)
        return Elementwise(body).build() if row is None else Tiles(body).build(row)
    shared = shared_values(body)
    if shared is not None:
        return Contraction(body).build(shared)
    return (Columns if runs_along_columns(body) else Rows)(body).build()
