"""On which device an array is made, and how it comes to another: what `device=` and `to_device` mean.

The standard's functions and the Array come here. A GPU's driver is loaded when a GPU is first named; from
then on nodes know their devices (uop/node.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toonygrad import devices
from toonygrad.config import counters, settings
from toonygrad.devices import DEVICE, mixed_devices_error, no_device_error, normalized
from toonygrad.realize import realize_nodes
from toonygrad.runtime.buffer import Buffer
from toonygrad.runtime.device import (
    DeviceBuffer,
    SharedDeviceBuffer,
    install,
    installed,
    open_device,
)
from toonygrad.runtime.driver import DeviceUnavailable, Driver
from toonygrad.uop.node import UOp, device_of, follow_devices
from toonygrad.uop.ops import Ops

_INSTALL = "install it with: pip install 'toonygrad[cuda]'"


def chosen(call: str, device: Any, beside: UOp | None = None) -> str:
    """The full name of the device that a call is to use, which is ready to be used.

    Parameters
    ----------
    device : what the call was given
    beside : an operand, on whose device the result is where none is given

    Raises
    ------
    ValueError
        There is no such device; where it's a GPU, what is missing.
    """
    if device is None:
        if beside is not None:
            return place_of(beside)
        device = settings.device if devices.use.chosen else DEVICE
    if device == DEVICE:
        return DEVICE
    name = normalized(device)
    if name is None:
        raise no_device_error(call, device, available())
    try:
        driver = _driver()
    except DeviceUnavailable as error:
        raise no_device_error(call, device, (DEVICE,), str(error)) from None
    if devices.ordinal(name) >= driver.count():
        raise no_device_error(call, device, available())
    if not devices.use.several:
        devices.use.several = True
        follow_devices(True)
    return name


def available() -> tuple[str, ...]:
    """The names of all devices: the CPU and the GPUs that can be used."""
    try:
        count = _driver().count()
    except DeviceUnavailable:
        count = 0
    return (DEVICE, *(f"cuda:{number}" for number in range(count)))


def _driver() -> Driver:
    driver = installed()
    if driver is None:
        try:
            from toonygrad.runtime.cuda import CudaDriver
        except ImportError as error:
            raise DeviceUnavailable(f"the package cuda-bindings is missing ({error}); {_INSTALL}") from None
        driver = CudaDriver()
        install(driver)
    return driver


def place_of(node: UOp) -> str:
    """Where the elements of a node are or will be."""
    return (device_of(node) or DEVICE) if devices.use.several else DEVICE


def on_device(node: UOp, device: str) -> UOp:
    """What stands above no memory (numbers, positions) as the elements of an array on a device.

    It gets something on the device to stand on, rather than being computed at once: so `zeros` and `arange`
    are parts of kernels there as they are on the CPU, and know where they are.
    """
    if device == DEVICE or device_of(node) is not None:
        return node
    anchor = _anchors.get(device)
    if anchor is None or installed() is not anchor[0]:
        anchor = _anchors[device] = (installed(), uploaded(np.array(True), device))
    return UOp.new(Ops.WHERE, (anchor[1], node, UOp.const(0, node.dtype)))


_anchors: dict[str, tuple[Driver | None, UOp]] = {}


def put(node: UOp, device: str) -> UOp:
    """The elements of a node on a device: recorded there if they stand above no memory, else copied.

    Raises
    ------
    MemoryError
        There isn't enough memory.
    """
    if device == DEVICE or device_of(node) is None:
        return on_device(node, device)
    (memory,) = realize_nodes([node])
    return brought(memory.arg, device)


def check_together(*nodes: UOp) -> None:
    """ValueError, naming the user's call, unless `nodes` are on one device."""
    places = {device_of(node) for node in nodes} - {None}
    if len(places) > 1:
        raise mixed_devices_error([place or DEVICE for place in places])


def uploaded(array: np.ndarray, device: str) -> UOp:
    """The memory of an array that is nobody else's: itself for the CPU, a copy on a GPU."""
    if device == DEVICE:
        return UOp.new(Ops.BUFFER, (), Buffer(array))
    return buffer_node(open_device(device).upload(array))


def beside(array: np.ndarray, node: UOp) -> UOp:
    """What the host computed from the elements of a node, on the device of the node."""
    place = place_of(node)
    if place != DEVICE:
        counters.host_steps += 1
    return uploaded(array, place)


def buffer_node(buffer: DeviceBuffer) -> UOp:
    """The BUFFER of memory on a device."""
    return UOp.known(Ops.BUFFER, (), buffer, buffer.dtype, buffer.shape)


def brought(buffer: Buffer | DeviceBuffer, device: str) -> UOp:
    """The elements of a buffer in memory on a device; the buffer's own where it is there.

    Raises
    ------
    MemoryError
        There isn't enough memory.
    """
    if buffer.device == device:
        return UOp.known(Ops.BUFFER, (), buffer, *buffer.layout[:2])
    if isinstance(buffer, Buffer) or device == DEVICE:
        return uploaded(buffer.array, device)
    return buffer_node(open_device(device).copied(contiguous(buffer)))


def contiguous(buffer: DeviceBuffer) -> DeviceBuffer:
    """The elements in row-major order: the buffer itself or a copy."""
    if buffer.is_contiguous:
        return buffer
    from toonygrad.runtime.cuda_copies import copy_into

    result = buffer.place.allocate(buffer.shape, buffer.dtype)
    copy_into(result, buffer)
    result.checks = buffer.checks
    return result


def copied(buffer: DeviceBuffer) -> DeviceBuffer:
    """The same elements in memory of their own, row-major."""
    return buffer.place.copied(buffer) if buffer.is_contiguous else contiguous(buffer)


def wait(buffer: DeviceBuffer) -> None:
    """Wait until the elements are there.

    Raises
    ------
    IndexError
        An index out of bounds led to them.
    """
    buffer.place.synchronize()
    buffer.raise_if_outside()


def shared(buffer: DeviceBuffer) -> SharedDeviceBuffer:
    """The same memory as that which others see."""
    result = SharedDeviceBuffer(buffer.layout, buffer.memory, buffer.address)
    result.checks = buffer.checks
    return result
