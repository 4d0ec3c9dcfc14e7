"""Memory of GPUs handed to other libraries and taken from them: DLPack and `__cuda_array_interface__`.

interchange.py and the creation functions come here for arrays that aren't on the CPU. NumPy makes and reads
the capsules: an array of NumPy's that stands for device memory, whose elements nobody looks at, has all that
a capsule holds but the device.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

import numpy as np

from toonygrad import dtypes, placement
from toonygrad.devices import DEVICE, ordinal
from toonygrad.runtime.device import (
    Device,
    DeviceBuffer,
    FixedDeviceBuffer,
    Memory,
    SharedDeviceBuffer,
    layout_of,
    open_device,
)

# By DLPack. Page-locked memory is the host's, and what CUDA moves between both is a GPU's.
CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13

_NAMES = (b"dltensor", b"dltensor_versioned")
# Where in what a capsule points to the tensor stands: behind version, context, deleter and flags where it
# has a version. In the tensor the device stands behind the address.
_TENSOR = {b"dltensor": 0, b"dltensor_versioned": 32}
_FLAGS, _IS_COPIED = 24, 2

_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.argtypes, _is_valid.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_int
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.argtypes, _pointer.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p


class _Standing:
    """Shows NumPy an array of this layout at a device's address, and keeps its memory alive."""

    def __init__(self, buffer: DeviceBuffer) -> None:
        self.memory = buffer.memory
        self.__array_interface__ = {
            "version": 3,
            "shape": buffer.shape,
            "typestr": buffer.dtype.str,
            "data": (buffer.address, not buffer.writeable),
            "strides": buffer.strides,
        }


def _put_device(capsule: Any, kind: int, number: int) -> None:
    for name in _NAMES:
        if _is_valid(capsule, name):
            place = _pointer(capsule, name) + _TENSOR[name] + ctypes.sizeof(ctypes.c_void_p)
            (ctypes.c_int32 * 2).from_address(place)[:] = [kind, number]
            return
    raise BufferError("__dlpack__: this isn't a DLPack capsule, or it has been used already")


def say_copied(capsule: Any) -> None:
    """Note in a capsule that its memory is nobody else's; without a version it has no place for that."""
    name = b"dltensor_versioned"
    if _is_valid(capsule, name):
        ctypes.c_uint64.from_address(_pointer(capsule, name) + _FLAGS).value |= _IS_COPIED


def dlpack(buffer: DeviceBuffer, stream: Any, max_version: tuple[int, int] | None, copy: bool | None) -> Any:
    """A DLPack capsule on a buffer's memory, whose work the consumer's stream waits for.

    Parameters
    ----------
    stream : the consumer's stream as DLPack has it: None and 1 the legacy default one, 2 that of the thread,
        -1 to wait for nothing, else a handle

    Raises
    ------
    BufferError
        `copy` is False where an axis runs backwards, or memory is read-only and the consumer can't be told.
    IndexError
        An index out of bounds led to these elements.
    """
    buffer.raise_if_outside()
    backwards = any(step < 0 for size, step in zip(buffer.shape, buffer.strides, strict=True) if size > 1)
    if backwards and copy is False:
        raise BufferError("__dlpack__: an axis that runs backwards can't be shared, and copy is False")
    secret = not (buffer.writeable or is_told(max_version))
    if secret and copy is False:
        raise BufferError(
            "__dlpack__: read-only memory can't be shared before version 1.0, and copy is False"
        )
    copied = bool(copy) or backwards or secret
    if copied:
        buffer = placement.copied(buffer)
    _let_go(buffer)
    let_wait("__dlpack__", buffer.device, stream)
    capsule = np.asarray(_Standing(buffer)).__dlpack__(max_version=max_version)
    _put_device(capsule, CUDA, ordinal(buffer.device))
    if copied:
        say_copied(capsule)
    return capsule


def is_told(max_version: Any) -> bool:
    """Whether a consumer of DLPack knows of memory that it may not write."""
    return isinstance(max_version, tuple) and max_version >= (1,)


def cuda_array_interface(buffer: DeviceBuffer) -> dict[str, Any]:
    """What `__cuda_array_interface__` answers, version 3; the consumer waits for the stream it names."""
    buffer.raise_if_outside()
    _let_go(buffer)
    device = buffer.place
    return {
        "version": 3,
        "shape": buffer.shape,
        "typestr": buffer.dtype.str,
        "data": (buffer.address if buffer.nbytes else 0, not buffer.writeable),
        "strides": None if buffer.is_contiguous else buffer.strides,
        "stream": device.driver.stream(device.number),
    }


def _let_go(buffer: DeviceBuffer) -> None:
    if type(buffer.memory) is Memory:
        buffer.memory.export()


def let_wait(call: str, place: str, stream: Any) -> None:
    """Have another library's stream, named as by DLPack, wait for all work on a device so far.

    Raises
    ------
    ValueError
        It is no stream.
    """
    if stream == -1:
        return
    if stream is not None and (not isinstance(stream, int) or stream < 1):
        raise ValueError(f"{call}: stream is None, -1 or a positive integer on a GPU, not {stream!r}")
    device = open_device(place)
    device.driver.use(device.number)
    device.driver.let_wait(device.number, stream or 1)


def dlpack_device(place: str) -> tuple[int, int]:
    """A device as DLPack has it."""
    return (CPU, 0) if place == DEVICE else (CUDA, ordinal(place))


# -- from other libraries ------------------------------------------------------------------------------------


class _Given:
    """Hands NumPy a capsule whose device says CPU, so that it reads the layout."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **keywords: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (CPU, 0)


def from_dlpack(call: str, x: Any) -> SharedDeviceBuffer:
    """The memory of an object with `__dlpack__` on a GPU, shared with it.

    Raises
    ------
    BufferError
        It can't be exported, or its elements aren't aligned.
    TypeError
        Its data type is none of ours.
    ValueError
        The GPU can't be used.
    """
    number = x.__dlpack_device__()[1]
    device = open_device(placement.chosen(call, f"cuda:{int(number)}"))
    stream = device.driver.stream(device.number)
    try:
        capsule = x.__dlpack__(stream=stream, max_version=(1, 0))
    except TypeError:  # from before DLPack had versions
        capsule = x.__dlpack__(stream=stream)
    _put_device(capsule, CPU, 0)
    return _taken(call, device.name, np.from_dlpack(_Given(capsule)))


def from_cuda_array_interface(call: str, x: Any) -> SharedDeviceBuffer:
    """The memory behind `__cuda_array_interface__`, shared with its object.

    Raises
    ------
    BufferError
        Its elements aren't aligned.
    TypeError
        Its data type is none of ours, or it has a mask.
    ValueError
        The GPU can't be used.
    """
    described = x.__cuda_array_interface__
    if described.get("mask") is not None:
        raise TypeError(f"{call}: a masked array can't be an array")
    driver = open_device(placement.chosen(call, "cuda")).driver
    device = open_device(f"cuda:{driver.device_of(described['data'][0])}")
    stream = described.get("stream")
    if stream is not None:
        driver.use(device.number)
        driver.wait_for(device.number, int(stream))

    class Shown:
        __array_interface__ = {
            key: described[key] for key in ("shape", "typestr", "data", "strides") if key in described
        } | {"version": 3}
        source = x

    return _taken(call, device.name, np.asarray(Shown()))


def _taken(call: str, device: str, seen: np.ndarray) -> SharedDeviceBuffer:
    if not dtypes.is_supported(seen.dtype):
        raise TypeError(f"{call}: {seen.dtype} is none of the standard's data types")
    place = open_device(device)
    address = seen.__array_interface__["data"][0]
    # On a GPU what isn't aligned is an error that ends all work of the process there.
    if not seen.flags.aligned:
        raise BufferError(f"{call}: elements on {device} that aren't aligned can't be an array")
    layout = layout_of(place, seen.dtype, seen.shape, seen.strides)
    kind = SharedDeviceBuffer if seen.flags.writeable else FixedDeviceBuffer
    return kind(layout, _Foreign(place, seen), address)


class _Foreign:
    """Keeps another library's memory until our work on it is done: its owner knows nothing of our stream."""

    __slots__ = ("_device", "_seen")

    def __init__(self, device: Device, seen: np.ndarray) -> None:
        self._device, self._seen = device, seen

    def __del__(self) -> None:
        device = self._device
        with suppress(RuntimeError):  # when the process ends there may be no driver any more
            device.driver.synchronize(device.number)


def is_elsewhere(x: Any) -> bool:
    """Whether an object that isn't ours has its elements on a GPU that can be used."""
    try:
        on_gpu = x.__dlpack_device__()[0] in (CUDA, CUDA_MANAGED)
    except AttributeError:
        on_gpu = hasattr(x, "__cuda_array_interface__")
    except (BufferError, RuntimeError, TypeError, ValueError):
        return False  # who asks it for its elements is told why
    return on_gpu and len(placement.available()) > 1


def copied_to(buffer: DeviceBuffer, device: str, copy: bool) -> Any:
    """The node of foreign memory on a device: shared where it is there and no copy is asked for."""
    if copy and buffer.device == device:
        return placement.buffer_node(placement.copied(buffer))
    return placement.brought(buffer, device)
