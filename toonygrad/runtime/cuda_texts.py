"""Kernels for a GPU that are written by hand, as text in the CUDA dialect: made of a template, and launched.

cuda_selection.py and cuda_scatter.py stand on this room. The device compiles and keeps them as all others.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.cpu import Parameter
from toonygrad.config import counters
from toonygrad.runtime.device import Device


class TextKernel(NamedTuple):
    """A kernel as text, for one kind of elements."""

    text: str
    name: str
    parameters: tuple[Parameter, ...]

    @staticmethod
    def made(body: str, pointers: Sequence[tuple[str, np.dtype]], integers: Sequence[str]) -> TextKernel:
        """The function with this body; pointers come before integers."""
        parameters = [Parameter(name, "pointer", dtype) for name, dtype in pointers]
        parameters += [Parameter(name, "integer", dtypes.INDEX) for name in integers]
        arguments = ", ".join(parameter.name for parameter in parameters)
        name = f"kernel_{hashlib.sha256(f'{parameters} {body}'.encode()).hexdigest()[:12]}"
        return TextKernel(f"def {name}({arguments}):\n{body}", name, tuple(parameters))

    def launch(
        self, device: Device, grid: tuple[int, int], block: tuple[int, int], arguments: Sequence[int]
    ) -> None:
        """Launch it with addresses and integers."""
        driver, number = device.driver, device.number
        driver.use(number)
        kernel = device.kernel(self.text, self.name, self.parameters)
        values = array("q", arguments)
        first = values.buffer_info()[0]
        places = array("q", [first + 8 * k for k in range(len(values))])
        driver.launch(number, kernel, (*grid, 1), (*block, 1), places.buffer_info()[0])
        counters.kernels_launched += 1
