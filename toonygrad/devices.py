"""Where arrays are: the names of devices, and the check of one that a call was given.

The lowest layer; whatever takes `device=` asks here.
"""

from typing import Any

DEVICE = "cpu"


def check_device(call: str, device: Any) -> None:
    """ValueError, naming the call, unless `device` is None or one there is."""
    if device is not None and device != DEVICE:
        raise ValueError(f"{call}: no device {device!r}; there is {DEVICE!r}")
