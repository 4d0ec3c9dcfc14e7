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
from functools import lru_cache
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
# The most axes of one plan, and the most calls of one: beyond, the source is copied.
_MOST_AXES, _MOST_CALLS = 3, 16
# What cuFFT wants of addresses, of real numbers too: those of a complex one. Other memory is copied.
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


class _Made(NamedTuple):
    """What a recorded transform became.

    Attributes
    ----------
    kind, axes, inverse : the transform that cuFFT does, along which axes of `source`
    source : what it is done on
    plain : its result, nothing divided
    divisor : by what that is still to be divided
    """

    kind: str
    axes: tuple[int, ...]
    inverse: bool
    source: UOp
    plain: UOp
    divisor: float


def transformed(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """A recorded transform as cuFFT's on a whole axis, cut or padded before and divided afterwards.

    Parameters
    ----------
    number : makes an argument of the plan of a number
    known : what transforms below became; those of several axes are one call, divided once
    """
    name, (n, axis, norm), _, shape = node.arg
    (source,) = node.src
    inverse = name in ("ifft", "irfft")
    divisor = {"backward": float(n) if inverse else 1.0, "ortho": math.sqrt(n)}.get(
        norm, 1.0 if inverse else float(n)
    )
    kind = {"rfft": "R2C", "irfft": "C2R"}.get(name, "C2C")
    axes: tuple[int, ...] = (axis,)
    size = n // 2 + 1 if kind == "C2R" else n
    below = known.get(source)
    if isinstance(below, _Made) and source.shape[axis] == size:
        # What stands below is linear as well.
        source, divisor = below.plain, divisor * below.divisor
        if _are_one(kind, axis, inverse, below):
            kind, axes, source = below.kind, (axis, *below.axes), below.source
    elif source.shape[axis] > size:
        parts = tuple((0, 1, size if k == axis else each) for k, each in enumerate(source.shape))
        source = UOp.new(Ops.SLICE, (source,), parts)
    elif source.shape[axis] < size:
        missing = (*shape[:axis], size - source.shape[axis], *shape[axis + 1 :])
        zeros = UOp.new(Ops.EXPAND, (UOp.const(0, source.dtype),), missing)
        source = UOp.new(Ops.CONCAT, (source, zeros), axis)
    if kind != "R2C":
        source = source.cast(dtypes.COMPLEX_OF.get(source.dtype, source.dtype))
    # The axis with half the elements is the last one of a transform; of others the order is free.
    axes = (*sorted(axes[:-1]), axes[-1]) if kind == "R2C" else tuple(sorted(axes))
    order = (*(k for k in range(len(shape)) if k not in axes), *axes)
    plain = UOp.new(
        Ops.EXTERNAL,
        (_permuted(source, order),),
        ("cufft", (kind, len(axes), inverse), node.dtype, tuple(shape[k] for k in order)),
    )
    back = tuple(order.index(k) for k in range(len(shape)))
    result = _permuted(_divided(plain, divisor, number), back)
    known[result] = _Made(kind, axes, inverse, source, _permuted(plain, back), divisor)
    return result


def _are_one(kind: str, axis: int, inverse: bool, below: _Made) -> bool:
    """Whether one call does a transform and the one below it."""
    ways = kind == "C2C" and below.kind in ("C2C", "R2C") and below.inverse == inverse
    return ways and axis not in below.axes and len(below.axes) < _MOST_AXES


def _permuted(node: UOp, order: tuple[int, ...]) -> UOp:
    return node if order == tuple(range(len(order))) else UOp.new(Ops.PERMUTE, (node,), order)


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
    """cuFFT's transforms along the last axes, the result row-major.

    Raises
    ------
    DeviceMemoryError
        There is no memory left for it.
    """
    kind, count, inverse = parameters
    (source,) = sources
    library = device.library(Cufft)
    assert library is not None
    calls = None if source.address % _ALIGNMENT else _calls(kind, count, source.layout, result.layout)
    if calls is None:
        copy = device.allocate(source.shape, source.dtype)
        copy_into(copy, source)
        source = copy
        calls = _calls(kind, count, source.layout, result.layout)
        assert calls is not None
    places = [(source.address + given, result.address + made) for given, made in calls.offsets]
    device.asked(library.run, device, calls.transforms, places, inverse)


class _Calls(NamedTuple):
    """What all calls do, and where each begins: bytes in source and result."""

    transforms: Transforms
    offsets: list[tuple[int, int]]


@lru_cache(maxsize=1024)
def _calls(kind: str, count: int, given: Layout, made: Layout) -> _Calls | None:
    """What to ask of the library; None where the source is better copied to row-major order first."""
    axes = range(len(made.shape) - count, len(made.shape))
    before, after = _lines(axes, given), _lines(axes, made)
    if before is None or after is None:
        return None
    merged = list(_merged(list(zip(made.shape, given.strides, made.strides))[:-count]))
    # One call does a stack along one axis: the longest.
    stack = max(merged, default=(1, 0, 0))
    loops = [axis for axis in merged if axis is not stack]
    many, from_given, from_made = stack
    if many > 1 and (from_given <= 0 or from_given % given.dtype.itemsize):
        return None
    if math.prod(size for size, _, _ in loops) > _MOST_CALLS:
        return None
    offsets = [
        (
            sum(at * loop[1] for at, loop in zip(place, loops)),
            sum(at * loop[2] for at, loop in zip(place, loops)),
        )
        for place in product(*(range(size) for size, _, _ in loops))
    ]
    if any(offset % _ALIGNMENT for each in offsets for offset in each):
        return None
    whole, itemsize = made if kind == "C2R" else given, given.dtype.itemsize
    transforms = Transforms(
        kind,
        dtypes.complex128 in (given.dtype, made.dtype),
        tuple(whole.shape[axis] for axis in axes),
        Lines(before, 1, max(from_given // itemsize, 1)),
        Lines(after, 1, max(from_made // made.dtype.itemsize, 1)),
        many,
    )
    return _Calls(transforms, offsets)


def _lines(axes: Sequence[int], layout: Layout) -> tuple[int, ...] | None:
    """cuFFT's embed of the last axes; None where elements aren't side by side, or rows not evenly apart.

    It takes other strides too, and is then slower than with a copy: along the first axis of 8192 x 8192
    complex64 it took 1.40 ms, along the last one 0.37.
    """
    itemsize = layout.dtype.itemsize
    steps = [itemsize if layout.shape[axis] == 1 else layout.strides[axis] for axis in axes]
    sizes = [layout.shape[axis] for axis in axes]
    if steps[-1] != itemsize:
        return None
    embed, length = [sizes[0]], itemsize
    for k in range(len(axes) - 1, 0, -1):
        # How many lines of the axis further in stand in one step of this one.
        rows, rest = divmod(steps[k - 1] if sizes[k - 1] > 1 else length * sizes[k], length)
        if rest or rows < sizes[k]:
            return None
        embed.insert(1, rows)
        length *= rows
    return tuple(embed)


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
