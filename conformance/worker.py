"""A pytest plugin that makes its process one of several workers; `processes.py` loads it with `-p worker`.

Every worker collects all tests and claims them one by one from a file they share, so none waits while another
has work left. For each test it writes how it ended, and what toonygrad's counters did meanwhile, as one line
of JSON; so a worker that is killed has told everything up to there. May import toonygrad's face.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest
from pytest_metadata.plugin import metadata_key

import toonygrad

__all__: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--claims", required=True, help="the file that holds how many tests are claimed")
    parser.addoption("--events", required=True, help="the file to write to what happens, in lines of JSON")


def pytest_configure(config: pytest.Config) -> None:
    worker = Worker(Path(config.getoption("--claims")), Path(config.getoption("--events")), config)
    config.pluginmanager.register(worker)


class Worker:
    """Claims tests and tells how they end."""

    def __init__(self, claims: Path, events: Path, config: pytest.Config) -> None:
        self._config = config
        self._claims = os.open(claims, os.O_RDWR | os.O_CREAT, 0o600)
        self._events = events.open("w", encoding="utf-8")
        self._before = toonygrad.counters()
        self._outcome, self._seconds, self._message = "passed", 0.0, ""

    def _tell(self, **event: Any) -> None:
        print(json.dumps(event), file=self._events, flush=True)

    def _claim(self, wanted: int = 1) -> int:
        """The index of the first of so many tests that nobody has claimed before."""
        fcntl.flock(self._claims, fcntl.LOCK_EX)
        try:
            first = int.from_bytes(os.pread(self._claims, 8, 0), "little")
            os.pwrite(self._claims, (first + wanted).to_bytes(8, "little"), 0)
        finally:
            fcntl.flock(self._claims, fcntl.LOCK_UN)
        return first

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        # What pytest's own loop does in these two cases is right here too.
        if session.testsfailed or self._config.option.collectonly:
            return None
        items = session.items
        self._tell(event="collected", tests=[item.nodeid for item in items])
        while (index := self._claim()) < len(items):
            # Which test this worker claims next is not known yet, so nothing is kept set up for it.
            self._config.hook.pytest_runtest_protocol(item=items[index], nextitem=None)
            stop = session.shouldfail or session.shouldstop
            if stop:
                self._claim(len(items))  # -x and --maxfail stop the others as well
                failed = session.Failed if session.shouldfail else session.Interrupted
                raise failed(stop)
        return True

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._outcome, self._seconds, self._message = "passed", 0.0, ""
        self._tell(event="began", test=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds += report.duration
        status = self._config.hook.pytest_report_teststatus(report=report, config=self._config)
        if status[0] not in ("", "passed"):
            self._outcome = status[0]
            self._message = _message(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        now = toonygrad.counters()
        spent, self._before = now - self._before, now
        self._tell(
            event="ended",
            test=nodeid,
            outcome=self._outcome,
            seconds=self._seconds,
            message=self._message,
            compiled=spent.kernels_compiled,
            loaded=spent.kernels_loaded,
            launched=spent.kernels_launched,
            host_steps=spent.host_steps,
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_json_modifyreport(self, json_report: dict[str, Any]) -> None:
        # pytest-metadata 3 moved it; pytest-json-report 1.5 looks where it lay before and finds nothing.
        json_report["environment"] = self._config.stash[metadata_key]

    def pytest_sessionfinish(self) -> None:
        self._events.close()
        os.close(self._claims)


def _message(report: pytest.TestReport) -> str:
    """The reason in one line: of the exception, or of the skip."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = report.longreprtext.strip() if crash is None else crash.message
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
