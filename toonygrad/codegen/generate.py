"""From a scheduled kernel to its source: lower, loops, python_source in one call, for plans and for explain."""

from __future__ import annotations

from typing import NamedTuple

from toonygrad.codegen.loops import Nest, nest
from toonygrad.codegen.lower import lower
from toonygrad.codegen.python_source import KernelSource, python_source
from toonygrad.schedule.fusion import Kernel


class Generated(NamedTuple):
    """A kernel's loop nest and the source written from it."""

    nest: Nest
    source: KernelSource


def generate(kernel: Kernel) -> Generated:
    """The loop nest and source of `kernel`."""
    loops = nest(lower(kernel))
    return Generated(loops, python_source(loops))
