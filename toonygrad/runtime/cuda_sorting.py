"""Sorting on a GPU: of short lanes by a kernel, else by CUB, and how CUB is called; searching by a kernel.

cuda_routines.py comes here. CUB is sources: NVIDIA's cuda-cccl compiles its radix sort for a type of keys, in
some seconds, and what it made is kept in the disk cache. Imports nothing of CUDA at the top.
"""

from __future__ import annotations

import hashlib
import threading
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen import cuda_lane_sort
from toonygrad.codegen.cuda_bisection import places_source
from toonygrad.codegen.python_source import KernelSource
from toonygrad.config import counters, settings
from toonygrad.runtime.cache import disk_cache, out_of_reach
from toonygrad.runtime.cuda_cache import package_version
from toonygrad.runtime.cuda_copies import copy_into
from toonygrad.runtime.cuda_libraries import Library, Unusable
from toonygrad.runtime.device import Device, DeviceBuffer
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Ops
from toonygrad.uop.shape import size_of

# From so many elements on each lane is sorted by a call of its own, and shorter lanes together, by keys of
# 64 bits in which the lane stands above the element.
LEAST_OWN_CALL = 1 << 20

# Lanes up to this length are sorted by the threads of a block.
LONGEST_IN_A_BLOCK = cuda_lane_sort.LONGEST

# Threads of a block that search.
_SEARCHING = 256

_KEYS = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
_WIDE = np.dtype(np.uint64)
# Of a wide key the least bit is the sign of a zero, which isn't compared; then come the element's.
_ELEMENT_BITS = 32


# -- the library ---------------------------------------------------------------------------------------------


class _Shown:
    """Memory as cuda.compute takes it."""

    __slots__ = ("__cuda_array_interface__", "dtype", "nbytes")

    def __init__(self, dtype: np.dtype, address: int, nbytes: int = 0) -> None:
        self.dtype, self.nbytes = dtype, nbytes
        self.__cuda_array_interface__ = {
            "shape": (nbytes // dtype.itemsize,),
            "typestr": dtype.str,
            "data": (address, False),
            "strides": None,
            "version": 3,
        }


class _Stream:
    """A stream as cuda.compute takes it."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._handle


class Cub(Library):
    """CUB's radix sorts, each compiled for keys of one type and with or without values, by cuda.compute."""

    name = "cub"

    def __init__(self, library: Any, stream: int) -> None:
        self._library, self._stream = library, _Stream(stream)
        if not (hasattr(library, "make_radix_sort") and hasattr(library, "deserialize")):
            raise Unusable("cuda-cccl is older than 1.1")
        self._sorts: dict[tuple[np.dtype, np.dtype | None], Any] = {}
        # What each sort needs of memory to work in, by size and bits.
        self._sizes: dict[tuple[Any, ...], int] = {}
        # A sort of cuda.compute keeps what it's called with in itself.
        self._lock = threading.Lock()

    @classmethod
    def load(cls) -> Any:
        """The package cuda.compute; None where it isn't installed, or lacks what it stands on."""
        try:
            import cuda.compute as library
        except (ImportError, RuntimeError):  # a library that it loads isn't there
            return None
        return library if library._BINDINGS_AVAILABLE else None

    def sort(
        self,
        device: Device,
        dtype: np.dtype,
        keys: tuple[int, int],
        values: tuple[np.dtype, int, int] | None,
        count: int,
        bits: tuple[int, int],
    ) -> None:
        """Sort `count` keys by some of their bits, from the first address to the second, values along.

        Raises
        ------
        DeviceMemoryError
            There is no memory left for the code of a sort.
        """
        with self._lock:
            kinds = dtype, None if values is None else values[0]
            call = self._sorts.get(kinds)
            if call is None:
                call = self._sorts[kinds] = self._made(device, *kinds)
            given: dict[str, Any] = {
                "d_in_keys": _Shown(dtype, keys[0]),
                "d_out_keys": _Shown(dtype, keys[1]),
                "d_in_values": None if values is None else _Shown(values[0], values[1]),
                "d_out_values": None if values is None else _Shown(values[0], values[2]),
                "num_items": count,
                "begin_bit": bits[0],
                "end_bit": bits[1],
                "stream": self._stream,
            }
            size = self._sizes.get((kinds, count, bits))
            if size is None:
                size = call(temp_storage=None, **given)
                if len(self._sizes) >= _MOST_SIZES:
                    self._sizes.clear()
                self._sizes[kinds, count, bits] = size
            # Not nothing, which would ask for the size again.
            work = device.allocate((max(size, 1),), _BYTES)
            call(temp_storage=_Shown(_BYTES, work.address, work.nbytes), **given)

    def _made(self, device: Device, keys: np.dtype, values: np.dtype | None) -> Any:
        """A sort: from disk, else compiled and put there."""
        library = self._library
        architecture = device.driver.architecture(device.number)
        names = ("cuda.compute", package_version("cuda-cccl"), architecture, keys.str, values and values.str)
        key_on_disk = hashlib.sha256(repr(names).encode()).hexdigest()
        disk = None if settings.cache_dir is None else disk_cache(settings.cache_dir)
        code = None if disk is None else disk.get(key_on_disk)
        if code is not None:
            counters.kernels_loaded += 1
        else:
            code = out_of_reach(_compiled, library, keys, values, architecture)
            counters.kernels_compiled += 1
            if disk is not None:
                disk.put(key_on_disk, code)
        return library.deserialize(code)


_MOST_SIZES = 1024
_BYTES = np.dtype(np.uint8)


def _compiled(library: Any, keys: np.dtype, values: np.dtype | None, architecture: str) -> bytes:
    # Without an address, values count as absent (cuda-cccl 1.2); nothing is read there.
    of_keys, of_values = _Shown(keys, 1 << 20), None if values is None else _Shown(values, 1 << 20)
    made = library.make_radix_sort(
        d_in_keys=of_keys,
        d_out_keys=of_keys,
        d_in_values=of_values,
        d_out_values=of_values,
        order=library.SortOrder.ASCENDING,
        compute_capability=int(architecture.removeprefix("sm_")),
    )
    return library.serialize(made)


# -- what a recorded sort becomes ----------------------------------------------------------------------------


def sorted_by_keys(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp | None:
    """A recorded sort or argsort as CUB's of keys in the order of the elements, and back.

    CUB sorts ascending and stably, floats by their bits, but for zeros, which are equal. None where it has
    no such keys.
    """
    name, (_, descending, _), _, _ = node.arg
    function = _sorted if name == "sort" else _ordered
    return _lane_by_lane(node, lambda flat: function(flat, descending, number))


def sorted_by_blocks(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp | None:
    """A recorded sort or argsort of lanes that the threads of a block hold; None of longer ones."""
    name, (axis, descending, _), dtype, shape = node.arg
    if shape[axis] > LONGEST_IN_A_BLOCK:
        return None
    parameters = (name == "argsort", descending)
    return _lane_by_lane(
        node, lambda flat: UOp.new(Ops.EXTERNAL, (flat,), ("sort_lanes", parameters, dtype, flat.shape))
    )


def _lane_by_lane(node: UOp, function: Callable[[UOp], UOp]) -> UOp | None:
    """What `function` makes of the lanes as rows, put back; None of complex numbers and float16."""
    (axis, _, _), shape, (source,) = node.arg[1], node.shape, node.src
    if source.dtype not in dtypes.REAL_NUMERIC and source.dtype != dtypes.bool_:
        return None
    order = (*(k for k in range(len(shape)) if k != axis), axis)
    moved = source if axis == len(shape) - 1 else UOp.new(Ops.PERMUTE, (source,), order)
    length = shape[axis]
    flat = UOp.new(Ops.RESHAPE, (moved,), (size_of(shape) // length, length))
    result = UOp.new(Ops.RESHAPE, (function(flat),), moved.shape)
    back = tuple(order.index(k) for k in range(len(shape)))
    return result if moved is source else UOp.new(Ops.PERMUTE, (result,), back)


def _sorted(flat: UOp, descending: bool, number: Any) -> UOp:
    dtype, shape = flat.dtype, flat.shape
    if _has_calls_of_its_own(shape):
        keys = _keys(flat, descending)
        if dtype.kind == "f" and not descending:  # nothing is left to do but to read the bits
            return _cub("cub_sort", dtype, shape, dtype, None, keys)
        result = _cub("cub_sort", keys.dtype, shape, dtype, None, keys)
        return _elements(result, dtype, descending)
    if dtype.itemsize == 8:
        return UOp.new(
            Ops.GATHER, (_line(flat), _order_of_lanes(flat, descending, number)), ((0,), 0, "sort")
        )
    wide, bits = _wide_keys(flat, descending)
    result = _cub("cub_sort", _WIDE, wide.shape, _WIDE, bits, wide)
    return _narrow(result, dtype, descending)


def _ordered(flat: UOp, descending: bool, number: Any) -> UOp:
    shape = flat.shape
    if _has_calls_of_its_own(shape):
        positions = UOp.new(Ops.IOTA, (), (shape, 1)).cast(_position(shape[1]))
        keys = _keys(flat, descending)
        order = _cub("cub_order", positions.dtype, shape, flat.dtype, None, keys, positions)
        return order.cast(dtypes.int64)
    if flat.dtype.itemsize == 8:
        order = _order_of_lanes(flat, descending, number)
    else:
        wide, bits = _wide_keys(flat, descending)
        positions = _positions(wide.shape[0])
        order = _cub("cub_order", positions.dtype, wide.shape, _WIDE, bits, wide, positions)
    return UOp.new(Ops.REMAINDER, (order.cast(dtypes.int64), number(shape[1], dtypes.int64)))


def _has_calls_of_its_own(shape: tuple[int, ...]) -> bool:
    return shape[0] == 1 or shape[1] >= LEAST_OWN_CALL


def _cub(
    name: str,
    dtype: np.dtype,
    shape: tuple[int, ...],
    key: np.dtype,
    bits: tuple[int, int] | None,
    *sources: UOp,
) -> UOp:
    """A call of CUB: keys are read as of type `key`, and compared by these bits, or all."""
    key = _BYTES if key == dtypes.bool_ else key
    return UOp.new(Ops.EXTERNAL, sources, (name, (key, bits or (0, 8 * key.itemsize)), dtype, shape))


def _positions(count: int) -> UOp:
    return UOp.new(Ops.IOTA, (), ((count,), 0)).cast(_position(count))


def _position(size: int) -> np.dtype:
    """The type of positions below `size` while they are moved: half of 64 bits takes a third less time."""
    return dtypes.int32 if size <= np.iinfo(np.int32).max else dtypes.int64


def _line(flat: UOp) -> UOp:
    return UOp.new(Ops.RESHAPE, (flat,), (size_of(flat.shape),))


def _order_of_lanes(flat: UOp, descending: bool, number: Any) -> UOp:
    """Positions in the flat array, lane after lane, by two sorts: of all elements, then by their lanes."""
    line = _line(_keys(flat, descending))
    positions = _positions(line.shape[0])
    order = _cub("cub_order", positions.dtype, line.shape, flat.dtype, None, line, positions)
    length = number(flat.shape[1], dtypes.int64)
    lane = UOp.new(Ops.FLOORDIV, (order.cast(dtypes.int64), length)).cast(dtypes.uint32)
    bits = (0, max((flat.shape[0] - 1).bit_length(), 1))
    order = _cub("cub_order", positions.dtype, line.shape, dtypes.uint32, bits, lane, order)
    return order.cast(dtypes.int64)


def _keys(flat: UOp, descending: bool) -> UOp:
    """The elements so that CUB's order is theirs; of floats their bits, in which all NaNs are one."""
    dtype = flat.dtype
    if dtype == dtypes.bool_:
        flat = flat.cast(_BYTES)
        return flat ^ UOp.const(1, _BYTES) if descending else flat
    if dtype.kind != "f":
        return ~flat if descending else flat
    key = _KEYS[dtype.itemsize]
    nan = UOp.const(int(np.array(np.nan, dtype).view(key)), key)
    bits = flat.ne(flat).where(nan, flat.bitcast(key))
    return bits ^ UOp.const(_sign(key), key) if descending else bits


def _elements(keys: UOp, dtype: np.dtype, descending: bool) -> UOp:
    """What keys stand for: the way back of `_keys`."""
    if descending:
        if dtype.kind in "bf":
            turned = 1 if dtype == dtypes.bool_ else _sign(keys.dtype)
            keys = keys ^ UOp.const(turned, keys.dtype)
        else:
            keys = ~keys
    return keys.cast(dtype) if dtype == dtypes.bool_ else keys.bitcast(dtype)


def _sign(key: np.dtype) -> int:
    return 1 << (8 * key.itemsize - 1)


def _wide_keys(flat: UOp, descending: bool) -> tuple[UOp, tuple[int, int]]:
    """For each element of all lanes a key of 64 bits, and which of them to compare.

    From the top: the lane, the element as an unsigned number in its order, and whether it is a zero below
    zero, which is equal to the other and yet to be told from it afterwards.
    """
    dtype = flat.dtype
    bits = _keys(flat, False)
    key = _KEYS[dtype.itemsize]
    least = UOp.const(0, _WIDE)
    if dtype.kind == "f":
        sign, every = UOp.const(_sign(key), key), UOp.const(2 * _sign(key) - 1, key)
        below = (bits & sign).ne(0)
        least = bits.eq(sign).cast(_WIDE)
        element = bits.eq(sign).where(sign, bits ^ below.where(every, sign))
    elif dtype.kind == "i":
        element = bits.bitcast(key) ^ UOp.const(_sign(key), key)
    else:
        element = bits
    element = (~element if descending else element).cast(_WIDE)
    lane = UOp.new(Ops.IOTA, (), (flat.shape, 0)).cast(_WIDE)
    above, one = UOp.const(1 + _ELEMENT_BITS, _WIDE), UOp.const(1, _WIDE)
    wide = UOp.new(Ops.SHL, (lane, above)) | UOp.new(Ops.SHL, (element, one)) | least
    return _line(wide), (1, 1 + _ELEMENT_BITS + (flat.shape[0] - 1).bit_length())


def _narrow(wide: UOp, dtype: np.dtype, descending: bool) -> UOp:
    """The elements of wide keys."""
    key = _KEYS[dtype.itemsize]
    element = UOp.new(Ops.SHR, (wide, UOp.const(1, _WIDE))).cast(key)
    element = ~element if descending else element
    if dtype == dtypes.bool_:
        return (element & UOp.const(1, key)).cast(dtype)
    if dtype.kind == "u":
        return element
    sign, every = UOp.const(_sign(key), key), UOp.const(2 * _sign(key) - 1, key)
    if dtype.kind == "i":
        return (element ^ sign).bitcast(dtype)
    below_zero = (element & sign).eq(0)
    bits = element ^ below_zero.where(every, sign)
    zero_below = (wide & UOp.const(1, _WIDE)).ne(0)
    return zero_below.where(sign, bits).bitcast(dtype)


# -- calls ---------------------------------------------------------------------------------------------------


def run_cub(
    device: Device, sources: Sequence[DeviceBuffer], parameters: tuple[Any, ...], result: DeviceBuffer
) -> None:
    """Keys in order, lane by lane; or values in the order of keys.

    Raises
    ------
    DeviceMemoryError
        There is no memory left for it.
    """
    library = device.library(Cub)
    assert library is not None
    key, bits = parameters
    keys, *values = (_dense(source) for source in sources)
    made = device.allocate(keys.shape, keys.dtype) if values else result
    length = keys.shape[-1]
    for lane in range(size_of(keys.shape) // length):
        at = lane * length * keys.dtype.itemsize
        along = None
        if values:
            place = lane * length * result.dtype.itemsize
            along = (result.dtype, values[0].address + place, result.address + place)
        device.asked(library.sort, device, key, (keys.address + at, made.address + at), along, length, bits)


def _dense(source: DeviceBuffer) -> DeviceBuffer:
    if source.is_contiguous and not source.address % source.dtype.itemsize:
        return source
    copy = source.place.allocate(source.shape, source.dtype)
    copy_into(copy, source)
    return copy


def run_search(
    device: Device, sources: Sequence[DeviceBuffer], parameters: tuple[Any, ...], result: DeviceBuffer
) -> None:
    """Where values belong in a sorted array, by a kernel."""
    ordered, values = (_dense(source) for source in sources)
    source = places_source(ordered.dtype, parameters[0])
    size, count = ordered.shape[0], size_of(values.shape)
    given = (result.address, ordered.address, values.address, size, (size - 1).bit_length(), count)
    _launch(device, source, -(-count // _SEARCHING), _SEARCHING, given)


def run_lanes(
    device: Device, sources: Sequence[DeviceBuffer], parameters: tuple[Any, ...], result: DeviceBuffer
) -> None:
    """Short lanes in order, or their positions in that order, by a kernel."""
    positions, descending = parameters
    elements = _dense(sources[0])
    lanes, length = elements.shape
    source = cuda_lane_sort.lanes_source(elements.dtype, positions)
    levels = max((length - 1).bit_length(), cuda_lane_sort.HELD.bit_length() - 1)
    threads = max(cuda_lane_sort.THREADS, (1 << levels) // cuda_lane_sort.HELD)
    blocks = -(-lanes // (threads * cuda_lane_sort.HELD >> levels))
    given = (result.address, elements.address, lanes, length, levels, int(descending))
    _launch(device, source, blocks, threads, given)


def _launch(device: Device, source: KernelSource, blocks: int, threads: int, given: Sequence[int]) -> None:
    kernel = device.kernel(source.text, source.name, source.parameters)
    slots = array("q", given)
    first = slots.buffer_info()[0]
    places = array("q", [first + 8 * k for k in range(len(given))])
    device.driver.launch(device.number, kernel, (blocks, 1, 1), (threads, 1, 1), places.buffer_info()[0])
    counters.kernels_launched += 1


def searched(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """A recorded search as the kernel's."""
    return UOp.new(Ops.EXTERNAL, node.src, ("bisection", *node.arg[1:]))
