"""All cores for one kernel: a small native thread pool, written in LLVM IR and compiled once a process.

The CPU runtime calls `launch` with a kernel's address, its packed arguments and the extent of its parallel
range; the pool cuts the range into pieces and the calling thread works along. It needs llvmlite and pthreads
and nothing of Numba, whose threading layers are missing from wheels (tbb), kill a forked child that launches
(omp) or abort the process on concurrent use (workqueue). May import config only.

How a launch goes:

* The launching thread describes the job, opens *seats* (threads asked for, less itself) and wakes as many
  sleepers as there are seats.
* A worker takes a seat by compare-and-swap. Whoever has one, and the launching thread, takes pieces off an
  atomic counter until none is left. So a worker that wakes late costs nothing: it finds the seats gone.
* The launching thread closes the seats and waits for those who had sat down. Only then may the job's
  description change.
* Idle workers spin for some microseconds, since launches come in bursts, and then sleep on a condition
  variable.

Only one job runs at a time. A thread that finds the pool busy computes its whole range itself, which is as
good as waiting: the cores are taken. Everything that must happen together (claiming the pool, growing it,
running, giving it back) is inside one native call, so no Python exception, Ctrl-C included, can leave it half
done. Workers are bare pthreads that never touch Python: nothing to join or to detach when the interpreter
ends, and no trace functions, monkey-patched `threading` or finalisation order to care about.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import threading
from collections.abc import Callable
from string import Template
from typing import cast

import llvmlite.binding as llvm

from toonygrad.config import counters, settings

__all__ = ["launch"]

# More pieces than threads even out cores of unequal speed, or lost for a while to another process; each costs
# one atomic addition.
PIECES_PER_THREAD = 4

# Above this many elements a piece is rounded up to a multiple of 64, so that the first element of each is
# aligned as the array's own first element is. Below it (rows of a matrix, say) the rounding would leave the
# pieces unequal.
ALIGNED_PIECE = 4096

# How often an idle worker, or a launching thread whose pieces are done, looks again before it sleeps: 20-100
# us, a `pause` taking 10-45 ns on current processors. It covers the Python between two kernels of one plan;
# waking a sleeper costs 5-50 us.
SPINS = 2000

# The stack of a worker. Kernels keep scratch rows on it, and macOS would give 512 kB, musl 128 kB.
WORKER_STACK_BYTES = 8 << 20

# The hint to the processor that this is a waiting loop; there is no portable one.
_PAUSE = {
    "x86_64": "llvm.x86.sse2.pause()",
    "amd64": "llvm.x86.sse2.pause()",
    "aarch64": "llvm.aarch64.isb(i32 15)",
    "arm64": "llvm.aarch64.isb(i32 15)",
}

# Python's own functions and pthreads come from the running process.
_PYTHON_SYMBOLS = (
    "PyLong_AsLongLong",
    "PyLong_FromLongLong",
    "PyErr_Occurred",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
)
_SYSTEM_SYMBOLS = (
    "pthread_attr_init", "pthread_attr_setstacksize", "pthread_create",
    "pthread_mutex_init", "pthread_mutex_lock", "pthread_mutex_unlock",
    "pthread_cond_init", "pthread_cond_wait", "pthread_cond_signal",
    "pthread_sigmask", "sigfillset",
)  # fmt: skip

_POOL_IR = Template(r"""
; ---- state: one pool a process ----
; Words that different threads write lie on different cache lines (128: processors fetch lines in pairs).
; The opaque pthread types are given more room than any platform needs; @reset initialises them.
@busy      = internal global i64 0, align 128      ; 1 while a launch owns the pool
@workers   = internal global i64 0                 ; threads created so far; owned by the launch
@attribute = internal global [128 x i8] zeroinitializer, align 16
@signals   = internal global [128 x i8] zeroinitializer, align 16
@entry     = internal global ptr null, align 128   ; the job, constant while seats are open or taken
@pointers  = internal global i64 0
@integers  = internal global i64 0
@extent    = internal global i64 0
@step      = internal global i64 0                 ; elements in a piece
@pieces    = internal global i64 0
@next      = internal global i64 0, align 128      ; the first piece nobody has taken
@seats     = internal global i64 0, align 128      ; workers that may still join the job; 0: none is open
@left      = internal global i64 0, align 128      ; workers that joined and have finished
@sleepers  = internal global i64 0, align 128      ; workers asleep on @work, changed under @mutex
@waiting   = internal global i64 0                 ; 1 while the launching thread sleeps on @finished
@mutex     = internal global [128 x i8] zeroinitializer, align 128
@work      = internal global [128 x i8] zeroinitializer, align 128
@finished  = internal global [128 x i8] zeroinitializer, align 128

declare i32 @pthread_attr_init(ptr)
declare i32 @pthread_attr_setstacksize(ptr, i64)
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_signal(ptr)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @sigfillset(ptr)
declare i64 @PyLong_AsLongLong(ptr)
declare ptr @PyLong_FromLongLong(i64)
declare ptr @PyErr_Occurred()
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
$DECLARE_PAUSE

; ---- take pieces until none is left; run by the launching thread and by every worker with a seat ----
define internal void @run_pieces() {
  %entry = load ptr, ptr @entry
  %pointers = load i64, ptr @pointers
  %integers = load i64, ptr @integers
  %extent = load i64, ptr @extent
  %step = load i64, ptr @step
  %pieces = load i64, ptr @pieces
  br label %take
take:
  %piece = atomicrmw add ptr @next, i64 1 monotonic
  %some = icmp slt i64 %piece, %pieces
  br i1 %some, label %run, label %done
run:
  %lo = mul i64 %piece, %step
  %end = add i64 %lo, %step
  %hi = call i64 @llvm.smin.i64(i64 %end, i64 %extent)
  call void %entry(i64 %pointers, i64 %integers, i64 %lo, i64 %hi)
  br label %take
done:
  ret void
}

; ---- a worker's life; it never returns ----
define internal ptr @worker(ptr %unused) noreturn {
  ; signals are for Python's threads
  call i32 @pthread_sigmask(i32 $SIG_SETMASK, ptr @signals, ptr null)
  br label %idle
idle:
  br label %spin
spin:
  %spins = phi i64 [ $SPINS, %idle ], [ %fewer, %again ]
  %open = load atomic i64, ptr @seats monotonic, align 8
  %invited = icmp sgt i64 %open, 0
  br i1 %invited, label %sit, label %again
again:
  $PAUSE
  %fewer = sub i64 %spins, 1
  %patient = icmp sgt i64 %fewer, 0
  br i1 %patient, label %spin, label %sleep
sit:
  %rest = sub i64 %open, 1
  %claim = cmpxchg ptr @seats, i64 %open, i64 %rest seq_cst monotonic
  %seated = extractvalue { i64, i1 } %claim, 1
  br i1 %seated, label %join, label %idle
join:
  call void @run_pieces()
  atomicrmw add ptr @left, i64 1 seq_cst
  ; Here: add to @left, then read @waiting. In @launch: write @waiting, then read @left. In one order of all
  ; sequentially consistent operations, one of the two sees what the other did.
  %waiting = load atomic i64, ptr @waiting seq_cst, align 8
  %awaited = icmp ne i64 %waiting, 0
  br i1 %awaited, label %tell, label %idle
tell:
  call i32 @pthread_mutex_lock(ptr @mutex)
  call i32 @pthread_mutex_unlock(ptr @mutex)
  call i32 @pthread_cond_signal(ptr @finished)
  br label %idle
sleep:
  call i32 @pthread_mutex_lock(ptr @mutex)
  atomicrmw add ptr @sleepers, i64 1 seq_cst
  br label %check
check:
  ; Likewise: @launch opens the seats, then counts the sleepers.
  %seats = load atomic i64, ptr @seats seq_cst, align 8
  %called = icmp sgt i64 %seats, 0
  br i1 %called, label %wake, label %doze
doze:
  call i32 @pthread_cond_wait(ptr @work, ptr @mutex)
  br label %check
wake:
  atomicrmw sub ptr @sleepers, i64 1 seq_cst
  call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %idle
}

; ---- create workers until %wanted exist or the system gives no more; how many of them can be used ----
define internal i64 @grow(i64 %wanted) {
  %thread = alloca i64
  br label %check
check:
  %existing = load i64, ptr @workers
  %enough = icmp sge i64 %existing, %wanted
  br i1 %enough, label %done, label %create
create:
  %error = call i32 @pthread_create(ptr %thread, ptr @attribute, ptr @worker, ptr null)
  %failed = icmp ne i32 %error, 0
  br i1 %failed, label %done, label %count
count:
  %more = add i64 %existing, 1
  store i64 %more, ptr @workers
  br label %check
done:
  %usable = call i64 @llvm.smin.i64(i64 %existing, i64 %wanted)
  ret i64 %usable
}

; ---- run a kernel over [0, extent); how many threads took part ----
define internal i64 @launch(i64 %address, i64 %pointers, i64 %integers,
                           i64 %extent, i64 %least, i64 %threads) {
  %entry = inttoptr i64 %address to ptr
  %grain = call i64 @llvm.smax.i64(i64 %least, i64 1)
  %worth = sdiv i64 %extent, %grain
  %parties = call i64 @llvm.smin.i64(i64 %worth, i64 %threads)
  %shared = icmp sgt i64 %parties, 1
  br i1 %shared, label %claim, label %alone
claim:
  %owner = cmpxchg ptr @busy, i64 0, i64 1 acquire monotonic
  %owned = extractvalue { i64, i1 } %owner, 1
  br i1 %owned, label %crew, label %alone
crew:
  %wanted = sub i64 %parties, 1
  %seats = call i64 @grow(i64 %wanted)
  %crewed = icmp sgt i64 %seats, 0
  br i1 %crewed, label %cut, label %unclaim
unclaim:
  store atomic i64 0, ptr @busy release, align 8
  br label %alone
alone:
  call void %entry(i64 %pointers, i64 %integers, i64 0, i64 %extent)
  ret i64 1

cut:                                               ; equal pieces, the same number for each thread
  %crew_size = add i64 %seats, 1
  %rounds = sdiv i64 %worth, %crew_size
  %each = call i64 @llvm.smin.i64(i64 %rounds, i64 $PIECES_PER_THREAD)
  %cuts = mul i64 %crew_size, %each
  %fractional = add i64 %extent, %cuts
  %rounding = sub i64 %fractional, 1
  %exact_step = sdiv i64 %rounding, %cuts
  %raised = add i64 %exact_step, 63
  %aligned_step = and i64 %raised, -64
  %large = icmp sge i64 %exact_step, $ALIGNED_PIECE
  %step = select i1 %large, i64 %aligned_step, i64 %exact_step
  %past = add i64 %extent, %step
  %last = sub i64 %past, 1
  %pieces = sdiv i64 %last, %step
  store ptr %entry, ptr @entry
  store i64 %pointers, ptr @pointers
  store i64 %integers, ptr @integers
  store i64 %extent, ptr @extent
  store i64 %step, ptr @step
  store i64 %pieces, ptr @pieces
  store i64 0, ptr @left
  store atomic i64 0, ptr @next monotonic, align 8
  store atomic i64 %seats, ptr @seats seq_cst, align 8
  %asleep = load atomic i64, ptr @sleepers seq_cst, align 8
  %to_wake = call i64 @llvm.smin.i64(i64 %asleep, i64 %seats)
  %any_asleep = icmp sgt i64 %to_wake, 0
  br i1 %any_asleep, label %settle, label %work
settle:                                            ; once the mutex is free, all that count as asleep are
  call i32 @pthread_mutex_lock(ptr @mutex)
  call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %wake
wake:
  %remaining = phi i64 [ %to_wake, %settle ], [ %fewer, %wake ]
  call i32 @pthread_cond_signal(ptr @work)
  %fewer = sub i64 %remaining, 1
  %more = icmp sgt i64 %fewer, 0
  br i1 %more, label %wake, label %work
work:
  call void @run_pieces()
  %unclaimed = atomicrmw xchg ptr @seats, i64 0 seq_cst
  %joined = sub i64 %seats, %unclaimed
  br label %spin
spin:
  %spins = phi i64 [ $SPINS, %work ], [ %spins_left, %again ]
  %gone = load atomic i64, ptr @left acquire, align 8
  %all_gone = icmp eq i64 %gone, %joined
  br i1 %all_gone, label %release, label %again
again:
  $PAUSE
  %spins_left = sub i64 %spins, 1
  %patient = icmp sgt i64 %spins_left, 0
  br i1 %patient, label %spin, label %wait
wait:
  call i32 @pthread_mutex_lock(ptr @mutex)
  store atomic i64 1, ptr @waiting seq_cst, align 8
  br label %check
check:
  %still = load atomic i64, ptr @left seq_cst, align 8
  %complete = icmp eq i64 %still, %joined
  br i1 %complete, label %woken, label %doze
doze:
  call i32 @pthread_cond_wait(ptr @finished, ptr @mutex)
  br label %check
woken:
  store atomic i64 0, ptr @waiting seq_cst, align 8
  call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %release
release:
  %took_part = add i64 %joined, 1
  store atomic i64 0, ptr @busy release, align 8
  ret i64 %took_part
}

; ---- an empty pool: at first, and in a forked child, which inherits the state but none of the threads ----
define void @reset() {
  store i64 0, ptr @busy
  store i64 0, ptr @workers
  store i64 0, ptr @seats
  store i64 0, ptr @sleepers
  store i64 0, ptr @waiting
  call i32 @pthread_mutex_init(ptr @mutex, ptr null)
  call i32 @pthread_cond_init(ptr @work, ptr null)
  call i32 @pthread_cond_init(ptr @finished, ptr null)
  call i32 @pthread_attr_init(ptr @attribute)
  call i32 @pthread_attr_setstacksize(ptr @attribute, i64 $WORKER_STACK_BYTES)
  call i32 @sigfillset(ptr @signals)
  ret void
}

; ---- the same as a Python function: launch(address, pointers, integers, extent, grain, threads) ----
; All arguments are ints and so is the result. This takes 0.08 us, where the cheapest call through ctypes
; takes 0.3, and uses nothing that is not in CPython's stable ABI. uwtable: before CPython 3.14 a daemon
; thread that comes back to a finished interpreter has its stack unwound.
define ptr @call(ptr %self, ptr %arguments, i64 %count) uwtable {
$CONVERT_ARGUMENTS
  %error = call ptr @PyErr_Occurred()
  %failed = icmp ne ptr %error, null
  br i1 %failed, label %fail, label %go
go:
  %state = call ptr @PyEval_SaveThread()
  %took_part = call i64 @launch(i64 %i0, i64 %i1, i64 %i2, i64 %i3, i64 %i4, i64 %i5)
  call void @PyEval_RestoreThread(ptr %state)
  %result = call ptr @PyLong_FromLongLong(i64 %took_part)
  ret ptr %result
fail:
  ret ptr null
}
@name = internal constant [7 x i8] c"launch\00"
@method = global { ptr, ptr, i32, ptr } { ptr @name, ptr @call, i32 $METH_FASTCALL, ptr null }
""")

_METH_FASTCALL = 0x0080

_Launch = Callable[[int, int, int, int, int, int], int]

# Held while the pool is compiled and while the process forks: a child inherits all of the pool or nothing.
_fork_lock = threading.RLock()
_reset: Callable[[], None] | None = None


def _pool_ir() -> str:
    pause = _PAUSE.get(platform.machine().lower())
    return _POOL_IR.substitute(
        DECLARE_PAUSE=f"declare void @{pause.replace('i32 15', 'i32')}" if pause else "",
        PAUSE=f"call void @{pause}" if pause else "",
        CONVERT_ARGUMENTS="\n".join(
            f"  %p{i} = getelementptr ptr, ptr %arguments, i64 {i}\n"
            f"  %o{i} = load ptr, ptr %p{i}\n"
            f"  %i{i} = call i64 @PyLong_AsLongLong(ptr %o{i})"
            for i in range(6)
        ),
        SPINS=SPINS,
        PIECES_PER_THREAD=PIECES_PER_THREAD,
        ALIGNED_PIECE=ALIGNED_PIECE,
        WORKER_STACK_BYTES=WORKER_STACK_BYTES,
        SIG_SETMASK=int(signal.SIG_SETMASK),
        METH_FASTCALL=_METH_FASTCALL,
    )


def _compile_pool() -> tuple[_Launch, Callable[[], None]]:
    """The native launch as a Python function, and the function that empties the pool."""
    process = ctypes.CDLL(None)
    for library, names in ((process, _SYSTEM_SYMBOLS), (ctypes.pythonapi, _PYTHON_SYMBOLS)):
        for name in names:
            llvm.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(_pool_ir())
    # Unoptimised code launches as fast, and is there in 8 ms rather than 16.
    machine = llvm.Target.from_default_triple().create_target_machine(opt=0, jit=True)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    method, reset_address = engine.get_global_value_address("method"), engine.get_function_address("reset")
    # Workers run this code until the process is gone, which is after the interpreter has dropped every
    # object: never free it.
    engine.detach()
    reset = ctypes.CFUNCTYPE(None)(reset_address)
    reset()
    new_function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(
        ("PyCFunction_NewEx", ctypes.pythonapi)
    )
    return cast(_Launch, new_function(method, None, None)), reset


def _first_launch(*arguments: int) -> int:
    """Stands in for the native launch until it is compiled."""
    global _native_launch, _reset
    with _fork_lock:
        if _reset is None:
            _native_launch, _reset = _compile_pool()
    return _native_launch(*arguments)


_native_launch: _Launch = _first_launch


def _after_fork_in_child() -> None:
    if _reset is not None:
        _reset()
    _fork_lock.release()


os.register_at_fork(
    before=_fork_lock.acquire, after_in_parent=_fork_lock.release, after_in_child=_after_fork_in_child
)


def launch(address: int, pointers_address: int, integers_address: int, extent: int, grain: int) -> int:
    """Run a native kernel over the parallel range ``[0, extent)``, cut into pieces, on up to
    ``settings.num_threads`` threads.

    The kernel's result must not depend on how the range is cut. The global interpreter lock is not held
    meanwhile. The whole range runs in the calling thread when it has fewer than two grains, when one thread
    is asked for, when another thread is in a launch, and when the system gives no threads.

    Parameters
    ----------
    address : int
        Address of ``void kernel(int64_t *pointers, int64_t *integers, int64_t lo, int64_t hi)``, computing
        elements ``lo`` to ``hi``.
    pointers_address, integers_address : int
        Addresses of the kernel's packed arguments, which must stay in place during the call.
    extent : int
        Length of the parallel range.
    grain : int
        The fewest elements of the range that are worth a piece.

    Returns
    -------
    int
        How many threads took part; 1 for a serial call.
    """
    counters.kernels_launched += 1
    return _native_launch(address, pointers_address, integers_address, extent, grain, settings.num_threads)
