"""CUB that isn't there: what of cuda.compute is used, computing with NumPy on the fake driver's memory.

fake_driver.py has it. Memory and streams are taken by their protocols alone, as cuda.compute does.
"""

import ctypes
import json
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np


class SortOrder(Enum):
    """The orders."""

    ASCENDING = 0
    DESCENDING = 1


class FakeCub:
    """The package.

    Attributes
    ----------
    compiled : (type of keys, type of values, compute capability) of each sort that was compiled
    sorted : what ran: type of keys, how many, which bits, whether with values
    failing : what the next sort raises
    """

    _BINDINGS_AVAILABLE = True
    SortOrder = SortOrder

    def __init__(self, queue: Callable[[Callable[[], None]], None], found: Callable[[int, int], Any]) -> None:
        self.compiled: list[tuple[str, str, int]] = []
        self.sorted: list[tuple[str, int, tuple[int, int], bool]] = []
        self.failing: list[BaseException] = []
        self._queue, self._found = queue, found

    def make_radix_sort(
        self, *, d_in_keys, d_out_keys, d_in_values, d_out_values, order, compute_capability
    ) -> Any:
        assert d_in_keys.dtype == d_out_keys.dtype and order is SortOrder.ASCENDING
        values = "" if d_in_values is None else d_in_values.dtype.name
        if values:
            assert d_in_values.__cuda_array_interface__["data"][0]  # else it would count as absent
        self.compiled.append((d_in_keys.dtype.name, values, compute_capability))
        return self.compiled[-1]

    def serialize(self, made: tuple[str, str, int]) -> bytes:
        return json.dumps(made).encode()

    def deserialize(self, code: bytes) -> Callable[..., int]:
        keys, values, _ = json.loads(code)

        def sort(
            *,
            temp_storage,
            d_in_keys,
            d_out_keys,
            d_in_values,
            d_out_values,
            num_items,
            begin_bit,
            end_bit,
            stream,
        ) -> int:
            if self.failing:
                raise self.failing.pop()
            assert stream.__cuda_stream__()[1] >= 1000
            assert d_in_keys.dtype == d_out_keys.dtype == keys and (d_in_values is not None) == bool(values)
            dtype = np.dtype(keys)
            assert num_items > 0 and 0 <= begin_bit < end_bit <= 8 * dtype.itemsize
            size = 7 + num_items
            if temp_storage is None:
                return size
            assert temp_storage.nbytes >= size
            self._memory(temp_storage, np.dtype(np.uint8), size)
            given, made = (self._memory(each, dtype, num_items) for each in (d_in_keys, d_out_keys))
            assert given.ctypes.data != made.ctypes.data
            along = []
            if values:
                along = [
                    self._memory(each, np.dtype(values), num_items) for each in (d_in_values, d_out_values)
                ]
            self.sorted.append((keys, num_items, (begin_bit, end_bit), bool(values)))
            self._queue(lambda: self._sort(given, made, along, begin_bit, end_bit))
            return size

        return sort

    def _memory(self, shown: Any, dtype: np.dtype, count: int) -> np.ndarray:
        interface = shown.__cuda_array_interface__
        assert interface["strides"] is None and interface["typestr"] == dtype.str
        address, nbytes = interface["data"][0], count * dtype.itemsize
        assert not address % dtype.itemsize
        self._found(address, nbytes)
        return np.ndarray(count, dtype, (ctypes.c_char * nbytes).from_address(address))

    @staticmethod
    def _sort(
        given: np.ndarray, made: np.ndarray, along: list[np.ndarray], begin_bit: int, end_bit: int
    ) -> None:
        """By bits, of floats so that zeros are equal and negative ones turned round, as CUB does."""
        unsigned = np.dtype(f"u{given.dtype.itemsize}")
        bits, sign = given.view(unsigned), unsigned.type(1 << (8 * unsigned.itemsize - 1))
        if given.dtype.kind == "f":
            bits = np.where(bits == sign, unsigned.type(0), bits)
            bits = np.where(bits & sign, ~bits, bits | sign)
        elif given.dtype.kind == "i":
            bits = bits ^ sign
        mask = unsigned.type(((1 << end_bit) - 1) & ~((1 << begin_bit) - 1))
        order = np.argsort(bits & mask, kind="stable")
        made[...] = given[order]
        if along:
            along[1][...] = along[0][order]
