"""Where arrays are: the names of devices, and whether one beside the CPU has been used in this process.

The ground layer: everything above asks here. What a device can do is runtime/device.py's.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from types import FrameType
from typing import Any

DEVICE = "cpu"

_CUDA = re.compile(r"cuda(?::(\d+))?")


class Use:
    """What this process has used so far.

    Attributes
    ----------
    several : whether a device beside the CPU: until then no recorded operation looks for devices
    chosen : whether a setting has named one beside the CPU: until then nothing that is made asks the settings
    """

    __slots__ = ("chosen", "several")

    def __init__(self) -> None:
        self.several = self.chosen = False


use = Use()


def normalized(device: Any) -> str | None:
    """The full name of a device, "cuda:0" for "cuda"; None for what is no name of one."""
    if device == DEVICE:
        return DEVICE
    match = _CUDA.fullmatch(device) if isinstance(device, str) else None
    return None if match is None else f"cuda:{int(match[1] or 0)}"


def ordinal(device: str) -> int:
    """The number of a GPU by its full name."""
    return int(device.partition(":")[2])


def no_device_error(call: str, device: Any, known: Sequence[str], missing: str = "") -> ValueError:
    """A ValueError: there is no such device, and why if that is known."""
    there = f"there is {' and '.join(map(repr, known))}"
    return ValueError(f"{call}: no device {device!r}; {there}{'; ' * bool(missing)}{missing}")


def mixed_devices_error(devices: Collection[str]) -> ValueError:
    """A ValueError in the name of the user's call: its operands are on several devices.

    Found where nodes are made, which know nothing of calls: the name is that of the function of ours that was
    called from outside.
    """
    call = "operation"
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "toonygrad":
        code = frame.f_code.co_name
        # What tables make is all called so, and knows the name.
        named = frame.f_locals.get("name" if code == "function" else "call")
        call = named if isinstance(named, str) else code
        frame = frame.f_back
    found = " and ".join(sorted(devices))
    return ValueError(f"{call}: operands are on {found}; bring them to one device with to_device")
