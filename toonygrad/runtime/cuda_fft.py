"""Fourier transforms on a GPU by cuFFT: what a recorded transform becomes, and how the library is called.

cuda_routines.py comes here. cuFFT takes whole axes, real or complex, and divides by nothing: cutting, padding
and scaling are kernels, which fuse with what stands around. Imports nothing of CUDA at the top.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from toonygrad import dtypes
from toonygrad.runtime.cuda_copies import copy_into
from toonygrad.runtime.cuda_libraries import Library
from toonygrad.runtime.device import Device, DeviceBuffer, Layout
from toonygrad.runtime.driver import DeviceMemoryError
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops

# Of cufftResult and cufftType; directions.
_ALLOC_FAILED = 2
_TYPES = {"R2C": (0x2A, 0x6A), "C2R": (0x2C, 0x6C), "C2C": (0x29, 0x69)}  # of single and of double precision
_SINGLE, _DOUBLE = ("R2C", "C2R", "C2C"), ("D2Z", "Z2D", "Z2Z")
_FORWARD, _INVERSE = -1, 1

# Plans kept by a handle: each has tables, and some memory on the GPU.
_MOST_PLANS = 64
# The most axes of one plan, and the most calls of one: beyond, axes are made the last by a copy.
_MOST_AXES, _MOST_CALLS = 3, 16
# What cuFFT's vectors want of addresses; memory that starts elsewhere is copied.
_ALIGNMENT = 16

_NAMES = {
    1: "CUFFT_INVALID_PLAN",
    3: "CUFFT_INVALID_TYPE",
    4: "CUFFT_INVALID_VALUE",
    5: "CUFFT_INTERNAL_ERROR",
    6: "CUFFT_EXEC_FAILED",
    7: "CUFFT_SETUP_FAILED",
    8: "CUFFT_INVALID_SIZE",
    16: "CUFFT_NOT_SUPPORTED",
}


# -- the library ---------------------------------------------------------------------------------------------


class Lines(NamedTuple):
    """How the transforms of one call lie in memory, in elements: cuFFT's embed, stride and dist."""

    embed: tuple[int, ...]
    stride: int
    distance: int


class Transforms(NamedTuple):
    """What one plan does.

    Attributes
    ----------
    kind : "R2C", "C2R" or "C2C"
    double : whether in double precision
    sizes : of the axes transformed, in their order
    given, made : how the elements lie before and afterwards
    many : how many transforms
    """

    kind: str
    double: bool
    sizes: tuple[int, ...]
    given: Lines
    made: Lines
    many: int


class Cufft(Library):
    """cuFFT's functions bound, and the plans made last."""

    name = "cufft"

    def __init__(self, library: Any, stream: int) -> None:
        address, number, status = ctypes.c_void_p, ctypes.c_longlong, ctypes.c_int
        handle, sizes = ctypes.c_int, ctypes.POINTER(number)
        self._library, self._stream = library, stream
        library.cufftCreate.argtypes = (ctypes.POINTER(handle),)
        library.cufftDestroy.argtypes = (handle,)
        library.cufftSetAutoAllocation.argtypes = (handle, ctypes.c_int)
        library.cufftSetStream.argtypes = (handle, address)
        library.cufftSetWorkArea.argtypes = (handle, address)
        library.cufftMakePlanMany64.argtypes = (
            *(handle, ctypes.c_int, sizes, sizes, number, number, sizes, number, number),
            *(status, number, ctypes.POINTER(ctypes.c_size_t)),
        )
        self._run = {}
        for double, kinds in ((False, _SINGLE), (True, _DOUBLE)):
            for kind, name in zip(_SINGLE, kinds):
                function = getattr(library, f"cufftExec{name}")
                directions = (ctypes.c_int,) if kind == "C2C" else ()
                function.argtypes = (handle, address, address, *directions)
                self._run[kind, double] = function
        self._plans: OrderedDict[Transforms, tuple[int, int]] = OrderedDict()
        # A plan has one work area at a time.
        self._lock = threading.Lock()

    def run(
        self, device: Device, transforms: Transforms, places: Sequence[tuple[int, int]], inverse: bool
    ) -> None:
        """Transform from the first address of each place to the second.

        Raises
        ------
        DeviceMemoryError
            There is no memory left for the plan.
        RuntimeError
            Any other error, by its name.
        """
        with self._lock:
            plan, size = self._plan(transforms)
            work = device.allocate((size,), np.dtype(np.uint8)) if size else None
            if work is not None:
                self._check(self._library.cufftSetWorkArea(plan, work.address))
            function = self._run[transforms.kind, transforms.double]
            direction = () if transforms.kind != "C2C" else (_INVERSE if inverse else _FORWARD,)
            for given, made in places:
                self._check(function(plan, given, made, *direction))

    def _plan(self, transforms: Transforms) -> tuple[int, int]:
        """A plan, and the bytes of its work area."""
        found = self._plans.get(transforms)
        if found is None:
            while len(self._plans) >= _MOST_PLANS:
                self._check(self._library.cufftDestroy(self._plans.popitem(last=False)[1][0]))
            found = self._plans[transforms] = self._made(transforms)
        self._plans.move_to_end(transforms)
        return found

    def _made(self, transforms: Transforms) -> tuple[int, int]:
        library, plan, size = self._library, ctypes.c_int(), ctypes.c_size_t()
        kind, double, sizes, given, made, many = transforms

        def numbers(values: Sequence[int]) -> Any:
            return (ctypes.c_longlong * len(values))(*values)

        self._check(library.cufftCreate(ctypes.byref(plan)))
        try:
            self._check(library.cufftSetAutoAllocation(plan, 0))
            self._check(library.cufftSetStream(plan, self._stream))
            self._check(
                library.cufftMakePlanMany64(
                    plan,
                    len(sizes),
                    numbers(sizes),
                    *(numbers(given.embed), given.stride, given.distance),
                    *(numbers(made.embed), made.stride, made.distance),
                    _TYPES[kind][double],
                    many,
                    ctypes.byref(size),
                )
            )
        except (DeviceMemoryError, RuntimeError):
            library.cufftDestroy(plan)
            raise
        return plan.value, size.value

    def _check(self, status: int) -> None:
        if status == _ALLOC_FAILED:
            raise DeviceMemoryError("cuFFT: out of memory")
        if status:
            raise RuntimeError(f"cuFFT: {_NAMES.get(status, status)}")


# -- what a recorded transform becomes -----------------------------------------------------------------------


class _Scaled(NamedTuple):
    """A transform that cuFFT does, and by what it is still to be divided."""

    node: UOp
    divisor: float


def transformed(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """A recorded transform as cuFFT's on a whole axis, cut or padded before and divided afterwards.

    Parameters
    ----------
    number : makes an argument of the plan of a number
    known : what transforms below became; those of several axes are one call, divided once
    """
    name, (n, axis, norm), dtype, shape = node.arg
    (source,) = node.src
    inverse = name in ("ifft", "irfft")
    divided = {"backward": float(n) if inverse else 1.0, "ortho": math.sqrt(n)}.get(
        norm, 1.0 if inverse else float(n)
    )
    kind = {"rfft": "R2C", "irfft": "C2R"}.get(name, "C2C")
    axes: tuple[int, ...] = (axis,)
    size = n // 2 + 1 if kind == "C2R" else n
    below = known.get(source)
    if below is not None and source.shape[axis] == size:
        # What stands below is linear as well.
        source, divided = below.node, divided * below.divisor
        of_kind, of_axes, of_inverse = source.arg[1]
        together = tuple(sorted((*of_axes, axis)))
        # The axis that has half its elements stays the last of them.
        fits = of_kind == "C2C" or (of_kind == "R2C" and together[-1] in of_axes)
        if (
            fits
            and kind == "C2C"
            and of_inverse == inverse
            and axis not in of_axes
            and len(together) <= _MOST_AXES
        ):
            kind, axes, source = of_kind, together, source.src[0]
    elif source.shape[axis] > size:
        parts = tuple((0, 1, size if k == axis else each) for k, each in enumerate(source.shape))
        source = UOp.new(Ops.SLICE, (source,), parts)
    elif source.shape[axis] < size:
        missing = (*shape[:axis], size - source.shape[axis], *shape[axis + 1 :])
        zeros = UOp.new(Ops.EXPAND, (UOp.const(0, source.dtype),), missing)
        source = UOp.new(Ops.CONCAT, (source, zeros), axis)
    if kind != "R2C":
        source = source.cast(dtypes.COMPLEX_OF.get(source.dtype, source.dtype))
    plain = UOp.new(Ops.EXTERNAL, (source,), ("cufft", (kind, axes, inverse), dtype, shape))
    result = _divided(plain, divided, number)
    known[result] = _Scaled(plain, divided)
    return result


def _divided(node: UOp, divisor: float, number: Any) -> UOp:
    if divisor == 1:
        return node
    real = dtypes.REAL_PART.get(node.dtype, node.dtype)
    factor = number(1 / divisor, real)
    if node.dtype not in dtypes.COMPLEX_FLOATING:
        return UOp.new(Ops.MUL, (node, factor))
    # By parts: the product with a complex number makes NaN of what is infinite.
    parts = [UOp.new(Ops.MUL, (UOp.new(op, (node,)), factor)) for op in (Ops.REAL, Ops.IMAG)]
    return UOp.new(Ops.COMPLEX, tuple(parts))


# -- layouts -------------------------------------------------------------------------------------------------


def run_cufft(
    device: Device, sources: Sequence[DeviceBuffer], parameters: tuple[Any, ...], result: DeviceBuffer
) -> None:
    """cuFFT's transforms along axes, the result row-major.

    Raises
    ------
    DeviceMemoryError
        There is no memory left for it.
    """
    kind, axes, inverse = parameters
    (source,) = sources
    library = device.library(Cufft)
    assert library is not None
    if source.address % _ALIGNMENT or any(stride % source.dtype.itemsize for stride in source.strides):
        source = _copied(source)
    calls = _calls(kind, axes, source.layout, result.layout)
    if calls is None:
        source = _copied(source)
        calls = _calls(kind, axes, source.layout, result.layout)
    if calls is None:
        # The axes become the last ones, before and afterwards.
        source, target = _copied(_last(source, axes)), _last(result, axes)
        made = device.allocate(target.shape, target.dtype)
        last = tuple(range(len(made.shape) - len(axes), len(made.shape)))
        calls = _calls(kind, last, source.layout, made.layout)
        assert calls is not None
        _run(device, library, calls, source, made, inverse)
        copy_into(target, made)
        return
    _run(device, library, calls, source, result, inverse)


class _Calls(NamedTuple):
    """What all calls do, and where each begins: bytes in source and result."""

    transforms: Transforms
    offsets: list[tuple[int, int]]


def _run(
    device: Device, library: Cufft, calls: _Calls, source: DeviceBuffer, result: DeviceBuffer, inverse: bool
) -> None:
    places = [(source.address + given, result.address + made) for given, made in calls.offsets]
    device.asked(library.run, device, calls.transforms, places, inverse)


def _copied(source: DeviceBuffer) -> DeviceBuffer:
    copy = source.place.allocate(source.shape, source.dtype)
    copy_into(copy, source)
    return copy


def _last(buffer: DeviceBuffer, axes: tuple[int, ...]) -> DeviceBuffer:
    order = [k for k in range(len(buffer.shape)) if k not in axes] + list(axes)
    shape, strides = (tuple(each[k] for k in order) for each in (buffer.shape, buffer.strides))
    return buffer.view(0, shape, strides)


def _calls(kind: str, axes: tuple[int, ...], given: Layout, made: Layout) -> _Calls | None:
    """What to ask of the library; None where it has no words for a layout, or it would take many calls."""
    lines = [_lines(axes, layout) for layout in (given, made)]
    if None in lines:
        return None
    stack = [axis for axis in range(len(made.shape)) if axis not in axes]
    merged = list(_merged([(made.shape[axis], given.strides[axis], made.strides[axis]) for axis in stack]))
    count, of_given, of_made = max(merged, default=(1, 0, 0))
    loops = list(merged)
    if merged:
        loops.remove((count, of_given, of_made))
    if math.prod(size for size, _, _ in loops) > _MOST_CALLS:
        return None
    # cuFFT takes no distance that isn't positive.
    if count > 1 and of_given <= 0:
        return None
    whole = given if kind == "C2R" else made
    sizes = tuple((made if kind == "C2R" else given).shape[axis] for axis in axes)
    double = whole.dtype == dtypes.complex128
    before, after = (
        Lines(*line, max(distance // layout.dtype.itemsize, 1))
        for line, distance, layout in zip(lines, (of_given, of_made), (given, made))
        if line is not None
    )
    offsets = [
        (
            sum(at * loop[1] for at, loop in zip(place, loops)),
            sum(at * loop[2] for at, loop in zip(place, loops)),
        )
        for place in product(*(range(size) for size, _, _ in loops))
    ]
    return _Calls(Transforms(kind, double, sizes, before, after, count), offsets)


def _lines(axes: tuple[int, ...], layout: Layout) -> tuple[tuple[int, ...], int] | None:
    """cuFFT's embed and stride of the axes to transform; None where it has none for them."""
    itemsize = layout.dtype.itemsize
    steps = [layout.strides[axis] // itemsize for axis in axes]
    sizes = [layout.shape[axis] for axis in axes]
    stride = steps[-1] if sizes[-1] > 1 else 1
    if stride <= 0:
        return None
    embed, length = [sizes[0]], stride
    for k in range(len(axes) - 1, 0, -1):
        # How many lines of the axis further in stand in one step of this one.
        rows, rest = divmod(steps[k - 1] if sizes[k - 1] > 1 else length * sizes[k], length)
        if rest or rows < sizes[k]:
            return None
        embed.insert(1, rows)
        length *= rows
    return tuple(embed), stride


def _merged(axes: Sequence[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """As few axes of a stack as show the same: size, and strides before and afterwards."""
    kept: tuple[int, int, int] | None = None
    for size, given, made in axes:
        if size == 1:
            continue
        if kept is not None and kept[1] == given * size and kept[2] == made * size:
            kept = (kept[0] * size, given, made)
            continue
        if kept is not None:
            yield kept
        kept = (size, given, made)
    if kept is not None:
        yield kept
