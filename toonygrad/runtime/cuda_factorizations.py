"""What recorded routines of linear algebra become on a GPU: LAPACK's, as cuSOLVER has them, among kernels.

cuda_routines.py comes here. cuda_stacks.py does the calls. Their matrices are row-major, and so the
transposes of what the library sees: that is undone by movement, which costs nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toonygrad import dtypes
from toonygrad.runtime.cuda_solver import AS_IT_IS, TRANSPOSED, CublasBatched, Cusolver, CusolverEigen
from toonygrad.runtime.cuda_stacks import is_batched, is_reflected, is_rotated
from toonygrad.uop.node import UOp
from toonygrad.uop.ops import Op, Ops
from toonygrad.uop.shape import Shape, size_of

# -- rules: each takes a recorded routine, what makes numbers of the plan, and a table -----------------------


def cholesky(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """Triangular factors: the library's, without what stands in the other triangle.

    The library is asked for lower triangles, and is slower at upper ones: of matrices in its own order, where
    an upper triangle is the lower one of the transpose.
    """
    call, upper = node.arg[1]
    (x,) = node.src
    if upper:
        return _triangle(_call("potrf", (call,), node.dtype, node.shape, x), upper)
    factors = _call("potrf", (call,), node.dtype, node.shape, _transposed(x))
    return _triangle(_transposed(factors), upper)


def det(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """Products of diagonals, by the sign of the permutation."""
    diagonal, odd = _factors(node.src[0])
    product = _product(diagonal)
    return odd.where(-product, product)


def slogdet(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """Signs of diagonals' products, or the sum of logarithms."""
    _, which = node.arg[1]
    diagonal, odd = _factors(node.src[0])
    size = UOp.new(Ops.ABS, (diagonal,))
    if which == 1:
        return _reduce(UOp.new(Ops.LOG, (size,)), Ops.ADD)
    one = UOp.const(1, diagonal.dtype)
    if diagonal.dtype.kind == "c":
        sign = UOp.new(Ops.COMPLEX, tuple(UOp.new(op, (diagonal,)) / size for op in (Ops.REAL, Ops.IMAG)))
    else:
        sign = UOp.new(Ops.COPYSIGN, (one, diagonal))
    zero = UOp.const(0, diagonal.dtype)
    unknown = diagonal.ne(diagonal)
    sign = diagonal.eq(zero).where(zero, unknown.where(diagonal, sign))
    product = _product(sign)
    return odd.where(-product, product)


def solve(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """Solutions; the library has right-hand sides as columns, one after another."""
    (call,) = node.arg[1]
    matrices, sides = node.src
    *stack, size = matrices.shape[:-1]
    if len(sides.shape) == 1:
        sides = _reshape(sides, (1, size))
        made = _call("getrs", (call, TRANSPOSED), node.dtype, (*stack, 1, size), matrices, sides)
        return _reshape(made, node.shape)
    sides = _transposed(sides)
    *stack, _, columns = node.shape
    shape = (*stack, columns, size)
    matrices = _expand(matrices, (*stack, size, size))
    return _transposed(_call("getrs", (call, TRANSPOSED), node.dtype, shape, matrices, sides))


def inv(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """Solutions for the columns of the identity, of the transposes: the transposes of the transposes."""
    (call,) = node.arg[1]
    size = node.shape[-1]
    row, column = _row_and_column((size, size))
    identity = row.eq(column).cast(node.dtype)
    return _call("getrs", (call, AS_IT_IS), node.dtype, node.shape, node.src[0], identity)


def eigvalsh(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """Eigenvalues of Hermitian matrices, without vectors."""
    return _several("syevd", (node.arg[1][0], False), node.src[0], 0, node.dtype, node.shape)


def eigh(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """Eigenvalues of Hermitian matrices, or their eigenvectors."""
    call, which = node.arg[1]
    found = _several("syevd", (call, True), node.src[0], which, node.dtype, node.shape)
    return found if which == 0 else _conjugate(_transposed(found))


def svdvals(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """Singular values, without vectors."""
    return _singular(node.arg[1][0], "N", node.src[0])[0]


def svd(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """One of the three of a singular value decomposition: left vectors, values, right vectors."""
    call, which, full = node.arg[1]
    values, left, right = _singular(call, "A" if full else "S", node.src[0])
    return (left, values, right)[which]


def pinv(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """The product of right vectors, inverted singular values, and left vectors."""
    call, *limit = node.arg[1]
    values, left, right = _singular(call, "S", node.src[0])
    *stack, count = values.shape
    if limit:
        part = number(limit[0], values.dtype)
    else:
        part = node.src[1].cast(values.dtype)
        part = _reshape(_expand(part, tuple(stack)), (*stack, 1))
    greatest = _reshape(_reduce(values, Ops.MAXIMUM), (*stack, 1))
    least = UOp.new(Ops.MUL, (greatest, part))
    large = UOp.new(Ops.LT, (_expand(least, values.shape), values))
    inverted = large.where(UOp.const(1, values.dtype) / values, 0)
    inverted = _expand(_reshape(inverted, (*stack, count, 1)), _transposed(left).shape)
    below = _conjugate(_transposed(left))
    if node.dtype.kind == "c":
        parts = (UOp.new(Ops.MUL, (UOp.new(op, (below,)), inverted)) for op in (Ops.REAL, Ops.IMAG))
        below = UOp.new(Ops.COMPLEX, tuple(parts))
    else:
        below = UOp.new(Ops.MUL, (below, inverted))
    above = _conjugate(_transposed(right))
    return _product_of(above, below)


def qr(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """One of the two of a QR decomposition."""
    _, which, mode = node.arg[1]
    (x,) = node.src
    rows, columns = x.shape[-2:]
    count = rows if mode == "complete" else min(rows, columns)
    together = is_reflected(x.shape)
    if which == 0:
        return _joined_basis(x, count) if together else _transposed(_reflected(x, count, 1))
    whole = _transposed(_reflected(x, None if together else count, 0))
    return _triangle(_first(whole, -2, count), True)


def eigvals(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """Eigenvalues, without vectors."""
    return _eigen(node.arg[1][0], False, node.src[0])[0]


def eig(node: UOp, number: Any, known: dict[UOp, Any]) -> UOp:
    """Eigenvalues, or eigenvectors: of real matrices put together of real and imaginary parts."""
    call, which = node.arg[1]
    (x,) = node.src
    values, vectors = _eigen(call, True, x)
    if which == 0:
        return values
    if x.dtype.kind == "c":
        return _transposed(vectors)
    *stack, size, _ = x.shape
    turn = _reshape(UOp.new(Ops.IMAG, (values,)), (*stack, size, 1))
    turn = _expand(turn, x.shape)
    zero = UOp.const(0, x.dtype)
    first, second = UOp.new(Ops.LT, (zero, turn)), UOp.new(Ops.LT, (turn, zero))
    real = second.where(_neighbours(vectors, -1, number), vectors)
    imaginary = first.where(_neighbours(vectors, 1, number), second.where(-vectors, zero))
    return _transposed(UOp.new(Ops.COMPLEX, (real, imaginary)))


RULES = {
    "cholesky": ((Cusolver,), cholesky),
    "det": ((Cusolver, CublasBatched), det),
    "slogdet": ((Cusolver, CublasBatched), slogdet),
    "solve": ((Cusolver, CublasBatched), solve),
    "inv": ((Cusolver, CublasBatched), inv),
    "eigvalsh": ((Cusolver,), eigvalsh),
    "eigh": ((Cusolver,), eigh),
    "svdvals": ((Cusolver,), svdvals),
    "svd": ((Cusolver,), svd),
    "pinv": ((Cusolver,), pinv),
    "qr": ((Cusolver, CublasBatched), qr),
    "eigvals": ((CusolverEigen,), eigvals),
    "eig": ((CusolverEigen,), eig),
}


# -- calls ---------------------------------------------------------------------------------------------------


def _call(name: str, parameters: tuple[Any, ...], dtype: np.dtype, shape: Shape, *sources: UOp) -> UOp:
    return UOp.new(Ops.EXTERNAL, sources, (name, parameters, dtype, tuple(shape)))


def _several(
    name: str,
    parameters: tuple[Any, ...],
    source: UOp | tuple[UOp, ...],
    which: int,
    dtype: np.dtype,
    shape: Shape,
) -> UOp:
    """One of the results of a call that has several; the call is one node, whoever asks."""
    sources = source if isinstance(source, tuple) else (source,)
    call = _call(name, parameters, sources[0].dtype, sources[0].shape, *sources)
    return _call("output", (which,), dtype, shape, call)


def _product_of(left: UOp, right: UOp) -> UOp:
    """Of stacks of matrices with the same axes in front."""
    return _call("matmul", (), left.dtype, (*left.shape[:-1], right.shape[-1]), left, right)


def _factors(x: UOp) -> tuple[UOp, UOp]:
    """The diagonals of U, and whether rows were exchanged an odd number of times."""
    *stack, size, _ = x.shape
    pivot = dtypes.int32 if is_batched(x.shape) else dtypes.int64
    factors = _several("getrf", (), x, 0, x.dtype, x.shape)
    pivots = _several("getrf", (), x, 1, pivot, (*stack, size))
    lines = _reshape(factors, (*stack, size * size))
    parts = (*((0, 1, each) for each in stack), (0, size + 1, size))
    diagonal = UOp.new(Ops.SLICE, (lines,), parts)
    place = UOp.new(Ops.IOTA, (), ((*stack, size), len(stack))) + 1
    exchanged = pivots.cast(dtypes.int64).ne(place).cast(dtypes.int64)
    return diagonal, (_reduce(exchanged, Ops.ADD) & 1).ne(0)


def _singular(call: str, job: str, x: UOp) -> tuple[UOp, UOp, UOp]:
    """Singular values, left vectors and right ones; the library takes none that is wider than high."""
    *stack, rows, columns = x.shape
    tall = rows > columns
    given = _transposed(x) if tall else x
    short, long = given.shape[-2:]
    in_one = is_rotated(given.shape)
    real = dtypes.REAL_PART.get(x.dtype, x.dtype)
    parameters = (call, job)
    values = _several("gesvd", parameters, given, 0, real, (*stack, short))
    rows = long if in_one or job == "A" else short
    first = _several("gesvd", parameters, given, 1, x.dtype, (*stack, rows, long))
    second = _several("gesvd", parameters, given, 2, x.dtype, (*stack, short, short))
    if in_one:
        second = _conjugate(_transposed(second))
    if in_one and job != "A" and long > short:
        first = _first(first, -2, short)
    if tall:
        return values, _transposed(first), _transposed(second)
    return values, second, first


def _reflected(x: UOp, count: int | None, which: int) -> UOp:
    """Of a QR decomposition's transposes: first what factoring leaves, then so many columns of Q; in place of
    those the scales of the reflectors where no number is given."""
    *stack, rows, columns = x.shape
    made = (
        (*stack, columns, rows),
        (*stack, min(rows, columns)) if count is None else (*stack, count, rows),
    )
    return _several("geqrf", (count,), _transposed(x), which, x.dtype, made[which])


def _joined_basis(x: UOp, count: int) -> UOp:
    """So many columns of Q, made of the reflectors v and their scales t by products of matrices.

    With the reflectors as columns of V it is I - V T Vᴴ, where the inverse of T has t's inverses on its
    diagonal and above it what stands there in VᴴV.
    """
    scales, made = _reflected(x, None, 1), _reflected(x, None, 0)
    *stack, size = scales.shape
    scales = _reshape(scales, (*stack, size, 1))
    changes = scales.ne(0)  # a reflector with the scale 0 changes nothing
    rows = _first(made, -2, size)
    row, column = _row_and_column(rows.shape)
    rows = UOp.new(Ops.LT, (row, column)).where(rows, row.eq(column).cast(x.dtype))
    rows = _expand(changes, rows.shape).where(rows, 0)
    conjugates = _conjugate(rows)
    inverse = _product_of(conjugates, _transposed(rows))
    row, column = _row_and_column(inverse.shape)
    one = UOp.const(1, x.dtype)
    diagonal = _expand(changes.where(one / scales, one), inverse.shape)
    inverse = UOp.new(Ops.LT, (row, column)).where(inverse, row.eq(column).where(diagonal, 0))
    sides = _transposed(_first(conjugates, -1, count))
    solved = _call("getrs", (None, TRANSPOSED), x.dtype, sides.shape, inverse, sides)
    reflections = _product_of(_transposed(rows), _transposed(solved))
    row, column = _row_and_column(reflections.shape)
    return row.eq(column).cast(x.dtype) - reflections


def _eigen(call: str, vectors: bool, x: UOp) -> tuple[UOp, UOp]:
    """Eigenvalues, and vectors as the library has them."""
    magnitude = UOp.new(Ops.ABS, (x,))
    finite = UOp.new(Ops.LT, (magnitude, UOp.const(np.inf, magnitude.dtype)))
    every = UOp.new(Ops.REDUCE, (finite,), (Ops.AND, tuple(range(len(x.shape)))))
    sources = (_transposed(x), every)
    kind, parameters = dtypes.COMPLEX_OF.get(x.dtype, x.dtype), (call, vectors)
    values = _several("geev", parameters, sources, 0, kind, x.shape[:-1])
    return values, _several("geev", parameters, sources, 1, x.dtype, x.shape)


# -- movement and the like -----------------------------------------------------------------------------------


def _reshape(node: UOp, shape: Shape) -> UOp:
    shape = tuple(shape)
    assert size_of(shape) == size_of(node.shape)
    return node if node.shape == shape else UOp.new(Ops.RESHAPE, (node,), shape)


def _expand(node: UOp, shape: Shape) -> UOp:
    shape = tuple(shape)
    return node if node.shape == shape else UOp.new(Ops.EXPAND, (node,), shape)


def _first(node: UOp, axis: int, count: int) -> UOp:
    """So many elements along an axis, counted from the last one."""
    sizes = list(node.shape)
    if sizes[axis] == count:
        return node
    sizes[axis] = count
    return UOp.new(Ops.SLICE, (node,), tuple((0, 1, size) for size in sizes))


def _transposed(node: UOp) -> UOp:
    last = len(node.shape) - 1
    return UOp.new(Ops.PERMUTE, (node,), (*range(last - 1), last, last - 1))


def _conjugate(node: UOp) -> UOp:
    return UOp.new(Ops.CONJ, (node,)) if node.dtype.kind == "c" else node


def _reduce(node: UOp, op: Op) -> UOp:
    return UOp.new(Ops.REDUCE, (node,), (op, (len(node.shape) - 1,)))


def _product(node: UOp) -> UOp:
    """Of the last axis: of complex numbers, for whose products no kernel is generated, by halves."""
    if node.dtype.kind != "c":
        return _reduce(node, Ops.MUL)
    *stack, size = node.shape
    before = tuple((0, 1, each) for each in stack)

    def part(start: int, count: int) -> UOp:
        return UOp.new(Ops.SLICE, (node,), (*before, (start, 1, count)))

    while size > 1:
        half, odd = divmod(size, 2)
        pieces = [UOp.new(Ops.MUL, (part(0, half), part(size - half, half)))]
        if odd:
            pieces.append(part(half, 1))
        node = UOp.new(Ops.CONCAT, tuple(pieces), len(stack)) if odd else pieces[0]
        size = half + odd
    return _reshape(node, tuple(stack))


def _row_and_column(shape: Shape) -> tuple[UOp, UOp]:
    last = len(shape) - 1
    return UOp.new(Ops.IOTA, (), (tuple(shape), last - 1)), UOp.new(Ops.IOTA, (), (tuple(shape), last))


def _triangle(node: UOp, upper: bool) -> UOp:
    row, column = _row_and_column(node.shape)
    inside = UOp.new(Ops.LE, (row, column) if upper else (column, row))
    return inside.where(node, 0)


def _neighbours(rows: UOp, by: int, number: Any) -> UOp:
    """Of each row the one so many further on; some row where there is none."""
    axis = len(rows.shape) - 2
    place = UOp.new(Ops.IOTA, (), ((rows.shape[axis],), 0)) + by
    place = UOp.new(Ops.MAXIMUM, (place, UOp.const(0, dtypes.int64)))
    place = UOp.new(Ops.MINIMUM, (place, number(rows.shape[axis] - 1, dtypes.int64)))
    return UOp.new(Ops.GATHER, (rows, place), ((axis,), axis, "eig"))
