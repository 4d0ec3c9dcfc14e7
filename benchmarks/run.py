"""Time every row with every peer: toonygrad, NumPy, JAX, torch.compile and hand-written Numba loops.

    python benchmarks/run.py                                   # everything, some minutes
    python benchmarks/run.py --only 'chain*' softmax --rounds 15
    python benchmarks/run.py --scale 0.02 --peers toonygrad jax
    python benchmarks/run.py --plot rows.png --report rows.json
    python benchmarks/run.py --memory                          # peak memory instead of time
    python benchmarks/run.py --device cuda                     # other rows: a GPU's, beside a copy and CuPy

Each peer runs in a process of its own. They take turns, and ratios are medians of those between neighbouring
turns. Operands are converted and code is compiled before; allocating the output counts, dropping it doesn't.
A GPU is handed some calls one after the other, which are waited for together. Every result is compared with
NumPy's before the first turn and after the last.
"""

import argparse
import dataclasses
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import machine
import peers
from gpu_rows import rows_of
from rows import Row, named
from side_by_side import Measured, table, verdict

WORKER = Path(__file__).resolve().parent / "worker.py"
OURS, LOOP, COPY = "toonygrad", "loop", "copy"
# What memory allows, and nobody that allocates outputs can beat by much: on the CPU and on a GPU.
CEILINGS = (LOOP, COPY)

# A turn's calls fill this; what takes longer is called once.
TURN_SECONDS, MOST_CALLS = 0.05, 2000
# Threads of the peer before may still be spinning for work: libgomp's for some milliseconds.
PAUSE_SECONDS = 0.01

# What was promised: against the best peer, against the hand-written loop, and for the shortest row.
GEOMETRIC_MEAN, EVERY_ROW, BANDWIDTH, TEN_OPERATIONS_MS = 1.5, 1.0, 0.85, 0.035
TEN_OPERATIONS = "ten-operations"

# JAX takes a GPU wherever there is one, and most of its memory, of which the others need some.
JAX_SETTINGS = {True: {"JAX_PLATFORMS": "cpu"}, False: {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}}

GOOD, BAD, INTERRUPTED = 0, 1, 130


class PeerFailed(Exception):
    """A worker ended; the message says why, as far as it could tell."""


class Worker:
    """A process that runs rows with one peer; see `worker.py` for what it can be asked."""

    def __init__(self, peer: str, device: str, environment: dict[str, str], verbose: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, WORKER, peer, device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if verbose else subprocess.DEVNULL,
            text=True,
            env=environment,
            process_group=0,  # Ctrl-C is the parent's to answer
        )

    def send(self, action: str, **details: Any) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # why it ended, receive tells
            print(json.dumps({"action": action, **details}), file=self._process.stdin, flush=True)

    def receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerFailed(f"its process ended with {self._process.wait()}")
        answer = json.loads(line)
        if "failure" in answer:
            raise PeerFailed(answer["failure"])
        return answer

    def ask(self, action: str, **details: Any) -> Any:
        self.send(action, **details)
        return self.receive()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclasses.dataclass
class Result:
    """What was found out about one row.

    Attributes
    ----------
    seconds : dict of str to list of float
        Of each peer's turns.
    differences : dict of str to float
        From NumPy's result, as a part of its largest magnitude.
    failures : dict of str to str
        Why a peer has no times.
    peak_bytes : dict of str to int
        By how much a call makes the resident memory grow at most.
    """

    row: str
    listed: bool
    of_copy: float | None = None
    operands: list[str] = dataclasses.field(default_factory=list)
    output_bytes: int = 0
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    differences: dict[str, float] = dataclasses.field(default_factory=dict)
    failures: dict[str, str] = dataclasses.field(default_factory=dict)
    peak_bytes: dict[str, int] = dataclasses.field(default_factory=dict)

    def prepared(self, peer: str, answer: dict[str, Any]) -> None:
        self.operands, self.output_bytes = answer["operands"], answer["output_bytes"]
        self.differences[peer] = answer["difference"]

    @property
    def measured(self) -> Measured:
        return Measured(self.seconds)

    @property
    def best(self) -> str | None:
        """The fastest of the others that are called as toonygrad is."""
        others = [peer for peer in self.seconds if peer not in (OURS, *CEILINGS)]
        return min(others, key=self.measured.median) if others else None

    @property
    def ratios(self) -> dict[str, float]:
        """Of each other peer's time to ours."""
        return {peer: self.measured.ratio(peer, OURS) for peer in self.seconds if peer != OURS}

    @property
    def times_best(self) -> float | None:
        """How many times faster than the best peer."""
        return self.measured.ratio(self.best, OURS) if self.best and OURS in self.seconds else None

    @property
    def times_ceiling(self) -> float | None:
        """The part of the bandwidth of the hand-written loop, or of a copy on a GPU."""
        for ceiling in CEILINGS:
            if {OURS, ceiling} <= self.seconds.keys():
                return self.measured.ratio(ceiling, OURS)
        return None


class Progress:
    """On stderr: a bar on a terminal, and elsewhere a line for each row that is done."""

    _WIDTH = 30

    def __init__(self, rows: int, steps: int) -> None:
        self._rows, self._steps = rows, steps  # a row's steps
        self._row, self._step, self._start = 0, 0, time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    def step(self, text: str) -> None:
        if self._is_terminal:
            done = (self._row + min(self._step / self._steps, 1)) / self._rows
            bar = f"[{'#' * int(self._WIDTH * done):{self._WIDTH}}] {self._row}/{self._rows}"
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{f'{bar}  {self._time()}  {text}'[:width]}", end="", file=sys.stderr, flush=True)
        self._step += 1

    def row(self, text: str) -> None:
        self._row, self._step = self._row + 1, 0
        if not self._is_terminal:
            print(f"{self._time()}  {self._row}/{self._rows}  {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _time(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        return f"{minutes}:{seconds:02}"


class Bench:
    """Rows, peers and what they run with."""

    def __init__(self, options: argparse.Namespace, environment: dict[str, str]) -> None:
        self.device: str = options.device
        self.rows: list[Row] = named(options.only, rows_of(self.device))
        self.peers: list[str] = options.peers
        self.scale: float = options.scale
        self.rounds: int = options.rounds
        self._environment, self._verbose = environment, options.verbose
        self._workers: dict[str, Worker] = {}

    def run(self, memory: bool) -> Iterator[Result]:
        """The results, row by row."""
        progress = Progress(len(self.rows), 1 + len(self.peers) if memory else 3 + self.rounds)
        try:
            for row in self.rows:
                result = Result(row.name, row.listed, row.of_copy)
                left_out = row.without if row.loop else (*row.without, LOOP)
                taking_part = [peer for peer in self.peers if peer not in left_out]
                with tempfile.TemporaryDirectory(prefix="toonygrad-benchmark-") as folder:
                    request = {"row": row.name, "scale": self.scale, "folder": folder}
                    (self._memory if memory else self._times)(row, request, taking_part, result, progress)
                progress.row(row.name)
                yield result
        finally:
            progress.close()
            for peer in list(self._workers):
                self._end(peer)

    def _times(
        self,
        row: Row,
        request: Mapping[str, Any],
        taking_part: Sequence[str],
        result: Result,
        progress: Progress,
    ) -> None:
        progress.step(f"{row.name}: preparing")
        # The first computes what the others compare with too.
        for some in (taking_part[:1], taking_part[1:]):
            for peer in some:
                self._worker(peer).send("prepare", **request)
            for peer in some:
                with self._noting(peer, result):
                    result.prepared(peer, self._worker(peer).receive())
        calls: dict[str, int] = {}
        for turn in range(self.rounds + 1):
            progress.step(f"{row.name}: round {turn}" if turn else f"{row.name}: warming up")
            for peer in result.differences:
                if peer in result.failures:
                    continue
                time.sleep(PAUSE_SECONDS)
                with self._noting(peer, result):
                    seconds = self._worker(peer).ask("turn", calls=calls.get(peer, 1))["seconds"]
                    if turn:
                        result.seconds.setdefault(peer, []).append(seconds)
                    else:
                        calls[peer] = min(MOST_CALLS, max(1, round(TURN_SECONDS / seconds)))
        progress.step(f"{row.name}: checking")
        for peer in taking_part:
            if peer not in result.failures:
                with self._noting(peer, result):
                    answer = self._worker(peer).ask("check")
                    result.differences[peer] = max(result.differences[peer], answer["difference"])
                    self._worker(peer).ask("finish")
        for peer in result.failures:
            result.seconds.pop(peer, None)

    def _memory(
        self,
        row: Row,
        request: Mapping[str, Any],
        taking_part: Sequence[str],
        result: Result,
        progress: Progress,
    ) -> None:
        for peer in taking_part:
            progress.step(f"{row.name}: {peer}")
            with self._noting(peer, result):
                worker = self._worker(peer)
                result.prepared(peer, worker.ask("prepare", **request))
                result.peak_bytes[peer] = worker.ask("memory")["peak_bytes"]
                self._end(peer)  # each in a new process, whose memory holds nothing of another row

    def _worker(self, peer: str) -> Worker:
        if peer not in self._workers:
            self._workers[peer] = Worker(peer, self.device, self._environment, self._verbose)
        return self._workers[peer]

    def _end(self, peer: str) -> None:
        self._workers.pop(peer).close()

    @contextmanager
    def _noting(self, peer: str, result: Result) -> Iterator[None]:
        """A peer that fails is left out of the row, and starts anew with the next."""
        try:
            yield
        except PeerFailed as failure:
            result.failures[peer] = str(failure)
            self._end(peer)


# -- what is told --------------------------------------------------------------------------------------------


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def times_table(results: Sequence[Result], peers: Sequence[str]) -> str:
    """Milliseconds, how many times faster than the best we are, our part of a ceiling's bandwidth."""
    ceiling = COPY if COPY in peers else LOOP
    rows = []
    for result in results:
        median = result.measured.median
        times = [_milliseconds(median(peer)) if peer in result.seconds else "-" for peer in peers]
        ratios = _or_dash(result.times_best, ".2f"), _or_dash(result.times_ceiling, ".2f")
        operand = result.operands[0] if result.operands else "-"
        rows.append((result.row, operand, *times, result.best or "-", *ratios))
    return table(("ms", "first operand", *peers, "best", "times faster", f"of the {ceiling}"), rows)


def memory_table(results: Sequence[Result], peers: Sequence[str]) -> str:
    """Megabytes by which memory grew at its peak during a call, and how much of that is the outputs."""
    rows = []
    for result in results:
        peaks = [result.peak_bytes.get(peer) for peer in peers]
        ours = result.peak_bytes.get(OURS)
        # Where an output is a number, only what is beyond it can tell.
        beyond = None if ours is None else (ours - result.output_bytes) / 1e6
        rows.append(
            (
                result.row,
                f"{result.output_bytes / 1e6:.2f}",
                *(_or_dash(None if peak is None else peak / 1e6, ".2f") for peak in peaks),
                _or_dash(beyond, ".2f"),
            )
        )
    return table(("MB at the peak of a call", "outputs", *peers, "ours beyond outputs"), rows)


def verdicts(results: Sequence[Result]) -> Iterator[str]:
    """Geometric means, and what was promised beside what was measured."""
    on_gpu = any(COPY in r.seconds for r in results)
    for title, chosen in (
        ("listed rows", [r for r in results if r.listed and r.row != TEN_OPERATIONS]),
        ("other rows", [r for r in results if not r.listed]),
    ):
        ratios = {r.row: r.times_best for r in chosen if r.times_best is not None}
        if ratios:
            mean = statistics.geometric_mean(ratios.values())
            slowest = min(ratios, key=lambda row: ratios[row])
            least = EVERY_ROW if on_gpu else GEOMETRIC_MEAN
            yield verdict(f"{title}, geometric mean of {len(ratios)}", mean, "times", least=least)
            yield verdict(f"{title}, least ({slowest})", ratios[slowest], "times", least=EVERY_ROW)
        loops = {r.row: r.times_ceiling for r in chosen if LOOP in r.seconds and r.times_ceiling is not None}
        if loops:
            slowest = min(loops, key=lambda row: loops[row])
            what = f"{title}, least of a loop's bandwidth ({slowest})"
            yield verdict(what, loops[slowest], "times", least=BANDWIDTH)
    for result in results:
        if result.of_copy is not None and result.times_ceiling is not None:
            yield verdict(f"{result.row}, of a copy", result.times_ceiling, "times", least=result.of_copy)
        if result.row == TEN_OPERATIONS and OURS in result.seconds and not on_gpu:
            yield verdict(result.row, result.measured.median(OURS) * 1e3, "ms", most=TEN_OPERATIONS_MS)


def _report(results: Sequence[Result], options: argparse.Namespace, about: str, used: Sequence[str]) -> str:
    facts = {
        "machine": about,
        "versions": [peers.package_version(peer) for peer in used],
        "scale": options.scale,
        "rounds": options.rounds,
        "threads": options.threads,
        "rows": [
            dataclasses.asdict(r)
            | {"best": r.best, "times_best": r.times_best, "times_ceiling": r.times_ceiling}
            for r in results
        ],
    }
    return json.dumps(facts, indent=1, allow_nan=False)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    def positive(text: str) -> int:
        number = int(text)
        if number < 1:
            raise argparse.ArgumentTypeError(f"{number} is not at least 1")
        return number

    def factor(text: str) -> float:
        number = float(text)
        if not 0 < number < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a factor")
        return number

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    available = len(machine.cores())
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="names or patterns (all)")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda, cuda:1 and so on (cpu)")
    parser.add_argument("--peers", nargs="+", default=[], metavar="PEER", help="some of them (all)")
    parser.add_argument("--scale", type=factor, default=1.0, metavar="F", help="of the operands' sizes (1)")
    parser.add_argument("--rounds", type=positive, default=9, metavar="N", help="turns of each peer (9)")
    parser.add_argument("--threads", type=positive, default=available, metavar="N", help=f"({available})")
    parser.add_argument("--memory", action="store_true", help="measure peak memory and not time")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the ratios")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write all that was measured")
    parser.add_argument("--verbose", action="store_true", help="show what peers write on stderr")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    options = parser.parse_args(arguments)
    if not re.fullmatch(r"cpu|cuda(:\d+)?", options.device):
        parser.error(f"--device {options.device}: expected cpu, cuda or cuda: and a number")
    known = peers.peers_of(options.device)
    options.peers = options.peers or list(known)
    for peer in options.peers:
        if peer not in known:
            parser.error(f"--peers {peer}: there are {', '.join(known)}")
    if options.memory and options.device != "cpu":
        parser.error("--memory measures the memory of the host")
    try:
        named(options.only, rows_of(options.device))
    except ValueError as error:
        parser.error(str(error))
    if options.threads > available:
        parser.error(f"--threads {options.threads}: there are {available} cores")
    if options.memory and options.plot:
        parser.error("--plot draws times, --memory measures none")
    if options.plot and find_spec("matplotlib") is None:
        parser.error("--plot: matplotlib is not installed")
    for file in (options.plot, options.report):
        if file and not file.absolute().parent.is_dir():
            parser.error(f"{file}: no such folder")
    return options


def main(arguments: Sequence[str]) -> int:
    """The exit code of a run with these arguments: bad where a peer failed or gave a wrong result."""
    options = parse(arguments)
    if options.list:
        print("\n".join(row.name for row in rows_of(options.device)))
        return GOOD
    missing = {peer: why for peer in options.peers if (why := peers.why_missing(peer))}
    options.peers = [peer for peer in options.peers if peer not in missing]
    environment = machine.keep_to(options.threads) | JAX_SETTINGS[options.device == "cpu"]
    about = machine.description(options.threads)
    if options.device != "cpu":
        about = f"{machine.gpu(options.device)}; {about}"
    print(about)
    print(", ".join(peers.package_version(peer) for peer in options.peers))
    for peer, why in missing.items():
        print(f"{peer}: {why}")
    print()

    results: list[Result] = []
    interrupted = False
    try:
        for result in Bench(options, environment).run(options.memory):
            results.append(result)
    except KeyboardInterrupt:
        interrupted = True
        print(f"interrupted after {len(results)} rows:")
    print((memory_table if options.memory else times_table)(results, options.peers), end="\n\n")
    failures = [(r.row, peer, why) for r in results for peer, why in r.failures.items()]
    for row, peer, why in failures:
        print(f"{row}, {peer}: {why}")
    if options.scale != 1:
        print(f"operands scaled by {options.scale:g}; the claims are for 1:")
    for line in verdicts(results):
        print(line)
    if options.report:
        options.report.write_text(_report(results, options, about, options.peers))
    if options.plot:
        import plot

        drawn = {result.row: result.ratios for result in results if OURS in result.seconds}
        plot.draw(drawn, about, options.plot)
    return INTERRUPTED if interrupted else BAD if failures else GOOD


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
