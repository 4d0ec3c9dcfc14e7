"""From a scheduled kernel to its CUDA source and the grid it is launched on, in one call, for plans."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toonygrad.codegen.columns import runs_along_columns
from toonygrad.codegen.cpu import Parameter
from toonygrad.codegen.cuda_columns import ThreadColumns, fits
from toonygrad.codegen.cuda_few import ThreadFew, side_by_side
from toonygrad.codegen.cuda_lookback import ThreadLookback
from toonygrad.codegen.cuda_loops import Elementwise, Sides, Temporary, ThreadCarry, ThreadNest
from toonygrad.codegen.cuda_one_pass import in_one_pass
from toonygrad.codegen.cuda_patches import Patches, patch
from toonygrad.codegen.cuda_rows import ThreadRows
from toonygrad.codegen.cuda_scans import ThreadScan, across
from toonygrad.codegen.cuda_tiles import ThreadTiles, transposed
from toonygrad.codegen.lower import Arguments, Body, lower
from toonygrad.codegen.python_source import write
from toonygrad.config import settings
from toonygrad.schedule.fusion import Kernel
from toonygrad.uop.node import toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.spec import KERNEL, LOWERED, verify
from toonygrad.uop.thread_spec import THREAD_NEST


@dataclass(frozen=True)
class CudaSource:
    """A kernel as text, and how it is launched for one shape.

    Attributes
    ----------
    text, name, parameters : one function in words of the CUDA dialect (codegen/cuda.py)
    arguments : what it takes, as for the CPU
    grid, block : blocks along each side of the grid, threads along each side of a block
    aligned : names of the pointers whose address must be a multiple of VECTOR_BYTES
    carries : for each scan what stands before its chunks, where rows run in chunks
    totals : then, the kernel that leaves each chunk's own totals in the carries' memory, before those are
        scanned and this one runs
    words : for each scan how many words of uint64 blocks publish what they have in, zero before a launch
    temporaries : type and size of memory that `before` writes and this reads
    before : the kernel that runs first, on chunks of a reduction that this one combines
    """

    text: str
    name: str
    parameters: tuple[Parameter, ...]
    arguments: Arguments
    grid: Sides
    block: Sides
    aligned: tuple[str, ...]
    carries: tuple[ThreadCarry, ...]
    totals: CudaSource | None
    words: tuple[int, ...]
    temporaries: tuple[Temporary, ...]
    before: CudaSource | None

    @property
    def launch(self) -> tuple[Sides, Sides]:
        """The grid and the block."""
        return self.grid, self.block


def generate_cuda(kernel: Kernel, vectors: bool = True) -> CudaSource | None:
    """The source of `kernel`; None where no CUDA kernel is generated for its shape.

    With `vectors`, memory may be read and written sixteen bytes at a time, for which some pointers must be
    `aligned`.
    """
    if settings.debug:
        verify(KERNEL, [output.value for output in kernel.outputs])
    lowered = lower(kernel)
    body = in_one_pass(lowered)
    if settings.debug:
        verify(LOWERED, [part for store in body.stores for part in (store.index, store.value)])
    nest = _searching(lowered, vectors) or thread_nest(body, vectors)
    return None if nest is None else _source(nest)


def _searching(body: Body, vectors: bool) -> ThreadNest | None:
    """What threads do that hold a row and look through it for the place of an extreme, which takes less than
    a key for each element; None for other kernels.
    """
    if 0 in body.extents.values() or not body.reduces:
        return None
    rows = ThreadRows(in_one_pass(body, places=False), vectors=vectors)
    if not rows.seeks or runs_along_columns(rows.body):
        return None
    nest = rows.nest()
    return nest if rows.holds else None


def _source(nest: ThreadNest) -> CudaSource:
    if settings.debug:
        verify(THREAD_NEST, [nest.body])
    source = write(nest.body, nest.arguments)
    return CudaSource(
        source.text,
        source.name,
        source.parameters,
        nest.arguments,
        nest.grid,
        nest.block,
        nest.aligned,
        nest.carries,
        None if nest.totals is None else _source(nest.totals),
        nest.words,
        nest.temporaries,
        None if nest.before is None else _source(nest.before),
    )


def thread_nest(body: Body, vectors: bool, splits: bool = True) -> ThreadNest | None:
    """What the threads do for a lowered kernel; None where there is no form for it.

    With `splits`, reductions may come in chunks.
    """
    values = [store.value for store in body.stores]
    if 0 in body.extents.values():
        return None
    scans = [node for node in toposort(*values) if node.op is Ops.SCAN]
    if any(node.op is Ops.SCAN for scan in scans for node in toposort(*scan.src)):
        return None
    if scans:
        return ThreadScan(body).nest() if across(body) else ThreadLookback(body, vectors=vectors).nest()
    if body.reduces:
        few = side_by_side(body)
        if few is not None:
            nest = ThreadFew(body, splits=splits, few=few).nest()
        elif runs_along_columns(body) and fits(body):
            nest = ThreadColumns(body, vectors=vectors, splits=splits).nest()
        else:
            nest = ThreadRows(body, vectors=vectors, splits=splits).nest()
        if nest.combining is None:
            return nest
        rest = nest.combining
        # A single result of a few values isn't worth a form for even numbers of them.
        several = any(rest.extents[each] > 1 for each in (*rest.outer, *rest.inner))
        combining = thread_nest(rest, vectors and several, splits=False)
        return combining and replace(combining, temporaries=nest.temporaries, before=nest)
    turned = transposed(body)
    if turned is not None:
        return ThreadTiles(body).nest(*turned)
    chosen = patch(body, vectors)
    return Elementwise(body).build() if chosen is None else Patches(body).nest(chosen)
