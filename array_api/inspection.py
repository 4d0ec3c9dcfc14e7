"""What the namespace can do, for code that asks (the standard's chapter "Inspection").

Re-exported by toonygrad as `__array_namespace_info__`; imports the data types and the Array's device.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toonygrad import dtypes as types
from toonygrad import record
from toonygrad.array_api.data_type import KINDS
from toonygrad.placement import available, chosen

__all__ = ["NamespaceInfo", "__array_namespace_info__"]


class Devices(tuple[str, ...]):
    """The devices by name: a tuple, as the standard has it, that also stands beside lists.

    SciPy's tests, for one, add a list to what `devices` answers. The sum with a list is a list.
    """

    __slots__ = ()

    def __add__(self, other: Any, /) -> Any:
        return [*self, *other] if isinstance(other, list) else super().__add__(other)

    def __radd__(self, other: Any, /) -> list[Any]:
        return [*other, *self] if isinstance(other, list) else NotImplemented


class NamespaceInfo:
    """The inspection functions, as `__array_namespace_info__` answers them."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean masks and data-dependent shapes work; arrays have up to 64 dimensions.

        Returns
        -------
        dict
            With "boolean indexing", "data-dependent shapes" and "max dimensions".
        """
        return {
            "boolean indexing": True,
            "data-dependent shapes": True,
            "max dimensions": record.MOST_DIMENSIONS,
        }

    def default_device(self) -> str:
        """Where arrays are made when nothing is said: "cpu", or as `config` says."""
        return chosen("default_device", None)

    def devices(self) -> Devices:
        """The devices that creation functions take: a tuple, to which lists may be added as well.

        Looks for GPUs, which takes some tenths of a second the first time.
        """
        return Devices(available())

    def default_dtypes(self, *, device: str | None = None) -> dict[str, np.dtype]:
        """The data types of results where nothing is said.

        Returns
        -------
        dict
            For "real floating", "complex floating", "integral" and "indexing".

        Raises
        ------
        ValueError
            There is no such device.
        """
        chosen("default_dtypes", device)
        return {
            "real floating": types.DEFAULT_FLOAT,
            "complex floating": types.DEFAULT_COMPLEX,
            "integral": types.DEFAULT_INTEGER,
            "indexing": types.INDEX,
        }

    def dtypes(
        self, *, device: str | None = None, kind: str | tuple[str, ...] | None = None
    ) -> dict[str, np.dtype]:
        """The standard's data types by name, all of them or those of some kinds.

        Parameters
        ----------
        device : str, optional
            All devices have the same.
        kind : str or tuple of str, optional
            As of `isdtype`.

        Raises
        ------
        ValueError
            There is no such device or kind.
        """
        chosen("dtypes", device)
        kinds = KINDS if kind is None else kind if isinstance(kind, tuple) else (kind,)
        for name in kinds:
            if name not in KINDS:
                raise ValueError(f"dtypes: no kind {name!r}; there are {', '.join(map(repr, KINDS))}")
        wanted = {dtype for name in kinds for dtype in types.CATEGORIES[name]}
        return {dtype.name: dtype for dtype in types.ALL if dtype in wanted}


def __array_namespace_info__() -> NamespaceInfo:
    """What the namespace can do: capabilities, devices and data types.

    Notes
    -----
    The standard's "Inspection".
    """
    return NamespaceInfo()
