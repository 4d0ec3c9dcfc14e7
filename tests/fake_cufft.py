"""cuFFT that isn't there: its functions with their own signatures, called through C, computing with NumPy.

fake_driver.py has it. Work is put off as the driver's is. What cuFFT would refuse is refused by its codes,
what would read or write memory that isn't there is an error.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

POINTER, INT, LONG_LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
SIZE = ctypes.c_size_t
NUMBERS = ctypes.POINTER(LONG_LONG)

INVALID_PLAN, ALLOC_FAILED, INVALID_VALUE, EXEC_FAILED, INVALID_SIZE = 1, 2, 4, 6, 8
# As cufft.h has them: data types before and afterwards.
TYPES = {
    0x2A: ("f4", "c8"),
    0x2C: ("c8", "f4"),
    0x29: ("c8", "c8"),
    0x6A: ("f8", "c16"),
    0x6C: ("c16", "f8"),
    0x69: ("c16", "c16"),
}
EXECUTE = {"R2C": 0x2A, "C2R": 0x2C, "C2C": 0x29, "D2Z": 0x6A, "Z2D": 0x6C, "Z2Z": 0x69}


class FakeCufft:
    """The library.

    Parameters
    ----------
    queue : takes work to be done later
    found : is asked for the memory of all that is touched

    Attributes
    ----------
    plans : by number what each was made for; destroyed ones are gone
    made : how many were made
    executed : what ran: a plan's sizes, how many at once, and the direction
    status : what the next functions answer instead of working
    """

    def __init__(self, queue: Callable[[Callable[[], None]], None], found: Callable[[int, int], Any]) -> None:
        self.plans: dict[int, dict[str, Any]] = {}
        self.made = 0
        self.executed: list[tuple[tuple[int, ...], int, int]] = []
        self.status: dict[str, int] = {}
        self._queue, self._found = queue, found
        signatures: dict[str, tuple[Any, ...]] = {
            "Create": (POINTER,),
            "Destroy": (INT,),
            "SetAutoAllocation": (INT, INT),
            "SetStream": (INT, POINTER),
            "SetWorkArea": (INT, POINTER),
            "MakePlanMany64": (
                *(INT, INT, NUMBERS, NUMBERS, LONG_LONG, LONG_LONG, NUMBERS, LONG_LONG, LONG_LONG),
                *(INT, LONG_LONG, ctypes.POINTER(SIZE)),
            ),
        }
        for name, kinds in signatures.items():
            function = ctypes.CFUNCTYPE(INT, *kinds)(self._answering(name, getattr(self, f"_{name}")))
            setattr(self, f"cufft{name}", function)
        for name, kind in EXECUTE.items():
            directed = name in ("C2C", "Z2Z")
            kinds = (INT, POINTER, POINTER, INT)[: 4 if directed else 3]
            execute = self._execute(name, kind)
            setattr(self, f"cufftExec{name}", ctypes.CFUNCTYPE(INT, *kinds)(execute))

    def _answering(self, name: str, function: Callable[..., int]) -> Callable[..., int]:
        return lambda *arguments: self.status.pop(name, 0) or function(*arguments)

    def _Create(self, place: int) -> int:
        self.made += 1
        self.plans[self.made] = {}
        ctypes.c_int.from_address(place).value = self.made
        return 0

    def _Destroy(self, plan: int) -> int:
        return 0 if self.plans.pop(plan, None) is not None else INVALID_PLAN

    def _SetAutoAllocation(self, plan: int, allocate: int) -> int:
        assert allocate == 0 and not self.plans[plan]
        return 0

    def _SetStream(self, plan: int, stream: int) -> int:
        self.plans[plan]["stream"] = stream
        return 0

    def _SetWorkArea(self, plan: int, address: int) -> int:
        self.plans[plan]["work"] = address
        return 0

    def _MakePlanMany64(
        self, plan, rank, n, inembed, istride, idist, onembed, ostride, odist, kind, batch, size
    ):
        sizes = tuple(n[k] for k in range(rank))
        if not 1 <= rank <= 3 or min(*sizes, batch) < 1:
            return INVALID_SIZE
        if min(istride, idist, ostride, odist) < 1 or kind not in TYPES:
            return INVALID_VALUE
        given, made = TYPES[kind]
        half = (*sizes[:-1], sizes[-1] // 2 + 1)
        lines = []
        for embed, stride, dist, own in (
            (inembed, istride, idist, half if given[0] == "c" != made[0] else sizes),
            (onembed, ostride, odist, half if made[0] == "c" != given[0] else sizes),
        ):
            embedded = tuple(embed[k] for k in range(rank))
            assert all(e >= s for e, s in zip(embedded[1:], own[1:])), "rows overlap"
            strides = [stride * int(np.prod(embedded[k + 1 :])) for k in range(rank)]
            lines.append(((batch, *own), (dist, *strides)))
        work = 16 * int(np.prod(sizes)) if len(sizes) > 1 else 0
        self.plans[plan].update(sizes=sizes, kind=kind, lines=lines, batch=batch, needs=work)
        size[0] = work
        return 0

    def _execute(self, name: str, kind: int) -> Callable[..., int]:
        def execute(number: int, given: int, made: int, direction: int = 0) -> int:
            if status := self.status.pop("Exec", 0):
                return status
            plan = self.plans.get(number)
            if plan is None or plan["kind"] != kind:
                return INVALID_PLAN
            assert plan["stream"] >= 1000
            assert direction in ((-1, 1) if name in ("C2C", "Z2Z") else (0,))
            if any(
                address % np.dtype(TYPES[kind][TYPES[kind][1][0] == "c"]).itemsize
                for address in (given, made)
            ):
                return INVALID_VALUE  # reals too stand where complex numbers could
            if plan["needs"]:
                self._found(plan["work"], plan["needs"])
            self.executed.append((plan["sizes"], plan["batch"], direction))
            arrays = [
                self._seen(address, dtype, *lines)
                for address, dtype, lines in zip((given, made), TYPES[kind], plan["lines"])
            ]
            self._queue(lambda: self._transform(name, direction, plan["sizes"], *arrays))
            return 0

        return execute

    def _seen(self, address: int, name: str, shape: tuple[int, ...], steps: tuple[int, ...]) -> np.ndarray:
        dtype = np.dtype(name)
        assert not address % dtype.itemsize
        length = 1 + sum((size - 1) * step for size, step in zip(shape, steps))
        self._found(address, length * dtype.itemsize)
        whole = np.ndarray(length, dtype, (ctypes.c_char * (length * dtype.itemsize)).from_address(address))
        strides = tuple(step * dtype.itemsize for step in steps)
        return np.lib.stride_tricks.as_strided(whole, shape, strides)

    @staticmethod
    def _transform(
        name: str, direction: int, sizes: tuple[int, ...], given: np.ndarray, made: np.ndarray
    ) -> None:
        axes = tuple(range(1, len(sizes) + 1))
        if name in ("R2C", "D2Z"):
            made[...] = np.fft.rfftn(given, axes=axes)
        elif name in ("C2R", "Z2D"):
            made[...] = np.fft.irfftn(given, s=sizes, axes=axes, norm="forward")
        elif direction < 0:
            made[...] = np.fft.fftn(given, axes=axes)
        else:
            made[...] = np.fft.ifftn(given, axes=axes, norm="forward")
