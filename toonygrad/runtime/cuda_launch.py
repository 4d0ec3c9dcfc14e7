"""Several launches in one call: a native function that fills in the arguments of kernels and hands them to
the driver, written in LLVM IR and compiled once a process.

The driver (runtime/cuda.py) makes one for its own functions and gives plans what calls it. A launch through
Python takes longer than the driver itself does; here the driver's time is nearly all there is. A program is
memory that nobody changes, and what a call needs beside lies on its stack, so that any number of threads may
run one program at once.

A program is an array of int64:

    context, stream, values given, alignments, most arguments of a call, calls;
    for each alignment: a given value, 1 where it is no multiple of VECTOR_BYTES and 0 where it is;
    for each call: function, 3 sides of the grid, 3 of a block, arguments;
        for each argument: a given value, and what is added to it.

Value 0 is zero, so constants are what is added to it. A call without a function writes zeros: its grid's
first side is how many bytes, its only argument the address.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from string import Template

import llvmlite.binding as llvm

from toonygrad.codegen.cuda import VECTOR_BYTES
from toonygrad.runtime.driver import UNALIGNED, Call

# The driver's functions that programs call.
FUNCTIONS = ("cuCtxSetCurrent", "cuLaunchKernel", "cuMemsetD8Async")

_PYTHON_SYMBOLS = (
    "PyLong_AsLongLong",
    "PyLong_FromLongLong",
    "PyErr_Occurred",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
)

_METH_FASTCALL = 0x0080

_IR = Template(r"""
declare i64 @PyLong_AsLongLong(ptr)
declare ptr @PyLong_FromLongLong(i64)
declare ptr @PyErr_Occurred()
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)

define internal i64 @at(ptr %array, i64 %place) alwaysinline {
  %address = getelementptr i64, ptr %array, i64 %place
  %value = load i64, ptr %address
  ret i64 %value
}

; ---- run a program on the values given; what the driver says, or $UNALIGNED ----
define internal i64 @run(ptr %program, ptr %given) {
  %context = call i64 @at(ptr %program, i64 0)
  %stream = call i64 @at(ptr %program, i64 1)
  %alignments = call i64 @at(ptr %program, i64 3)
  %most = call i64 @at(ptr %program, i64 4)
  %calls = call i64 @at(ptr %program, i64 5)
  %values = alloca i64, i64 %most
  %places = alloca ptr, i64 %most
  br label %aligning
aligning:
  %a = phi i64 [ 0, %0 ], [ %a.next, %look ]
  %a.more = icmp slt i64 %a, %alignments
  br i1 %a.more, label %look, label %placing
look:
  %a.twice = mul i64 %a, 2
  %a.which = add i64 %a.twice, 6
  %a.how = add i64 %a.twice, 7
  %which = call i64 @at(ptr %program, i64 %a.which)
  %how = call i64 @at(ptr %program, i64 %a.how)
  %address = call i64 @at(ptr %given, i64 %which)
  %rest = and i64 %address, $REST
  %bent = icmp ne i64 %rest, 0
  %is = zext i1 %bent to i64
  %same = icmp eq i64 %is, %how
  %a.next = add i64 %a, 1
  br i1 %same, label %aligning, label %unaligned
unaligned:
  ret i64 $UNALIGNED
placing:
  %p = phi i64 [ 0, %aligning ], [ %p.next, %placing ]
  %place = getelementptr ptr, ptr %places, i64 %p
  %value.at = getelementptr i64, ptr %values, i64 %p
  store ptr %value.at, ptr %place
  %p.next = add i64 %p, 1
  %p.more = icmp slt i64 %p.next, %most
  br i1 %p.more, label %placing, label %enter
enter:
  %set = call i32 $cuCtxSetCurrent(i64 %context)
  %set.failed = icmp ne i32 %set, 0
  %a.words = mul i64 %alignments, 2
  %begin = add i64 %a.words, 6
  br i1 %set.failed, label %failed, label %calling
calling:
  %c = phi i64 [ 0, %enter ], [ %c.next, %called ]
  %at = phi i64 [ %begin, %enter ], [ %at.next, %called ]
  %c.more = icmp slt i64 %c, %calls
  br i1 %c.more, label %one, label %done
one:
  %head = getelementptr i64, ptr %program, i64 %at
  %function = call i64 @at(ptr %head, i64 0)
  %gx = call i64 @at(ptr %head, i64 1)
  %gy = call i64 @at(ptr %head, i64 2)
  %gz = call i64 @at(ptr %head, i64 3)
  %bx = call i64 @at(ptr %head, i64 4)
  %by = call i64 @at(ptr %head, i64 5)
  %bz = call i64 @at(ptr %head, i64 6)
  %count = call i64 @at(ptr %head, i64 7)
  %arguments = getelementptr i64, ptr %head, i64 8
  br label %filling
filling:
  %k = phi i64 [ 0, %one ], [ %k.next, %fill ]
  %k.more = icmp slt i64 %k, %count
  br i1 %k.more, label %fill, label %filled
fill:
  %k.twice = mul i64 %k, 2
  %k.odd = add i64 %k.twice, 1
  %source = call i64 @at(ptr %arguments, i64 %k.twice)
  %added = call i64 @at(ptr %arguments, i64 %k.odd)
  %base = call i64 @at(ptr %given, i64 %source)
  %sum = add i64 %base, %added
  %slot = getelementptr i64, ptr %values, i64 %k
  store i64 %sum, ptr %slot
  %k.next = add i64 %k, 1
  br label %filling
filled:
  %clears = icmp eq i64 %function, 0
  br i1 %clears, label %clear, label %launch
clear:
  %target = load i64, ptr %values
  %cleared = call i32 $cuMemsetD8Async(i64 %target, i8 0, i64 %gx, i64 %stream)
  br label %called
launch:
  %gx4 = trunc i64 %gx to i32
  %gy4 = trunc i64 %gy to i32
  %gz4 = trunc i64 %gz to i32
  %bx4 = trunc i64 %bx to i32
  %by4 = trunc i64 %by to i32
  %bz4 = trunc i64 %bz to i32
  %launched = call i32 $cuLaunchKernel(i64 %function, i32 %gx4, i32 %gy4, i32 %gz4,
                                       i32 %bx4, i32 %by4, i32 %bz4,
                                       i32 0, i64 %stream, ptr %places, ptr null)
  br label %called
called:
  %answer = phi i32 [ %cleared, %clear ], [ %launched, %launch ]
  %c.next = add i64 %c, 1
  %words = mul i64 %count, 2
  %length = add i64 %words, 8
  %at.next = add i64 %at, %length
  %wrong = icmp ne i32 %answer, 0
  br i1 %wrong, label %failed, label %calling
failed:
  %status = phi i32 [ %set, %enter ], [ %answer, %called ]
  %said = sext i32 %status to i64
  ret i64 %said
done:
  ret i64 0
}

; ---- the same as a Python function: (address of a program, each value given) -> status, all ints ----
; uwtable: before CPython 3.14 a daemon thread that comes back to a finished interpreter has its stack
; unwound.
define ptr @call(ptr %self, ptr %objects, i64 %count) uwtable {
  %given = alloca i64, i64 %count
  br label %converting
converting:
  %k = phi i64 [ 0, %0 ], [ %k.next, %converting ]
  %object.at = getelementptr ptr, ptr %objects, i64 %k
  %object = load ptr, ptr %object.at
  %number = call i64 @PyLong_AsLongLong(ptr %object)
  %given.at = getelementptr i64, ptr %given, i64 %k
  store i64 %number, ptr %given.at
  %k.next = add i64 %k, 1
  %more = icmp slt i64 %k.next, %count
  br i1 %more, label %converting, label %converted
converted:
  %error = call ptr @PyErr_Occurred()
  %failed = icmp ne ptr %error, null
  br i1 %failed, label %fail, label %check
check:
  %address = load i64, ptr %given
  store i64 0, ptr %given
  %program = inttoptr i64 %address to ptr
  %expected = call i64 @at(ptr %program, i64 2)
  %there = sub i64 %count, 1
  %right = icmp eq i64 %expected, %there
  br i1 %right, label %go, label %refuse
go:
  %state = call ptr @PyEval_SaveThread()
  %status = call i64 @run(ptr %program, ptr %given)
  call void @PyEval_RestoreThread(ptr %state)
  %result = call ptr @PyLong_FromLongLong(i64 %status)
  ret ptr %result
refuse:
  %refused = call ptr @PyLong_FromLongLong(i64 $REFUSED)
  ret ptr %refused
fail:
  ret ptr null
}
@name = internal constant [4 x i8] c"run\00"
@method = global { ptr, ptr, i32, ptr } { ptr @name, ptr @call, i32 $METH_FASTCALL, ptr null }
""")

# Another number of values than the program takes.
_REFUSED = -2


def native_runner(functions: Mapping[str, int]) -> Callable[..., int]:
    """A function that takes the address of a program and the values given, and answers the driver's status.

    Parameters
    ----------
    functions : the addresses of the driver's FUNCTIONS
    """
    for name in _PYTHON_SYMBOLS:
        llvm.add_symbol(name, ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    text = _IR.substitute(
        {name: f"inttoptr (i64 {functions[name]} to ptr)" for name in FUNCTIONS},
        UNALIGNED=UNALIGNED,
        REFUSED=_REFUSED,
        REST=VECTOR_BYTES - 1,
        METH_FASTCALL=_METH_FASTCALL,
    )
    module = llvm.parse_assembly(text)
    machine = llvm.Target.from_default_triple().create_target_machine(opt=1, jit=True)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    method = engine.get_global_value_address("method")
    engine.detach()  # a thread may be in there when the interpreter ends
    new_function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(
        ("PyCFunction_NewEx", ctypes.pythonapi)
    )
    return new_function(method, None, None)


class Program:
    """Calls in the words of `native_runner`, ready to be run; what `Driver.program` answers."""

    def __init__(
        self,
        runner: Callable[..., int],
        context: int,
        stream: int,
        values: int,
        calls: Sequence[Call],
        alignments: Mapping[int, bool],
    ) -> None:
        words = [context, stream, values, len(alignments)]
        words += [max((len(call.arguments) for call in calls), default=1), len(calls)]
        for value, bent in alignments.items():
            words += [value, int(bent)]
        for call in calls:
            words += [int(call.kernel or 0), *call.grid, *call.block, len(call.arguments)]
            for value, added in call.arguments:
                words += [value, added]
        self._words = array("q", words)
        #: Runs it on the values given.
        self.run = partial(runner, self._words.buffer_info()[0])
