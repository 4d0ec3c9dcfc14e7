"""Settings by environment, assignment and context; counters as differences."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import FrozenInstanceError, fields

import pytest

from toonygrad.config import Counters, LiveCounters, Settings, config, counters, counters_snapshot, settings

VARIABLES = [f"TOONYGRAD_{name}" for name in ("COMPILE", "NUM_THREADS", "CACHE_DIR", "PROGRESS", "DEBUG")]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_defaults(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    fresh = Settings()
    assert (fresh.compile, fresh.debug, fresh.cache_dir) == ("auto", 0, "/somewhere/toonygrad")
    assert fresh.progress is True
    assert 1 <= fresh.num_threads <= (os.cpu_count() or 1)


def test_relative_xdg_cache_home_is_ignored(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Settings().cache_dir == "/home/somebody/.cache/toonygrad"


def test_environment(monkeypatch):
    for variable, text in zip(VARIABLES, ("always", "3", "/var/kernels", " 0 ", " 2 "), strict=True):
        monkeypatch.setenv(variable, text)
    fresh = Settings()
    assert (fresh.compile, fresh.num_threads, fresh.cache_dir) == ("always", 3, "/var/kernels")
    assert (fresh.progress, fresh.debug) == (False, 2)


@pytest.mark.parametrize("text", ["", "none", "None"])
def test_no_cache_directory(monkeypatch, text):
    monkeypatch.setenv("TOONYGRAD_CACHE_DIR", text)
    assert Settings().cache_dir is None


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TOONYGRAD_COMPILE", "sometimes"),
        ("TOONYGRAD_COMPILE", ""),
        ("TOONYGRAD_NUM_THREADS", "0"),
        ("TOONYGRAD_NUM_THREADS", "two"),
        ("TOONYGRAD_NUM_THREADS", "1.5"),
        ("TOONYGRAD_PROGRESS", "yes"),
        ("TOONYGRAD_PROGRESS", ""),
        ("TOONYGRAD_DEBUG", "-1"),
        ("TOONYGRAD_DEBUG", "yes"),
    ],
)
def test_bad_environment_names_the_variable(monkeypatch, variable, text):
    monkeypatch.setenv(variable, text)
    with pytest.raises(ValueError, match=variable):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("compile", "ALWAYS"),
        ("compile", None),
        ("compile", []),
        ("num_threads", 0),
        ("num_threads", True),
        ("num_threads", 2.0),
        ("num_threads", "2"),
        ("cache_dir", ""),
        ("cache_dir", 3),
        ("cache_dir", b"/bytes"),
        ("cache_dir", "nul\0byte"),
        ("progress", 1),
        ("progress", None),
        ("debug", -1),
        ("debug", None),
    ],
)
def test_bad_value_names_the_setting_and_changes_nothing(name, value):
    before = repr(settings)
    with pytest.raises(ValueError, match=name):
        config(**{name: value})
    with pytest.raises(ValueError, match=name):
        setattr(settings, name, value)
    assert repr(settings) == before


def test_unknown_setting():
    with pytest.raises(TypeError, match="threads"):
        config(threads=3)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        settings.threads = 3  # type: ignore[attr-defined]


def test_cache_dir_takes_paths_and_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with config(cache_dir=tmp_path):
        assert settings.cache_dir == str(tmp_path)
    with config(cache_dir="kernels"):
        assert settings.cache_dir == str(tmp_path / "kernels")


def test_blocks_nest_and_unwind():
    outside = repr(settings)
    with config(num_threads=7, debug=1):
        with config(num_threads=5):
            assert (settings.num_threads, settings.debug) == (5, 1)
        assert (settings.num_threads, settings.debug) == (7, 1)
        with pytest.raises(ZeroDivisionError), config(debug=3):
            1 / 0
        assert settings.debug == 1
    assert repr(settings) == outside


def test_one_config_object_entered_again():
    seven = config(num_threads=7)
    outside = settings.num_threads
    with seven, config(num_threads=5), seven:
        assert settings.num_threads == 7
    assert settings.num_threads == outside
    with seven:
        assert settings.num_threads == 7


def test_assignment_sets_the_default_beneath_the_blocks(monkeypatch):
    monkeypatch.setattr(settings, "debug", 4)
    with config(num_threads=7):
        settings.debug = 5
        assert settings.debug == 5
    assert settings.debug == 5
    with config(debug=1):
        settings.debug = 6
        assert settings.debug == 1
    assert settings.debug == 6


def test_a_block_holds_in_its_own_thread_only():
    shared = config(num_threads=7)
    outside = settings.num_threads
    seen: list[int] = []
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        seen.append(settings.num_threads)
        with shared:
            entered.set()
            leave.wait()
            seen.append(settings.num_threads)
        seen.append(settings.num_threads)

    with config(num_threads=9):
        thread = threading.Thread(target=other)
        thread.start()
        entered.wait()
        with shared:
            pass
        assert settings.num_threads == 9
        leave.set()
        thread.join()
    assert seen == [outside, 7, outside]


def test_a_block_holds_in_its_own_task_only():
    async def task(threads: int, turn: asyncio.Event, other: asyncio.Event) -> int:
        with config(num_threads=threads):
            other.set()
            await turn.wait()
            return settings.num_threads

    async def both() -> list[int]:
        first, second = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(task(5, first, second), task(6, second, first))

    assert asyncio.run(both()) == [5, 6]


def test_a_config_that_is_never_entered_says_so():
    with pytest.warns(RuntimeWarning, match=r"config\(debug=3\) had no effect"):
        config(debug=3)


@pytest.mark.filterwarnings("ignore:config:RuntimeWarning")
def test_leaving_a_block_in_a_context_that_never_entered_it_is_harmless():
    outside = repr(settings)
    config(debug=3).__exit__(None, None, None)
    assert repr(settings) == outside


def test_counters_count_differences():
    before = counters_snapshot()
    counters.kernels_launched += 2
    counters.bytes_allocated += 100
    after = counters_snapshot()
    assert after - before == Counters(kernels_launched=2, bytes_allocated=100)
    counters.kernels_launched += 1
    assert (after - before).kernels_launched == 2
    with pytest.raises(FrozenInstanceError):
        after.interpreted = 1  # type: ignore[misc]


def test_live_and_frozen_counters_have_the_same_fields():
    assert list(LiveCounters.__annotations__) == [field.name for field in fields(Counters)]
    with pytest.raises(AttributeError):
        counters.kernel_launched = 1  # type: ignore[attr-defined]


def test_counting_from_threads_loses_nothing():
    before = counters_snapshot()

    def count() -> None:
        for _ in range(20_000):
            counters.plans_reused += 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counters_snapshot() - before).plans_reused == 80_000
