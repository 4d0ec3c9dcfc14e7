"""Run the official array API suite, at a pinned commit, against this checkout of toonygrad.

    python conformance/run.py                          # clones the suite, 20 examples for each test
    python conformance/run.py --suite ../array-api-tests --examples 200 --compile always
    python conformance/run.py --only linalg fft -- -x  # two chapters, up to the first failure
    python conformance/run.py --device cuda            # arrays on a GPU

There is no file of skips and none of expected failures: every test runs. The exit code is 0 where nothing
failed, 1 where something did, 2 where the suite could not be run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import processes
import report
import suite

ROOT = Path(__file__).resolve().parent.parent

GOOD, BAD, CANNOT_RUN, INTERRUPTED = 0, 1, 2, 130

# These would excuse tests.
_REFUSED = (
    "--skips-file",
    "--xfails-file",
    "--disable-extension",
    "--disable-data-dependent-shapes",
    "--disable-dds",
)

# The suite was written for CPUs: this test asks for elements on the CPU with copy=False, where the standard
# wants a BufferError of arrays on a GPU. tests/test_devices.py does the same with the error in its place.
_OF_CPUS_ONLY = ("array_api_tests/test_dlpack.py::test_dunder_dlpack",)


# -- the command line ----------------------------------------------------------------------------------------


def _cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _cache_folder() -> Path:
    """Where the suite, kernels and failing examples are kept, apart from the user's own kernels."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "toonygrad-conformance"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; what follows ``--`` is pytest's."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    own, pytest_arguments = arguments[:at], list(arguments[at + 1 :])
    parser = argparse.ArgumentParser(
        description="Run the official array API suite at a pinned commit against this checkout.",
        epilog="Arguments after -- go to pytest as they are.",
    )
    parser.add_argument("--suite", type=Path, metavar="DIR", help="a copy of the suite; default: cloned")
    parser.add_argument("--examples", type=_positive, default=20, metavar="N", help="for each test (20)")
    parser.add_argument("--compile", choices=("auto", "always", "never"), default="auto", help="(auto)")
    parser.add_argument("--device", default="cpu", help="where arrays are made: cpu, cuda, cuda:1 (cpu)")
    parser.add_argument(
        "--workers", type=_positive, default=_cores(), metavar="N", help="processes (%(default)s)"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="CHAPTER", help="chapters, as the summary names them"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write pytest-json-report's JSON there")
    parser.add_argument("--cold", action="store_true", help="empty the runner's kernel cache first")
    options = parser.parse_args(own)
    for argument in pytest_arguments:
        if argument.partition("=")[0] in _REFUSED:
            parser.error(f"{argument} excuses tests; this run knows no skips and no expected failures")
    options.pytest = pytest_arguments
    return options


def chosen_files(root: Path, only: Sequence[str]) -> list[str]:
    """The suite's test files for these chapters, or for all; a part of a chapter's name is enough.

    Raises
    ------
    suite.SuiteError
        For a name that fits no chapter.
    """
    files = sorted((root / "array_api_tests").glob("test_*.py"))
    chapters = {report.chapter_of(file.name): f"array_api_tests/{file.name}" for file in files}
    if not only:
        return list(chapters.values())
    chosen: list[str] = []
    for name in only:
        fitting = [name] if name in chapters else [chapter for chapter in chapters if name in chapter]
        if not fitting:
            raise suite.SuiteError(f"--only {name}: no such chapter; there are {', '.join(chapters)}")
        chosen += [chapters[chapter] for chapter in fitting]
    return list(dict.fromkeys(chosen))


def left_out(device: str) -> Sequence[str]:
    """Tests that contradict the standard where arrays aren't on the CPU."""
    return () if device == "cpu" else _OF_CPUS_ONLY


def worker_environment(options: argparse.Namespace, cache: Path) -> dict[str, str]:
    """What a worker runs in: this checkout, the settings asked for, and its share of the cores."""
    threads = str(max(1, _cores() // options.workers))
    path = [str(ROOT), str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")]
    return processes.environment(
        {
            "ARRAY_API_TESTS_MODULE": "toonygrad",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(cache / "hypothesis"),
            "OPENBLAS_NUM_THREADS": threads,
            "PYTHONHASHSEED": "0",  # the workers must collect the tests in one order
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "TOONYGRAD_CACHE_DIR": str(cache / "kernels"),
            "TOONYGRAD_COMPILE": options.compile,
            "TOONYGRAD_DEVICE": options.device,
            "TOONYGRAD_NUM_THREADS": threads,
        }
    )


# -- progress ------------------------------------------------------------------------------------------------


class Progress:
    """A bar on a terminal; elsewhere, as in a log, a line for each chapter that is done."""

    _WIDTH = 30

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._start = time.monotonic()
        self._left: dict[str, int] = {}

    def __call__(
        self, results: Sequence[report.Result], new: Sequence[report.Result], tests: Sequence[str]
    ) -> None:
        for result in new:
            if not result.is_good:
                self._line(f"{result.outcome:8}{result.test}")
        if self._is_terminal:
            self._bar(results, len(tests))
        else:
            self._chapters(results, new, tests)

    def _line(self, text: str) -> None:
        print(f"\r\033[K{text}" if self._is_terminal else text, flush=True)

    def _bar(self, results: Sequence[report.Result], tests: int) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        filled = self._WIDTH * len(results) // max(tests, 1)
        bad = sum(not result.is_good for result in results)
        compiled = sum(result.compiled for result in results)
        text = (
            f"[{'#' * filled:{self._WIDTH}}] {len(results)}/{tests or '?'}  {bad} failed  {compiled} compiled"
        )
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\033[K{f'{text}  {minutes}:{seconds:02}'[:width]}", end="", flush=True)

    def _chapters(
        self, results: Sequence[report.Result], new: Sequence[report.Result], tests: Sequence[str]
    ) -> None:
        if not self._left:
            for test in tests:
                chapter = report.chapter_of(test)
                self._left[chapter] = self._left.get(chapter, 0) + 1
        for result in new:
            chapter = report.chapter_of(result.test)
            self._left[chapter] -= 1
            if not self._left[chapter]:
                seconds = time.monotonic() - self._start
                self._line(f"{seconds:7.1f} s  {len(results):5} of {len(tests)} tests  {chapter} done")

    def close(self) -> None:
        """Leave the line of the bar."""
        if self._is_terminal:
            print(flush=True)


# -- the run -------------------------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> int:
    """Run the suite as these options say, tell the results, and give the exit code."""
    missing = suite.missing_packages()
    if missing:
        raise suite.SuiteError(
            f'{", ".join(missing)} not installed; to have them: pip install -e ".[conformance]"'
        )
    cache = _cache_folder()
    if options.suite is None:
        root = suite.obtain(cache / "array-api-tests")
    else:
        root = options.suite.resolve()
        suite.check(root)
    files = chosen_files(root, options.only)
    if options.cold:
        shutil.rmtree(cache / "kernels", ignore_errors=True)
    # The suite's limit of 0.8 s an example measures the machine, and while a kernel compiles nothing else.
    arguments = [f"--max-examples={options.examples}", "--disable-deadline", *files]
    arguments += [f"--deselect={test}" for test in left_out(options.device)] + options.pytest

    start, results, progress = time.monotonic(), list[report.Result](), Progress()
    with tempfile.TemporaryDirectory(prefix="toonygrad-conformance-") as folder:
        workers = processes.Run(
            root, Path(folder), arguments, worker_environment(options, cache), options.report is not None
        )
        interrupted = False
        try:
            with contextlib.closing(workers.follow(options.workers)) as news:
                for new in news:
                    results += new
                    progress(results, new, workers.collected)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            progress.close()
        left = len(workers.collected) - len(results)
        clean = bool(results) and not left and all(result.is_good for result in results)
        code = INTERRUPTED if interrupted else GOOD if clean else BAD
        if options.report is not None:
            report.write(options.report, report.merge(workers.reports(), results, workers.collected, code))
    _tell(options, results, left, time.monotonic() - start)
    return code


def _tell(options: argparse.Namespace, results: Sequence[report.Result], left: int, seconds: float) -> None:
    for title, lines in (("skipped", report.excuses(results)), ("not passed", report.failures(results))):
        if lines:
            print(f"\n{title}:\n{lines}")
    print(f"\n{report.summary(results)}\n")
    if left:
        print(f"{left} tests did not run")
    print(
        f"{options.examples} examples, compile={options.compile}, device={options.device}, "
        f"{options.workers} workers: {seconds:.1f} s"
    )
    compiled, loaded, launched, host_steps = (
        sum(getattr(result, name) for result in results)
        for name in ("compiled", "loaded", "launched", "host_steps")
    )
    print(f"kernels: {compiled} compiled, {loaded} loaded from disk, {launched} launched")
    if options.device != "cpu":
        print(f"steps that ran on the host: {host_steps}")
    for test in left_out(options.device):
        print(f"not run, since it asks a GPU for its memory on the CPU without a copy: {test}")


def main(arguments: Sequence[str]) -> int:
    """The exit code of a run with these arguments."""
    try:
        return run(parse(arguments))
    except (suite.SuiteError, processes.WorkerError) as error:
        print(error, file=sys.stderr)
        return CANNOT_RUN


if __name__ == "__main__":
    # As Ctrl-C: the workers end with the runner, and what is known by then is told.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
