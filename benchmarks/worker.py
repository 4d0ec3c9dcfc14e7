"""A process that runs rows with one peer, told by `run.py` what to do next: a line of JSON each way.

    python benchmarks/worker.py PEER DEVICE

The requests are `prepare` (a row: make its operands, warm up, check), `turn` (time some calls), `check`
(compare the result once more), `memory` (the most that one more call needs) and `finish`. Whatever goes wrong
is told in the last reply, and ends the process.
"""

import ctypes
import functools
import gc
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
from gpu_rows import rows_of
from peers import as_tuple, peers_of, repeated
from rows import Row, named

SEED = 20261122

# Of a row that repeats its function, NumPy does so many steps, and so many are compared.
CHECKED_STEPS = 3
# Elements compared at once: what is made of them stays in cache.
PART = 1 << 18


class WrongResult(Exception):
    """A peer's result is farther from NumPy's than the row allows."""


def difference(row: Row, found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest difference from NumPy, as a part of NumPy's largest magnitude.

    Raises
    ------
    WrongResult
        More than the row allows, or another shape.
    """
    if [x.shape for x in found] != [x.shape for x in expected]:
        raise WrongResult(f"shapes {[x.shape for x in found]}, not {[x.shape for x in expected]}")
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        far, largest = 0.0, math.ulp(0)
        flat = ours.reshape(-1), theirs.reshape(-1)  # a copy where it lies otherwise
        for start in range(0, ours.size, PART):
            # As float64: small integers would wrap, and JAX's may be narrower than NumPy's.
            one, other = (x[start : start + PART].astype(np.float64) for x in flat)
            far = np.maximum(far, np.max(np.abs(one - other)))  # unlike max, it keeps a NaN
            largest = np.maximum(largest, np.max(np.abs(other)))
        worst = float(np.maximum(worst, far / largest))
    if not worst <= row.within:  # also where it isn't a number
        raise WrongResult(f"differs by {worst:.1e}, of which {row.within:.1e} are allowed")
    return worst


def reference(row: Row, operands: Sequence[np.ndarray], folder: Path) -> list[np.ndarray]:
    """NumPy's result, which the first peer to need it leaves to the others."""
    files = sorted(folder.glob(f"{row.name}.*.npy"))
    if files:
        return [np.load(file, mmap_mode="r") for file in files]
    call = repeated(functools.partial(row.function, np), operands)
    results = [np.asarray(x) for x in as_tuple(call(min(row.steps, CHECKED_STEPS)))]
    for number, result in enumerate(results):
        np.save(folder / f"{row.name}.{number}.npy", result)
    return results


class Work:
    """One row with one peer, ready to be called."""

    def __init__(self, peer: str, device: str, row: Row, scale: float, folder: Path) -> None:
        random = np.random.default_rng(SEED)
        operands = [operand.make(random, scale) for operand in row.inputs]
        self.row, self.peer, self.on_gpu = row, peer, device != "cpu"
        self.expected = reference(row, operands, folder)
        self.contender = peers_of(device)[peer](row, operands, self.expected, device)
        self.operands = [f"{x.dtype}[{','.join(map(str, x.shape))}]" for x in operands]
        self.difference = self._difference()

    def call(self) -> Any:
        return self.contender.call(self.row.steps)

    def _difference(self) -> float:
        result = self.contender.call(min(self.row.steps, CHECKED_STEPS))
        return difference(self.row, [self.contender.host(x) for x in as_tuple(result)], self.expected)

    def prepared(self) -> dict[str, Any]:
        return {
            "operands": self.operands,
            "difference": self.difference,
            "output_bytes": sum(x.nbytes for x in self.expected),
        }

    def turn(self, calls: int) -> dict[str, Any]:
        """The seconds of a call; before several, one more brings back what others evicted from caches."""
        return {"seconds": self._handed_out(calls) if self.on_gpu else self._one_by_one(calls)}

    def _one_by_one(self, calls: int) -> float:
        """The median."""
        times = []
        for _ in range(calls + (calls > 1)):
            start = time.perf_counter()
            result = self.call()
            times.append(time.perf_counter() - start)
            del result
        return statistics.median(times[-calls:])

    def _handed_out(self, calls: int) -> float:
        """The mean of calls that a GPU is given one after the other and that are waited for together."""
        self.contender.wait(self.call())
        start = time.perf_counter()
        for _ in range(calls):
            result = self.call()
        self.contender.wait(result)
        return (time.perf_counter() - start) / calls

    def check(self) -> dict[str, Any]:
        return {"difference": self._difference()}

    def memory(self) -> dict[str, Any]:
        """By how much resident memory grows at its peak during a call, with nothing kept for reuse before."""
        if self.peer == "toonygrad":
            import toonygrad

            toonygrad.trim_memory()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is resident now
        before = _status("VmRSS")
        result = self.call()
        peak = _status("VmHWM")
        del result
        return {"peak_bytes": peak - before}


def _status(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def serve(peer: str, device: str, requests: TextIO, replies: TextIO) -> None:
    """Answer requests until there are no more."""
    work: Work | None = None
    for line in requests:
        request = json.loads(line)
        action = request.pop("action")
        answer: dict[str, Any] = {}
        if action == "prepare":
            (row,) = named([request["row"]], rows_of(device))
            work = Work(peer, device, row, request["scale"], Path(request["folder"]))
            answer = work.prepared()
        elif action == "finish":
            work = None
            gc.collect()
        else:
            answer = getattr(work, action)(**request)
        print(json.dumps(answer), file=replies, flush=True)


def tell_failures_to(replies: TextIO) -> None:
    """Let an exception that nobody catches be the last reply, besides a traceback on stderr."""

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        message = " ".join(str(error).split())[:200]
        print(json.dumps({"failure": f"{kind.__name__}: {message}"}), file=replies, flush=True)
        sys.__excepthook__(kind, error, trace)

    sys.excepthook = tell


if __name__ == "__main__":
    # What a peer prints must not come between the replies.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    tell_failures_to(replies)
    np.seterr(all="ignore")
    gc.disable()  # its pauses belong to nobody's turn
    serve(sys.argv[1], sys.argv[2], sys.stdin, replies)
