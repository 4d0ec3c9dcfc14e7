"""Functions of floats in LLVM's terms that a GPU lacks, or has in a slower form, for words of cuda.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def write_remainder(function: Any) -> None:
    """Long division with digits of 40 bits: what each leaves is less than a multiple of `b` that divides it,
    and so is exact.

    A quotient may be rounded up to the next integer, which leaves a negative rest; one multiple mends it.
    """
    from llvmlite import ir

    double = ir.DoubleType()
    a, b = function.args

    def call(name: str, *values: Any) -> Any:
        kind = ir.FunctionType(double, [double] * len(values))
        return builder.call(builder.module.declare_intrinsic(name, [double], kind), values)

    names = ("entry", "ordinary", "up", "down", "next", "done")
    entry, ordinary, up, down, following, done = (function.append_basic_block(name) for name in names)
    builder = ir.IRBuilder(entry)
    rest, divisor = call("llvm.fabs", a), call("llvm.fabs", b)
    infinite = double(float("inf"))
    defined = builder.and_(
        builder.fcmp_ordered(">", divisor, double(0.0)), builder.fcmp_ordered("<", rest, infinite)
    )
    product = builder.fmul(a, b)
    undefined = builder.fdiv(product, product)  # NaN, as is the product where an operand is
    undefined = builder.select(
        builder.fcmp_unordered("uno", undefined, undefined), undefined, double(float("nan"))
    )
    builder.cbranch(defined, ordinary, done)
    builder.position_at_end(ordinary)
    builder.cbranch(builder.fcmp_ordered("<", rest, divisor), done, up)
    builder.position_at_end(up)
    step = builder.phi(double)
    larger = builder.fmul(step, double(2.0**40))
    step.add_incoming(divisor, ordinary)
    step.add_incoming(larger, up)
    builder.cbranch(builder.fcmp_ordered("<=", larger, rest), up, down)
    builder.position_at_end(down)
    multiple, left = builder.phi(double), builder.phi(double)
    digit = call("llvm.trunc", builder.fdiv(left, multiple))
    less = call("llvm.fma", builder.fneg(digit), multiple, left)
    negative = builder.fcmp_ordered("<", less, double(0.0))
    less = builder.select(negative, builder.fadd(less, multiple), less)
    builder.cbranch(builder.fcmp_ordered("==", multiple, divisor), done, following)
    builder.position_at_end(following)
    smaller = builder.fmul(multiple, double(2.0**-40))
    builder.branch(down)
    for phi, first, again in ((multiple, step, smaller), (left, rest, less)):
        phi.add_incoming(first, up)
        phi.add_incoming(again, following)
    builder.position_at_end(done)
    result = builder.phi(double)
    for value, block in ((undefined, entry), (rest, ordinary), (less, down)):
        result.add_incoming(value, block)
    builder.ret(call("llvm.copysign", result, a))


def square_root(builder: Any, x: Any, reciprocal: Callable[[Any], Any]) -> Any:
    """The rounded root of a float32, by the arithmetic of ptxas, which has a branch before it: here what is
    too small for it is scaled, so that the roots of several elements are computed beside one another.

    Parameters
    ----------
    reciprocal : gives 1 / sqrt of a normal number, but for its last bit or two
    """
    from llvmlite import ir

    kind = x.type

    def call(name: str, *values: Any) -> Any:
        function = ir.FunctionType(kind, [kind] * len(values))
        return builder.call(builder.module.declare_intrinsic(name, [kind], function), values)

    small = builder.fcmp_ordered("<", x, kind(2.0**-100))
    scaled = builder.fmul(x, builder.select(small, kind(2.0**64), kind(1.0)))
    about = reciprocal(scaled)
    root = builder.fmul(scaled, about)
    rest = call("llvm.fma", builder.fneg(root), root, scaled)
    root = call("llvm.fma", rest, builder.fmul(about, kind(0.5)), root)
    root = builder.fmul(root, builder.select(small, kind(2.0**-32), kind(1.0)))
    zero = builder.fcmp_ordered("==", x, kind(0.0))
    itself = builder.or_(zero, builder.fcmp_ordered("==", x, kind(float("inf"))))
    return builder.select(itself, x, root)
