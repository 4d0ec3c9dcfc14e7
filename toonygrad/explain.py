"""What would be done for some arrays, for people: which kernels, why each ends where it does, what they move.

`explain` schedules and writes sources exactly as computing would, and computes nothing. Every kernel's source
is a file that runs alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toonygrad.array import Array, node_of
from toonygrad.codegen.generate import Generated, generate
from toonygrad.codegen.standalone import standalone_source
from toonygrad.config import CompileMode, settings
from toonygrad.devices import DEVICE
from toonygrad.placement import place_of
from toonygrad.realize import canonical, on_each_device, pending_nodes, structure_of
from toonygrad.runtime.device import open_device
from toonygrad.runtime.plan import interprets_all, is_interpreted
from toonygrad.schedule.fusion import Alias, Copy, Kernel, Routine, schedule
from toonygrad.schedule.memory import bytes_moved, bytes_read, bytes_written, peak_bytes
from toonygrad.uop.node import UOp, toposort
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import Shape

# In a kernel's example run: elements along an axis, and the length of arrays that hold three such axes with
# gaps.
EXAMPLE_SIZE, EXAMPLE_LENGTH = 5, 4096


@dataclass(frozen=True)
class ExplainedKernel:
    """One kernel, or one call of a library.

    Attributes
    ----------
    name : of the kernel's function, or of the library's routine
    source : a Python file that holds the kernel and runs it on a small example, alone; "" for a routine, and
        for a GPU
    function : the kernel's function alone, in the words that codegen/cpu.py or cuda.py defines; "" for a
        routine
    reason : why its results are stored instead of being used in another kernel
    operations : the recorded operations it computes
    outputs : shape and data type of each result
    bytes_moved : bytes it reads and writes, each element once
    bytes_least : how many of them no schedule could spare: inputs read for the first time, results asked for
    how : "compiled", "interpreted" (an expression this small runs through NumPy) or "library"; for arrays on
        a GPU "compiled for cuda:0", "copied on cuda:0" and so on, "library" (NVIDIA's), or "on the host",
        where there is neither
    """

    name: str
    source: str
    function: str
    reason: str
    operations: tuple[str, ...]
    outputs: tuple[tuple[Shape, np.dtype], ...]
    bytes_moved: int
    bytes_least: int
    how: str


def _bytes(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.4g} {unit}"


@dataclass(frozen=True)
class Explanation:
    """What computing some arrays takes. Printing it shows a table.

    Attributes
    ----------
    kernels : in the order in which they run
    bytes_moved, bytes_least : summed over the kernels
    bytes_peak : the most memory that results and temporaries hold at once
    """

    kernels: tuple[ExplainedKernel, ...]
    bytes_peak: int

    @property
    def bytes_moved(self) -> int:
        """Bytes that all kernels move."""
        return sum(kernel.bytes_moved for kernel in self.kernels)

    @property
    def bytes_least(self) -> int:
        """Bytes that any schedule has to move."""
        return sum(kernel.bytes_least for kernel in self.kernels)

    def __str__(self) -> str:
        if not self.kernels:
            return "nothing to compute"
        rows = [("kernel", "runs", "UOps", "outputs", "moved", "least", "stored because")]
        for kernel in self.kernels:
            outputs = ", ".join(f"{dtype}{list(shape)}" for shape, dtype in kernel.outputs)
            rows.append(
                (
                    kernel.name,
                    kernel.how,
                    str(len(kernel.operations)),
                    outputs,
                    _bytes(kernel.bytes_moved),
                    _bytes(kernel.bytes_least),
                    kernel.reason,
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines.insert(1, "-" * max(map(len, lines)))
        count = f"{len(self.kernels)} kernel{'s' * (len(self.kernels) != 1)}"
        ratio = self.bytes_moved / self.bytes_least if self.bytes_least else 1.0
        lines.append(
            f"{count}, {_bytes(self.bytes_moved)} moved, {ratio:.2f} of the least possible, "
            f"{_bytes(self.bytes_peak)} of results and temporaries at once"
        )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def explain(*arrays: Array) -> Explanation:
    """The kernels that computing `arrays` would run, in order. Computes nothing.

    Parameters
    ----------
    *arrays : Array
        Arrays to be computed together; what has been computed already needs no kernel.

    Returns
    -------
    Explanation

    Raises
    ------
    TypeError
        An argument isn't an Array.
    """
    for array in arrays:
        if not isinstance(array, Array):
            raise TypeError(f"explain: takes Arrays, not {type(array).__name__}")
    kernels: list[ExplainedKernel] = []
    peak = 0
    for pending in on_each_device(pending_nodes(map(node_of, arrays))):
        device = place_of(pending[0])
        roots = canonical(structure_of(pending, looking=True))
        if device != DEVICE and settings.compile != "never":
            from toonygrad.runtime.cuda_routines import in_words_of_libraries

            slots = sum(node.op is Ops.ARGUMENT for node in toposort(*roots))
            nodes, _ = in_words_of_libraries(roots, open_device(device), slots)
            roots = dict(zip(nodes, roots.values()))
        steps = schedule(roots, for_threads=device != DEVICE)
        seen: set[UOp] = set()
        mode = settings.compile
        if device == DEVICE and interprets_all(toposort(*roots), mode):
            mode = "never"
        kernels += [
            _explained(step, roots, seen, mode, device) for step in steps if not isinstance(step, Alias)
        ]
        peak += peak_bytes(steps, frozenset(roots))
    return Explanation(tuple(kernels), peak)


def _explained(
    step: Kernel | Routine | Copy, roots: Mapping[UOp, str], seen: set[UOp], mode: CompileMode, device: str
) -> ExplainedKernel:
    read, written = bytes_read(step), bytes_written(step)
    least = sum(count for node, count in read.items() if node.op is Ops.ARGUMENT and node not in seen)
    seen.update(read)
    least += sum(count for node, count in written.items() if node in roots)
    outputs = tuple((node.shape, node.dtype) for node in step.writes)
    moved = bytes_moved(step)
    if not isinstance(step, Kernel):
        in_library = device == DEVICE
        if isinstance(step, Routine) and device != DEVICE and mode != "never":
            from toonygrad.runtime.cuda_products import is_product
            from toonygrad.runtime.cuda_routines import is_library_call

            in_library = is_library_call(step) or is_product(step, open_device(device))
        name = step.node.arg[0] if step.node.op is Ops.EXTERNAL else step.node.op.name.lower()
        operations: tuple[str, ...] = (step.node.op.name,)
        how = "library" if in_library else "on the host"
        if isinstance(step, Copy) and device != DEVICE and mode != "never":
            how = f"copied on {device}"
        return ExplainedKernel(name, "", "", step.reason, operations, outputs, moved, least, how)
    operations = tuple(node.op.name for node in step.nodes)
    how = "interpreted" if mode == "never" or is_interpreted(step, mode) else "compiled"
    if device != DEVICE:
        from toonygrad.runtime.cuda_plan import cuda_source

        found = None if mode == "never" else cuda_source(step)
        if found is not None:
            how = f"compiled for {device}"
            return ExplainedKernel(
                found.name, "", found.text, step.reason, operations, outputs, moved, least, how
            )
        how = "on the host"
    generated = generate(step)
    source = generated.source
    text = standalone_source(source.text, source.name, source.parameters, _example(generated))
    return ExplainedKernel(
        source.name, text, source.text, step.reason, operations, outputs, moved, least, how
    )


def _example(generated: Generated) -> dict[str, int | float]:
    """Small arguments for a kernel: few elements an axis, strides that keep rows apart, arrays for them."""
    integers = generated.nest.arguments.integers
    strides = sorted({abs(value) for name, value in integers.items() if name.startswith("s")})
    known = {"pieces": 1, "blocks": 1, "chunks": 2, "chunk": 3, "results": EXAMPLE_SIZE}
    known |= {"first_chunk": 0, "storing": 1}
    example: dict[str, int | float] = {"hi": EXAMPLE_SIZE}
    for parameter in generated.source.parameters:
        name = parameter.name
        if parameter.kind == "pointer":
            example[name] = EXAMPLE_LENGTH
        elif parameter.kind == "scalar":
            example[name] = 2
        elif name.startswith("s"):
            example[name] = (EXAMPLE_SIZE + 2) ** (min(strides.index(abs(integers[name])), 2) + 1)
        else:
            example[name] = known.get(name, EXAMPLE_SIZE)
    return example
