"""Holds conformance/run.py to what it tells, on a suite of a dozen tests in place of the official one.

The small suite lies in a git checkout of its own, and the pins are set to its commits; no network is used.
"""

import dataclasses
import importlib
import io
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The runner is a script: its modules lie beside it and are in no package.
sys.path.append(str(ROOT / "conformance"))
processes, report, run, suite = map(importlib.import_module, ("processes", "report", "run", "suite"))

CONFTEST = """
import pytest

def pytest_addoption(parser):
    parser.addoption("--max-examples", type=int)
    parser.addoption("--disable-deadline", action="store_true")

@pytest.fixture
def broken():
    raise RuntimeError("no set-up")

def pytest_metadata(metadata):
    metadata["array_api_tests_module"] = "toonygrad"
"""

GOOD_CHAPTERS = {
    "test_fft.py": """
        import pytest
        import warnings

        @pytest.mark.parametrize("n", range(12))
        def test_fft(n, request):
            warnings.warn("the same each time")
            assert request.config.getoption("--max-examples") == 7
        """,
    "test_statistical_functions.py": """
        import pytest
        import toonygrad as xp

        def test_sum():
            assert xp.config and float(xp.sum(xp.asarray([1.0, 2.0]))) == 3.0

        @pytest.mark.skip(reason="flaky")
        def test_mean():
            pass
        """,
}

BAD_CHAPTER = """
    import pytest

    def test_union(): assert 1 + 1 == 3
    def test_broken(broken): pass
    @pytest.mark.xfail
    def test_excused(): assert False
    @pytest.mark.xfail
    def test_excused_without_need(): pass
    def test_intersection(): pass
    """

DEADLY_CHAPTER = """
    import os, pytest, signal

    def test_first(): pass
    def test_deadly(): os.kill(os.getpid(), signal.SIGKILL)
    def test_last(): pass
    """


def git(folder, *arguments):
    identity = ("-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", "-C", folder, *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def repository(folder, files):
    """A git repository of these files; gives its commit."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    git(folder, "init", "--quiet")
    git(folder, "add", *files)
    git(folder, "commit", "--quiet", "--message", "pin")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def make_suite(tmp_path, monkeypatch):
    """Makes a suite of these test files at the pins, and gives its folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def make(chapters, conftest=CONFTEST):
        root = tmp_path / "suite"
        files = {f"array_api_tests/{name}": text for name, text in chapters.items()}
        commit = repository(root, {"conftest.py": conftest, "array_api_tests/__init__.py": "", **files})
        standard = repository(root / "array-api", {"README.md": "the standard"})
        moved = {"SUITE": (root, commit), "STANDARD": (root / "array-api", standard)}
        for name, (folder, pin) in moved.items():
            changed = dataclasses.replace(getattr(suite, name), url=str(folder), commit=pin)
            monkeypatch.setattr(suite, name, changed)
        return root

    return make


def ran(capsys, *arguments):
    """The exit code of a run, and what it printed."""
    code = run.main(list(arguments))
    printed = capsys.readouterr()
    return code, printed.out + printed.err


# -- whole runs ----------------------------------------------------------------------------------------------


def test_a_clean_run(make_suite, capsys, tmp_path):
    root, file = make_suite(GOOD_CHAPTERS), tmp_path / "new" / "report.json"
    options = ("--examples", "7", "--workers", "2", "--compile", "always", "--cold", "--report", str(file))
    code, printed = ran(capsys, "--suite", str(root), *options)
    assert code == 0, printed
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line[:1].isalpha()}
    assert rows["chapter"] == [
        "passed",
        "failed",
        "errors",
        "xfailed",
        "skipped",
        "seconds",
        "compiled",
        "loaded",
    ]
    assert rows["fft"][:5] == ["12", "0", "0", "0", "0"]
    assert rows["statistical"][:5] == ["1", "0", "0", "0", "1"]
    assert rows["all"][:5] == ["13", "0", "0", "0", "1"]
    assert "1  flaky" in printed
    compiled = int(re.search(r"kernels: (\d+) compiled", printed)[1])
    assert compiled == int(rows["statistical"][6]) > 0

    whole = json.loads(file.read_text())
    assert set(whole) == {
        *(
            "created",
            "duration",
            "exitcode",
            "root",
            "environment",
            "summary",
            "collectors",
            "tests",
            "warnings",
        )
    }
    assert whole["exitcode"] == 0 and whole["root"] == str(root)
    assert whole["environment"]["array_api_tests_module"] == "toonygrad"
    assert whole["summary"] == {"passed": 13, "skipped": 1, "total": 14, "collected": 14}
    names = [test["nodeid"] for test in whole["tests"]]
    assert names[:12] == [f"array_api_tests/test_fft.py::test_fft[{n}]" for n in range(12)]
    assert whole["tests"][0].keys() >= {"lineno", "outcome", "keywords", "setup", "call", "teardown"}
    assert [(warning["message"], warning["count"]) for warning in whole["warnings"]] == [
        ("the same each time", 12)
    ]

    # Once more with the kernels of the first run: what was compiled is loaded.
    code, printed = ran(
        capsys, "--suite", str(root), "--only", "stat", "--workers", "1", "--compile", "always"
    )
    assert code == 0 and f"kernels: 0 compiled, {compiled} loaded" in printed
    assert "fft" not in printed


def test_everything_that_is_not_clean_is_told_and_fails_the_run(make_suite, capsys, tmp_path):
    root, file = make_suite({"test_set_functions.py": BAD_CHAPTER}), tmp_path / "report.json"
    code, printed = ran(capsys, "--suite", str(root), "--workers", "1", "--report", str(file))
    assert code == 1
    assert re.search(r"(?m)^set +1 +1 +1 +2 +0 ", printed)
    assert "error   array_api_tests/test_set_functions.py::test_broken  RuntimeError: no set-up" in printed
    assert "failed  array_api_tests/test_set_functions.py::test_union  assert (1 + 1) == 3" in printed
    whole = json.loads(file.read_text())
    assert whole["exitcode"] == 1
    counts = {"passed": 1, "failed": 1, "error": 1, "xfailed": 1, "xpassed": 1}
    assert whole["summary"] == {**counts, "total": 5, "collected": 5}
    by_name = {test["nodeid"].rpartition("::")[2]: test for test in whole["tests"]}
    assert "1 + 1" in by_name["test_union"]["call"]["longrepr"]


@pytest.mark.parametrize("outcome", ["failed", "error", "xfailed", "xpassed"])
def test_each_of_these_alone_fails_a_run(outcome):
    assert not report.Result("a/test_fft.py::test_a", outcome, 0.0).is_good


def test_a_test_that_kills_its_process_is_an_error_and_the_others_run(make_suite, capsys, tmp_path):
    root, file = make_suite({"test_fft.py": DEADLY_CHAPTER}), tmp_path / "report.json"
    code, printed = ran(capsys, "--suite", str(root), "--workers", "1", "--report", str(file))
    assert code == 1
    assert re.search(r"(?m)^fft +2 +0 +1 +0 +0 ", printed)
    assert "test_deadly  the process died in this test: SIGKILL" in printed
    outcomes = [(test["nodeid"][-6:], test["outcome"]) for test in json.loads(file.read_text())["tests"]]
    assert outcomes == [("_first", "passed"), ("deadly", "error"), ("t_last", "passed")]


def test_what_follows_the_dashes_is_for_pytest(make_suite, capsys):
    root = make_suite({"test_set_functions.py": BAD_CHAPTER})
    code, printed = ran(
        capsys, "--suite", str(root), "--workers", "1", "--", "-x", "-k", "union or intersection"
    )
    assert code == 1
    assert "1 tests did not run" in printed and "test_broken" not in printed


def test_an_interrupted_run_ends_its_workers_and_tells_what_it_knows(make_suite, capsys, monkeypatch):
    def interrupt(*progress):
        raise KeyboardInterrupt

    started, popen = [], subprocess.Popen

    def start(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(run.Progress, "__call__", interrupt)
    root = make_suite(GOOD_CHAPTERS)
    monkeypatch.setattr(suite, "check", lambda root: None)  # git too is a process
    monkeypatch.setattr(subprocess, "Popen", start)
    code, printed = ran(capsys, "--suite", str(root), "--workers", "2")
    assert code == 130
    assert [process.poll() is not None for process in started] == [True, True]
    assert re.search(r"(?m)^all ", printed)


def test_a_suite_that_cannot_be_collected(make_suite, capsys):
    root = make_suite({"test_fft.py": "import nothing_of_this_name"})
    code, printed = ran(capsys, "--suite", str(root), "--workers", "1")
    assert code == 2
    assert "nothing_of_this_name" in printed


def test_on_a_gpu_one_test_is_left_out_and_named(make_suite, capsys):
    chapter = """
        import os

        def test_dunder_dlpack(): raise BufferError
        def test_device(): assert os.environ["TOONYGRAD_DEVICE"] == "cuda:1"
        """
    root = make_suite({"test_dlpack.py": chapter})
    code, printed = ran(capsys, "--suite", str(root), "--workers", "1", "--device", "cuda:1")
    assert code == 0, printed
    assert re.search(r"(?m)^dlpack +1 +0 ", printed) and "steps that ran on the host: 0" in printed
    assert re.search(r"(?m)^not run, .* array_api_tests/test_dlpack\.py::test_dunder_dlpack$", printed)
    code, printed = ran(capsys, "--suite", str(root), "--workers", "1")
    assert code == 1 and "not run" not in printed


# -- the command line ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "excuse", ["--skips-file=x", "--xfails-file", "--disable-extension", "--disable-dds"]
)
def test_nothing_is_excused(excuse, capsys):
    with pytest.raises(SystemExit):
        run.parse(["--", excuse, "linalg"])
    assert "excuses tests" in capsys.readouterr().err


def test_variables_that_excuse_tests_do_not_reach_the_suite(monkeypatch):
    monkeypatch.setenv("ARRAY_API_TESTS_SKIP_DTYPES", "uint16")
    assert "ARRAY_API_TESTS_SKIP_DTYPES" not in processes.environment({})


def test_chapters_are_chosen_by_a_part_of_their_name(tmp_path):
    (tmp_path / "array_api_tests").mkdir()
    for name in ("set_functions", "fft", "operators_and_elementwise_functions", "offset"):
        (tmp_path / "array_api_tests" / f"test_{name}.py").touch()
    files = [
        f"array_api_tests/test_{name}.py" for name in ("set_functions", "operators_and_elementwise_functions")
    ]
    assert run.chosen_files(tmp_path, ["set", "elementwise", "set"]) == files
    assert len(run.chosen_files(tmp_path, [])) == 4
    with pytest.raises(suite.SuiteError, match="no such chapter; there are fft, offset, operators"):
        run.chosen_files(tmp_path, ["sorting"])


def test_workers_share_the_cores_and_a_kernel_cache_of_their_own(tmp_path):
    options = run.parse(["--compile", "never", "--workers", "1000"])
    environment = run.worker_environment(options, tmp_path)
    assert environment["TOONYGRAD_COMPILE"] == "never"
    assert environment["TOONYGRAD_NUM_THREADS"] == "1"
    assert environment["TOONYGRAD_CACHE_DIR"] == str(tmp_path / "kernels")


# -- progress ------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_progress(stream, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream())
    tests = ["a/test_fft.py::test_a", "a/test_fft.py::test_b"]
    results = [report.Result(tests[0], "failed", 1.0, compiled=3), report.Result(tests[1], "passed", 1.0)]
    progress = run.Progress()
    progress([], [], [])
    progress(results[:1], results[:1], tests)
    progress(results, results[1:], tests)
    progress.close()
    told = sys.stdout.getvalue()
    assert "failed  a/test_fft.py::test_a" in told
    if stream is Terminal:
        assert "] 2/2  1 failed  3 compiled" in told
    else:
        assert "2 of 2 tests  fft done" in told and "\r" not in told


# -- the pins ------------------------------------------------------------------------------------------------


def test_the_pins_are_whole_hashes():
    assert re.fullmatch("55fcc60179ef[0-9a-f]{28}", suite.SUITE.commit)
    assert re.fullmatch("8884c406ff8a[0-9a-f]{28}", suite.STANDARD.commit)


def test_each_copy_that_is_not_at_its_pin_is_named(make_suite, tmp_path, capsys):
    root = make_suite(GOOD_CHAPTERS)
    suite.check(root)
    (root / "array_api_tests" / "test_fft.py").write_text("")
    with pytest.raises(suite.SuiteError, match=r"(?s)the suite in .* has local changes:.*test_fft\.py"):
        suite.check(root)
    git(root, "commit", "--quiet", "--all", "--message", "other")
    (root / "array-api" / ".git").rename(tmp_path / "elsewhere")
    code, printed = ran(capsys, "--suite", str(root))
    assert code == 2
    assert f"and not at {suite.SUITE.commit[:12]}" in printed
    assert "the suite's submodule is missing" in printed and "holds no git checkout" in printed


def test_a_file_of_excuses_in_the_copy_is_refused(make_suite):
    root = make_suite(GOOD_CHAPTERS)
    (root / "xfails.txt").touch()
    with pytest.raises(suite.SuiteError, match=r"xfails\.txt excuses tests"):
        suite.check(root)


def test_a_folder_that_does_not_exist(tmp_path, capsys):
    code, printed = ran(capsys, "--suite", str(tmp_path / "nowhere"))
    assert code == 2
    assert "the suite is missing" in printed and "git clone https://github.com/data-apis" in printed


def test_the_suite_is_cloned_at_its_pins_once(make_suite, tmp_path, monkeypatch):
    root = make_suite(GOOD_CHAPTERS)
    (root / "later").touch()
    git(root, "add", "later")
    git(root, "commit", "--quiet", "--message", "a later commit")
    clone = suite.obtain(tmp_path / "clones" / "suite")
    assert git(clone, "rev-parse", "HEAD") == suite.SUITE.commit
    assert git(clone / "array-api", "rev-parse", "HEAD") == suite.STANDARD.commit
    # Nothing is fetched for a copy that is right, and one that was changed is made anew.
    monkeypatch.setattr(suite, "STANDARD", dataclasses.replace(suite.STANDARD, url="nowhere"))
    assert suite.obtain(clone) == clone
    (clone / "conftest.py").write_text("")
    with pytest.raises(suite.SuiteError, match=r"(?s)could not clone nowhere.*--suite DIR"):
        suite.obtain(clone)
