"""The native thread pool: every element once, whoever launches, whatever happens around it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from toonygrad.config import config, counters_snapshot, settings  # noqa: F401 - scripts below use settings
from toonygrad.runtime import threads
from toonygrad.runtime.threads import launch

KERNELS = r"""
declare i32 @usleep(i32)
declare ptr @pthread_self()

; pointers: two int64 arrays; adds 1 to elements lo to hi of the first, and notes the
; length of the piece at lo of the second
define void @count(ptr %pointers, ptr %integers, i64 %lo, i64 %hi) {
  %array = load ptr, ptr %pointers
  %lengths_at = getelementptr ptr, ptr %pointers, i64 1
  %lengths = load ptr, ptr %lengths_at
  %any = icmp slt i64 %lo, %hi
  br i1 %any, label %note, label %done
note:
  %length = sub i64 %hi, %lo
  %length_at = getelementptr i64, ptr %lengths, i64 %lo
  store i64 %length, ptr %length_at
  br label %element
element:
  %i = phi i64 [ %lo, %note ], [ %next, %element ]
  %at = getelementptr i64, ptr %array, i64 %i
  %old = load i64, ptr %at
  %new = add i64 %old, 1
  store i64 %new, ptr %at
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %hi
  br i1 %more, label %element, label %done
done:
  ret void
}

; pointers: int64 array; notes at lo which thread runs; adds 1 to integers[0] and waits (up to 30 s) for it to
; reach integers[1], so pieces that meet here are run by different threads at the same time; then lets every
; thread but integers[2] sleep integers[3] microseconds, and adds 1 to integers[0] again
define void @meet(ptr %pointers, ptr %integers, i64 %lo, i64 %hi) {
  %array = load ptr, ptr %pointers
  %at = getelementptr ptr, ptr %array, i64 %lo
  %thread = call ptr @pthread_self()
  store ptr %thread, ptr %at
  %wanted_at = getelementptr i64, ptr %integers, i64 1
  %first = atomicrmw add ptr %integers, i64 1 seq_cst
  br label %look
look:
  %looks = phi i32 [ 0, %0 ], [ %more_looks, %rest ]
  %come = load atomic i64, ptr %integers seq_cst, align 8
  %wanted = load atomic i64, ptr %wanted_at seq_cst, align 8
  %complete = icmp sge i64 %come, %wanted
  %given_up = icmp sge i32 %looks, 30000
  %stop = or i1 %complete, %given_up
  br i1 %stop, label %met, label %rest
rest:
  call i32 @usleep(i32 1000)
  %more_looks = add i32 %looks, 1
  br label %look
met:
  %punctual_at = getelementptr i64, ptr %integers, i64 2
  %punctual = load i64, ptr %punctual_at
  %self = ptrtoint ptr %thread to i64
  %late = icmp ne i64 %self, %punctual
  br i1 %late, label %linger, label %done
linger:
  %delay_at = getelementptr i64, ptr %integers, i64 3
  %delay = load i64, ptr %delay_at
  %microseconds = trunc i64 %delay to i32
  call i32 @usleep(i32 %microseconds)
  br label %done
done:
  %last = atomicrmw add ptr %integers, i64 1 seq_cst
  ret void
}
"""


def _compile(ir: str, *names: str) -> list[int]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for symbol in ("usleep", "pthread_self"):
        llvm.add_symbol(symbol, ctypes.cast(getattr(ctypes.CDLL(None), symbol), ctypes.c_void_p).value)
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(ir), machine)
    engine.finalize_object()
    addresses = [engine.get_function_address(name) for name in names]
    engine.detach()  # some tests end the interpreter while threads are in a kernel
    return addresses


COUNT, MEET = _compile(KERNELS, "count", "meet")


def count(extent: int, grain: int) -> tuple[int, list[int]]:
    """Launch a kernel that adds 1 to each element: threads that took part, and the pieces' lengths."""
    array, lengths = np.zeros(max(extent, 0), np.int64), np.zeros(max(extent, 0), np.int64)
    pointers = np.array([array.ctypes.data, lengths.ctypes.data], np.int64)
    took_part = launch(COUNT, pointers.ctypes.data, 0, extent, grain)
    assert (array == 1).all()
    return took_part, lengths[lengths > 0].tolist()


class Meeting:
    """A launch whose pieces wait for each other, or `wanted` arrivals; then all but this thread linger."""

    def __init__(self, pieces: int, wanted: int | None = None, linger_us: int = 0) -> None:
        self.visits = np.zeros(pieces, np.int64)
        self.integers = np.array(
            [0, pieces if wanted is None else wanted, threading.get_ident(), linger_us], np.int64
        )
        self.pointers = np.array([self.visits.ctypes.data], np.int64)

    @property
    def threads(self) -> set[int]:
        return set(self.visits.tolist()) - {0}

    def launch(self) -> int:
        took_part = launch(MEET, self.pointers.ctypes.data, self.integers.ctypes.data, self.visits.size, 1)
        assert len(self.threads) <= took_part
        assert self.integers[0] == 2 * (self.visits.size if took_part > 1 else 1)  # all have left the kernel
        return took_part

    def wait_for(self, come: int) -> None:
        while self.integers[0] < come:
            time.sleep(0.001)

    def dismiss(self) -> None:
        self.integers[1] = 0


def status_of_child(child: int) -> int:
    """Exit code of a forked child, which is killed when it hangs."""
    for _ in range(3000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")


def fork_and_meet() -> int:
    """Exit code of a forked child in which three threads must work at once: 0 if they did."""
    child = os.fork()
    if child:
        return status_of_child(child)
    code = 1
    try:
        with config(num_threads=3):
            code = 0 if Meeting(3).launch() == 3 and count(100_000, 10)[0] >= 1 else 2
    finally:
        os._exit(code)


def run_script(body: str) -> subprocess.Popen[str]:
    """A fresh interpreter that runs `body` with this module's names at hand."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), str(here)])}
    return subprocess.Popen(
        [sys.executable, "-c", f"from test_threads import *\n{body}"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err


@pytest.mark.parametrize("num_threads", [1, 2, 3, 8])
def test_every_element_once_for_every_cut(num_threads):
    with config(num_threads=num_threads):
        for extent in (0, 1, 2, 3, 7, 64, 1000, 4095, 65_537, 100_003):
            for grain in (-1, 0, 1, 3, 64, 1000, 1 << 40):
                took_part, lengths = count(extent, grain)
                assert 1 <= took_part <= num_threads
                assert sum(lengths) == extent


def test_a_negative_extent_runs_nothing():
    assert count(-5, 1) == (1, [])


def test_pieces_are_no_smaller_than_the_grain_and_equal():
    with config(num_threads=2):
        for extent, grain in ((10, 5), (11, 5), (100, 7), (99_999, 1000)):
            _, lengths = count(extent, grain)
            # The last piece has what is left.
            assert all(length >= grain for length in lengths[:-1])
            assert len(set(lengths[:-1])) <= 1
            assert len(lengths) in (2, 4, 6, 8)


def test_large_pieces_begin_at_multiples_of_64():
    with config(num_threads=3):
        _, lengths = count(1_000_003, 10)
    assert len(lengths) == 3 * threads.PIECES_PER_THREAD
    assert all(length % 64 == 0 for length in lengths[:-1])


def test_less_than_two_grains_is_one_serial_piece():
    with config(num_threads=4):
        assert count(100, 100) == (1, [100])
        assert count(199, 100) == (1, [199])
    with config(num_threads=1):
        assert count(100_000, 1) == (1, [100_000])


def test_threads_work_at_the_same_time_grow_and_shrink():
    for num_threads in (2, 5, 3, 1, 4):
        with config(num_threads=num_threads):
            meeting = Meeting(num_threads)
            assert meeting.launch() == num_threads
            assert len(meeting.threads) == num_threads
            # Twice as many pieces as threads, and nobody beyond those asked for comes to help.
            assert Meeting(2 * num_threads, num_threads).launch() <= num_threads


def test_sleeping_workers_wake():
    with config(num_threads=3):
        for _ in range(20):
            time.sleep(0.005)  # far more than the workers spin
            assert Meeting(3).launch() == 3


def test_the_launching_thread_waits_for_late_workers():
    with config(num_threads=3):
        for linger_us in (
            0,
            1,
            30,
            100,
            1000,
            20_000,
        ):  # while it spins, about when it stops, and when it sleeps
            for _ in range(5):
                assert Meeting(3, linger_us=linger_us).launch() == 3


def test_a_busy_pool_is_not_waited_for():
    with config(num_threads=2):
        Meeting(2).launch()
    meeting = Meeting(2, 3)
    with_two = config(num_threads=2)

    def other() -> None:
        with with_two:
            meeting.launch()

    thread = threading.Thread(target=other)
    thread.start()
    meeting.wait_for(2)
    # The other launch holds the pool, not the interpreter lock; here everything is computed, serially.
    with with_two:
        assert count(100_000, 10) == (1, [100_000])
    meeting.dismiss()
    thread.join()
    with with_two:
        assert Meeting(2).launch() == 2


def test_eight_python_threads_at_once():
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with config(num_threads=1 + number % 4):
                for repeat in range(300):
                    count(1000 + 17 * repeat, 1 + number)
        except BaseException as error:  # handed to the main thread below
            failures.append(error)

    pool = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    assert not failures


def test_launches_are_counted():
    before = counters_snapshot()
    count(10, 1)
    count(10, 100)
    assert (counters_snapshot() - before).kernels_launched == 2


@pytest.mark.parametrize("bad", [None, "1", 1.0, 1 << 64])
def test_bad_arguments_raise_and_run_nothing(bad):
    array = np.zeros(4, np.int64)
    pointers = np.array([array.ctypes.data, array.ctypes.data], np.int64)
    for position in range(1, 5):
        arguments = [COUNT, pointers.ctypes.data, 0, 4, 1]
        arguments[position] = bad
        with pytest.raises((TypeError, OverflowError)):
            launch(*arguments)
    assert not array.any()


def test_a_forked_child_launches():
    with config(num_threads=3):
        assert Meeting(3).launch() == 3
        assert fork_and_meet() == 0
        assert Meeting(3).launch() == 3


def test_a_child_of_a_child_launches():
    child = os.fork()
    if not child:
        code = 1
        try:
            with config(num_threads=2):
                Meeting(2).launch()
            code = fork_and_meet()
        finally:
            os._exit(code)
    assert status_of_child(child) == 0


def test_fork_while_another_thread_is_in_a_launch():
    meeting = Meeting(2, 3)

    def other() -> None:
        with config(num_threads=2):
            meeting.launch()

    thread = threading.Thread(target=other)
    thread.start()
    meeting.wait_for(2)
    try:
        assert fork_and_meet() == 0
    finally:
        meeting.dismiss()
        thread.join()


def test_fork_during_the_first_launch():
    process = run_script("""
starters = [threading.Thread(target=count, args=(1000, 10)) for _ in range(4)]
for starter in starters: starter.start()
codes = [fork_and_meet() for _ in range(3)]
for starter in starters: starter.join()
print(codes)
""")
    assert finish(process) == (0, "[0, 0, 0]\n", "")


def test_interrupt_leaves_the_pool_usable():
    process = run_script("""
import itertools
settings.num_threads = 2
Meeting(2).launch()
rounds = 0
for attempt in range(3):
    try:
        print("ready", flush=True)
        for _ in itertools.count():
            count(20_000, 10)
    except KeyboardInterrupt:
        rounds += Meeting(2).launch()
print("usable", rounds)
""")
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out, err) == (0, "usable 6\n", "")


@pytest.mark.parametrize(
    ("ending", "code"),
    [("pass", 0), ("sys.exit(3)", 3), ("raise RuntimeError('on purpose')", 1)],
)
@pytest.mark.parametrize("pause", [0, 0.01])  # workers spinning, workers asleep
def test_the_interpreter_ends_cleanly(ending, code, pause):
    process = run_script(f"settings.num_threads = 4\nMeeting(4).launch()\ntime.sleep({pause})\n{ending}\n")
    ended, out, err = finish(process)
    assert (ended, out) == (code, "")
    assert err == "" or (code == 1 and err.strip().endswith("RuntimeError: on purpose"))


def test_the_interpreter_ends_while_daemon_threads_launch():
    process = run_script("""
settings.num_threads = 2
arrays = [np.zeros(2, np.int64) for _ in range(4)]
packed = [np.array([array.ctypes.data] * 2) for array in arrays]
def forever(pointers):
    while True:
        launch(COUNT, pointers, 0, 2, 1)
for pointers in packed:
    threading.Thread(target=forever, args=(pointers.ctypes.data,), daemon=True).start()
time.sleep(0.1)
""")
    assert finish(process) == (0, "", "")


def test_the_first_launch_may_be_the_last_thing():
    process = run_script("""
import atexit
settings.num_threads = 2
atexit.register(lambda: print(Meeting(2).launch()))
""")
    assert finish(process) == (0, "2\n", "")
