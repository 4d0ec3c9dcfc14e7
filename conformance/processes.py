"""The worker processes of a run: starts them, follows what they tell, starts another where one is killed.

`run.py` makes a `Run` and follows it; what happens inside a worker is in `worker.py`. This file imports only
the standard library and `report.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from report import Result

__all__ = ["Run", "WorkerError", "environment"]

_LISTENS_EVERY = 0.1  # seconds; tests take from 2 ms to minutes, and a bar need not be faster than the eye
_FINISHED, _FAILED, _NOTHING_COLLECTED = 0, 1, 5  # pytest's exit codes


class WorkerError(Exception):
    """A worker could not do its work: the message holds the end of what it printed."""


@dataclass
class _Process:
    """One pytest process, what it has told so far, and the test it is in."""

    process: subprocess.Popen[bytes]
    log: Path
    report: Path
    events: TextIO
    unfinished: str = ""
    inside: str | None = None


@dataclass
class Run:
    """Tests shared out among processes.

    Parameters
    ----------
    root : Path
        The folder of the suite, where the processes run.
    folder : Path
        An empty folder for the workers' logs, events and reports.
    arguments : sequence of str
        What pytest is given.
    environment : mapping
        The workers' environment.
    with_reports : bool
        Whether each worker writes a report in pytest-json-report's form.

    Attributes
    ----------
    collected : list of str
        The ids of all tests, known once the first worker has collected them.
    """

    root: Path
    folder: Path
    arguments: Sequence[str]
    environment: Mapping[str, str]
    with_reports: bool
    collected: list[str] = field(default_factory=list)
    _alive: list[_Process] = field(default_factory=list)
    _reports: list[Path] = field(default_factory=list)
    _started: int = 0

    def follow(self, workers: int) -> Generator[list[Result]]:
        """Run everything on so many processes; gives, some times a second, what has ended since.

        Raises
        ------
        WorkerError
            When pytest can't collect the suite, or a worker dies outside a test.
        """
        try:
            for _ in range(workers):
                self._start()
            while self._alive:
                time.sleep(_LISTENS_EVERY)
                # Whether it has ended is asked before its last words are read, so none are lost.
                ended = [worker for worker in self._alive if worker.process.poll() is not None]
                results = [result for worker in self._alive for result in self._listen(worker)]
                for worker in ended:
                    results += self._bury(worker)
                yield results
        finally:
            for worker in self._alive:
                worker.process.kill()
                worker.process.wait()
                worker.events.close()

    def reports(self) -> list[dict[str, Any]]:
        """What the workers that ended by themselves reported."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in self._reports if path.exists()]

    def _start(self) -> None:
        name = f"worker{self._started}"
        self._started += 1
        log, report, events = (self.folder / f"{name}.{kind}" for kind in ("log", "json", "events"))
        events.touch()
        command = [sys.executable, "-m", "pytest", "-p", "worker", "-p", "no:cacheprovider"]
        command += [f"--claims={self.folder / 'claims'}", f"--events={events}"]
        if self.with_reports:
            command += ["--json-report", f"--json-report-file={report}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *self.arguments],
                cwd=self.root,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._alive.append(_Process(process, log, report, events.open(encoding="utf-8")))

    def _listen(self, worker: _Process) -> Iterator[Result]:
        worker.unfinished += worker.events.read()
        *lines, worker.unfinished = worker.unfinished.split("\n")
        for event in map(json.loads, lines):
            kind = event.pop("event")
            if kind == "collected":
                # What they claim are indices into this list.
                if self.collected and self.collected != event["tests"]:
                    raise WorkerError("two workers collected different tests, so they can't share them out")
                self.collected = event["tests"]
            elif kind == "began":
                worker.inside = event["test"]
            else:
                worker.inside = None
                yield Result(**event)

    def _bury(self, worker: _Process) -> Iterator[Result]:
        """Take a process that ended off the list; where it was killed in a test, another takes its place."""
        self._alive.remove(worker)
        worker.events.close()
        code = worker.process.returncode
        if worker.inside is not None:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            yield Result(worker.inside, "error", 0.0, f"the process died in this test: {how}")
            self._start()
        elif code in (_FINISHED, _FAILED):
            self._reports.append(worker.report)
        else:
            why = "no test was collected" if code == _NOTHING_COLLECTED else f"pytest ended with {code}"
            end = worker.log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise WorkerError(f"{why}; the end of its output:\n{end}")


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these changes, without the variables by which the suite skips tests."""
    excuses = ("ARRAY_API_TESTS_SKIP_DTYPES", "ARRAY_API_TESTS_XFAIL_MARK")
    return {name: value for name, value in os.environ.items() if name not in excuses} | dict(changes)
