"""A process that runs rows with one peer, told by `run.py` what to do next: a line of JSON each way.

    python benchmarks/worker.py PEER

The requests are `prepare` (a row: make its operands, warm up, check), `turn` (time some calls), `check`
(compare the result once more), `memory` (the most that one more call needs) and `finish`. Whatever goes wrong
is told in the last reply, and ends the process.
"""

import ctypes
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
from peers import PEERS, as_tuple
from rows import Row, named

SEED = 20261122


class WrongResult(Exception):
    """A peer's result is farther from NumPy's than the row allows."""


def difference(row: Row, result: Any, expected: Sequence[np.ndarray]) -> float:
    """The largest difference from NumPy, as a part of NumPy's largest magnitude.

    Raises
    ------
    WrongResult
        More than the row allows, or another shape.
    """
    found = [np.asarray(x) for x in as_tuple(result)]
    if [x.shape for x in found] != [x.shape for x in expected]:
        raise WrongResult(f"shapes {[x.shape for x in found]}, not {[x.shape for x in expected]}")
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        # As float64: small integers would wrap, and JAX's may be narrower than NumPy's.
        far = float(np.max(np.abs(ours.astype(np.float64) - theirs)))
        worst = max(worst, far / max(float(np.max(np.abs(theirs))), math.ulp(0)))
    if not worst <= row.within:  # also where it isn't a number
        raise WrongResult(f"differs by {worst:.1e}, of which {row.within:.1e} are allowed")
    return worst


class Work:
    """One row with one peer, ready to be called."""

    def __init__(self, peer: str, row: Row, scale: float) -> None:
        random = np.random.default_rng(SEED)
        operands = [operand.make(random, scale) for operand in row.inputs]
        self.row, self.peer = row, peer
        self.expected = [np.asarray(x) for x in as_tuple(row.function(np, *operands))]
        self.call = PEERS[peer](row, operands, self.expected)
        self.difference = difference(row, self.call(), self.expected)
        self.operands = [f"{x.dtype}[{','.join(map(str, x.shape))}]" for x in operands]

    def prepared(self) -> dict[str, Any]:
        return {
            "operands": self.operands,
            "difference": self.difference,
            "output_bytes": sum(x.nbytes for x in self.expected),
        }

    def turn(self, calls: int) -> dict[str, Any]:
        """The median of some calls; before several, one more brings back what others evicted from caches."""
        times = []
        for _ in range(calls + (calls > 1)):
            start = time.perf_counter()
            result = self.call()
            times.append(time.perf_counter() - start)
            del result
        return {"seconds": statistics.median(times[-calls:])}

    def check(self) -> dict[str, Any]:
        return {"difference": difference(self.row, self.call(), self.expected)}

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


def serve(peer: str, requests: TextIO, replies: TextIO) -> None:
    """Answer requests until there are no more."""
    work: Work | None = None
    for line in requests:
        request = json.loads(line)
        action = request.pop("action")
        answer: dict[str, Any] = {}
        if action == "prepare":
            (row,) = named([request["row"]])
            work = Work(peer, row, request["scale"])
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
    serve(sys.argv[1], sys.stdin, replies)
