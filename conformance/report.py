"""How a run's results are told: by chapter on the terminal, and as one JSON report merged from the workers'.

`run.py` calls `summary`, `failures` and `merge`. This file imports only the standard library.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Result", "chapter_of", "excuses", "failures", "merge", "summary", "write"]


@dataclass(frozen=True)
class Result:
    """How one test ended.

    Attributes
    ----------
    test : str
        Its pytest id.
    outcome : str
        ``passed``, ``failed``, ``error``, ``skipped``, ``xfailed`` or ``xpassed``.
    seconds : float
        Set-up, call and teardown together.
    message : str
        The first line of the exception, or the reason of the skip.
    compiled, loaded, launched : int
        Kernels compiled, loaded from disk and launched meanwhile.
    host_steps : int
        Steps of arrays on a GPU that ran on the host meanwhile.
    """

    test: str
    outcome: str
    seconds: float
    message: str = ""
    compiled: int = 0
    loaded: int = 0
    launched: int = 0
    host_steps: int = 0

    @property
    def is_good(self) -> bool:
        """Whether a clean run may hold it: an expected failure is none."""
        return self.outcome in ("passed", "skipped")


def chapter_of(test: str) -> str:
    """The chapter of the standard that a test file or a test of it belongs to.

    >>> chapter_of("array_api_tests/test_set_functions.py::test_unique_all")
    'set'
    """
    return Path(test.partition("::")[0]).stem.removeprefix("test_").removesuffix("_functions")


# -- on the terminal -----------------------------------------------------------------------------------------

# An expected failure that passes is still a test excused beforehand.
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "passed": ("passed",),
    "failed": ("failed",),
    "errors": ("error",),
    "xfailed": ("xfailed", "xpassed"),
    "skipped": ("skipped",),
}


def _row(name: str, results: Sequence[Result]) -> tuple[str, ...]:
    outcomes = Counter(result.outcome for result in results)
    counts = [str(sum(outcomes[outcome] for outcome in kinds)) for kinds in _COLUMNS.values()]
    kernels = (sum(result.compiled for result in results), sum(result.loaded for result in results))
    return (name, *counts, f"{sum(result.seconds for result in results):.1f}", *map(str, kernels))


def summary(results: Sequence[Result]) -> str:
    """A table with one row for each chapter and one for all.

    Its seconds are those of the tests, added up over the workers.
    """
    chapters: dict[str, list[Result]] = {}
    for result in results:
        chapters.setdefault(chapter_of(result.test), []).append(result)
    head = ("chapter", *_COLUMNS, "seconds", "compiled", "loaded")
    rows = [head, *(_row(name, chapters[name]) for name in sorted(chapters)), _row("all", results)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in cells)
        for cells in (enumerate(zip(row, widths)) for row in rows)
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def failures(results: Iterable[Result]) -> str:
    """A line for each test that did not pass, with the first line of what it said."""
    bad = sorted((result for result in results if not result.is_good), key=lambda result: result.test)
    return "\n".join(f"{result.outcome:8}{result.test}  {result.message}" for result in bad)


def excuses(results: Iterable[Result]) -> str:
    """The reasons of the skips, each with how many tests it kept from running."""
    reasons = Counter(result.message for result in results if result.outcome == "skipped")
    return "\n".join(f"{count:6}  {reason}" for reason, count in reasons.most_common())


# -- as JSON -------------------------------------------------------------------------------------------------


def _entry(result: Result) -> dict[str, Any]:
    """What pytest-json-report would say of a test, for one whose process did not live to say it."""
    # Of its three phases only these two outcomes tell anything; an error lies outside the call.
    phase = "setup" if result.outcome == "error" else "call"
    outcome = {"error": "failed", "xfailed": "skipped", "xpassed": "passed"}.get(
        result.outcome, result.outcome
    )
    stage: dict[str, Any] = {"duration": result.seconds, "outcome": outcome}
    if result.message:
        stage["longrepr"] = result.message
    return {"nodeid": result.test, "outcome": result.outcome, phase: stage}


def merge(
    reports: Sequence[Mapping[str, Any]], results: Sequence[Result], collected: Sequence[str], exitcode: int
) -> dict[str, Any]:
    """One report in pytest-json-report's form out of those of several workers.

    Parameters
    ----------
    reports : sequence of dict
        What the workers that ended by themselves wrote, in pytest-json-report's form.
    results : sequence of Result
        How every test ended, also those of workers that were killed.
    collected : sequence of str
        The ids of all tests, in the order in which the merged report lists them.
    exitcode : int
        That of the run.
    """
    entries = {result.test: _entry(result) for result in results}
    entries |= {test["nodeid"]: test for report in reports for test in report["tests"]}
    order = {test: index for index, test in enumerate(collected)}
    tests = sorted(entries.values(), key=lambda entry: order.get(entry["nodeid"], len(order)))
    first: Mapping[str, Any] = reports[0] if reports else {}
    deselected = first.get("summary", {}).get("deselected", 0)
    counts = Counter(entry["outcome"] for entry in tests)
    whole: dict[str, Any] = {
        # pytest-json-report stamps a report as its session ends; so does the last of ours.
        "created": max((report["created"] for report in reports), default=0.0),
        "duration": max((report["duration"] for report in reports), default=0.0),
        "exitcode": exitcode,
        "root": first.get("root", ""),
        "environment": first.get("environment", {}),
        "summary": {**counts, "total": len(tests), "collected": len(collected) + deselected},
        # Every worker collects everything.
        "collectors": first.get("collectors", []),
        "tests": tests,
        "warnings": _warnings(reports),
    }
    if deselected:
        whole["summary"]["deselected"] = deselected
    return whole


def _warnings(reports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The workers' warnings, equal ones once; the suite counts its own so, to keep reports small."""
    counts: Counter[tuple[tuple[str, Any], ...]] = Counter()
    for report in reports:
        for warning in report.get("warnings", ()):
            facts = tuple(sorted((key, value) for key, value in warning.items() if key != "count"))
            counts[facts] += warning.get("count", 1)
    return [{**dict(facts), "count": count} for facts, count in counts.items()]


def write(path: Path, report: Mapping[str, Any]) -> None:
    """Put a report on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
