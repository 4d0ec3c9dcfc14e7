"""Factorizations of matrices and what follows from them, by LAPACK (the standard's extension "linalg").

Re-exported by toonygrad.linalg. What has one result is recorded, and fails when it is computed; what has
several computes at the call. Every function takes stacks of matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from toonygrad import dtypes, record
from toonygrad.array import Array, array_node, from_node, realize, realized
from toonygrad.array_api.arguments import flag, real
from toonygrad.array_api.matrices import complex_of, matrices, numeric, real_part, square_matrices
from toonygrad.devices import DEVICE
from toonygrad.errors import dtype_error, shapes_error
from toonygrad.placement import place_of, uploaded

__all__ = [
    "cholesky",
    "det",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
]


class Eigen(NamedTuple):
    """What `eig` and `eigh` answer."""

    eigenvalues: Array
    eigenvectors: Array


class QR(NamedTuple):
    """What `qr` answers."""

    Q: Array
    R: Array


class SignAndLogarithm(NamedTuple):
    """What `slogdet` answers."""

    sign: Array
    logabsdet: Array


class SVD(NamedTuple):
    """What `svd` answers."""

    U: Array
    S: Array
    Vh: Array


def cholesky(x: Array, /, *, upper: bool = False) -> Array:
    """Cholesky factors: the lower triangular L with x = L Lᴴ, or the upper triangular U with x = Uᴴ U.

    Parameters
    ----------
    x : Array
        Of shape (..., M, M), numeric: Hermitian positive definite matrices, of which one triangle is read,
        the upper one for U. Integers are taken as float64.
    upper : bool
        Whether to answer U.

    Returns
    -------
    Array
        Of the shape of `x`, floating.

    Raises
    ------
    TypeError
        `x` isn't numeric.
    ValueError
        `x` isn't made of square matrices.
    numpy.linalg.LinAlgError
        A matrix isn't positive definite, found when the elements are computed.

    Notes
    -----
    The standard's "linalg" extension, `cholesky`.
    """
    node = square_matrices("cholesky", x)
    return _recorded("cholesky", node.dtype, node.shape, node, flag("cholesky", "upper", upper))


def det(x: Array, /) -> Array:
    """Determinants; 1 for matrices without elements.

    Parameters
    ----------
    x : Array
        Of shape (..., M, M), numeric; integers are taken as float64.

    Returns
    -------
    Array
        Of shape (...), floating.

    Raises
    ------
    TypeError
        `x` isn't numeric.
    ValueError
        `x` isn't made of square matrices.

    Notes
    -----
    The standard's "linalg" extension, `det`.
    """
    node = square_matrices("det", x)
    return _recorded("det", node.dtype, node.shape[:-2], node)


def eig(x: Array, /) -> Eigen:
    """Eigenvalues and eigenvectors. Computes `x`.

    Parameters
    ----------
    x : Array
        Of shape (..., M, M), numeric; integers are taken as float64.

    Returns
    -------
    eigenvalues : Array
        Of shape (..., M), complex, in the order in which LAPACK finds them.
    eigenvectors : Array
        Of the shape of `x`, complex: for each eigenvalue a column of length one.

    Raises
    ------
    TypeError
        `x` isn't numeric.
    ValueError
        `x` isn't made of square matrices.
    numpy.linalg.LinAlgError
        An element is infinite or NaN, or the iteration doesn't converge.

    Notes
    -----
    The standard's "linalg" extension, `eig`.
    """
    node = square_matrices("eig", x)
    # NumPy answers real numbers where all of them are real, which is not to depend on values.
    kind = complex_of(node.dtype)
    return Eigen(*_computed("eig", np.linalg.eig, node, [(kind, node.shape[:-1]), (kind, node.shape)]))


def eigh(x: Array, /) -> Eigen:
    """Eigenvalues and eigenvectors of Hermitian matrices. Computes `x`.

    Parameters
    ----------
    x : Array
        Of shape (..., M, M), numeric; integers are taken as float64. The lower triangle is read.

    Returns
    -------
    eigenvalues : Array
        Of shape (..., M), real, ascending.
    eigenvectors : Array
        Of the shape and floating data type of `x`: for each eigenvalue a column, orthonormal.

    Raises
    ------
    TypeError
        `x` isn't numeric.
    ValueError
        `x` isn't made of square matrices.
    numpy.linalg.LinAlgError
        The iteration doesn't converge.

    Notes
    -----
    The standard's "linalg" extension, `eigh`.
    """
    node = square_matrices("eigh", x)
    results = [(real_part(node.dtype), node.shape[:-1]), (node.dtype, node.shape)]
    return Eigen(*_computed("eigh", np.linalg.eigh, node, results))


def eigvals(x: Array, /) -> Array:
    """Eigenvalues.

    Parameters
    ----------
    x : Array
        Of shape (..., M, M), numeric; integers are taken as float64.

    Returns
    -------
    Array
        Of shape (..., M), complex, in the order in which LAPACK finds them.

    Raises
    ------
    TypeError
        `x` isn't numeric.
    ValueError
        `x` isn't made of square matrices.
    numpy.linalg.LinAlgError
        An element is infinite or NaN, or the iteration doesn't converge, found when the elements are
        computed.

    Notes
    -----
    The standard's "linalg" extension, `eigvals`.
    """
    node = square_matrices("eigvals", x)
    return _recorded("eigvals", complex_of(node.dtype), node.shape[:-1], node)


def eigvalsh(x: Array, /) -> Array:
    """Eigenvalues of Hermitian matrices.

    Parameters
    ----------
    x : Array
        Of shape (..., M, M), numeric; integers are taken as float64. The lower triangle is read.

    Returns
    -------
    Array
        Of shape (..., M), real, ascending.

    Raises
    ------
    TypeError
        `x` isn't numeric.
    ValueError
        `x` isn't made of square matrices.
    numpy.linalg.LinAlgError
        The iteration doesn't converge, found when the elements are computed.

    Notes
    -----
    The standard's "linalg" extension, `eigvalsh`.
    """
    node = square_matrices("eigvalsh", x)
    return _recorded("eigvalsh", real_part(node.dtype), node.shape[:-1], node)


def inv(x: Array, /) -> Array:
    """Inverse matrices.

    Parameters
    ----------
    x : Array
        Of shape (..., M, M), numeric; integers are taken as float64.

    Returns
    -------
    Array
        Of the shape of `x`, floating.

    Raises
    ------
    TypeError
        `x` isn't numeric.
    ValueError
        `x` isn't made of square matrices.
    numpy.linalg.LinAlgError
        A matrix is singular, found when the elements are computed.

    Notes
    -----
    The standard's "linalg" extension, `inv`.
    """
    return from_node(inverse("inv", square_matrices("inv", x)))


def pinv(x: Array, /, *, rtol: float | Array | None = None) -> Array:
    """Moore-Penrose pseudo-inverses.

    Parameters
    ----------
    x : Array
        Of shape (..., M, N), numeric; integers are taken as float64.
    rtol : float or Array, optional
        Singular values up to this part of the greatest one count as zero; an Array, of a real floating data
        type, broadcasts to the stack's shape (...). None: max(M, N) times the data type's precision.

    Returns
    -------
    Array
        Of shape (..., N, M), floating.

    Raises
    ------
    TypeError
        `x` isn't numeric, or `rtol` not real.
    ValueError
        `x` has fewer than two dimensions, or `rtol` doesn't broadcast.
    numpy.linalg.LinAlgError
        The iteration doesn't converge, found when the elements are computed.

    Notes
    -----
    The standard's "linalg" extension, `pinv`.
    """
    call = "pinv"
    node = matrices(call, x)
    *stack, rows, columns = node.shape
    shape, limit = (*stack, columns, rows), tolerance(call, node, rtol)
    if isinstance(limit, float):
        return from_node(record.external("pinv", (call, limit), node.dtype, shape, node))
    return from_node(record.external("pinv", (call,), node.dtype, shape, node, limit))


def qr(x: Array, /, *, mode: Literal["reduced", "complete"] = "reduced") -> QR:
    """Matrices as products of one with orthonormal columns and an upper triangular one. Computes `x`.

    Parameters
    ----------
    x : Array
        Of shape (..., M, N), numeric; integers are taken as float64.
    mode : {"reduced", "complete"}
        Whether Q has min(M, N) columns or all M.

    Returns
    -------
    Q : Array
        Of shape (..., M, min(M, N)) or (..., M, M), floating.
    R : Array
        Of shape (..., min(M, N), N) or (..., M, N).

    Raises
    ------
    TypeError
        `x` isn't numeric.
    ValueError
        `x` has fewer than two dimensions, or `mode` is neither.

    Notes
    -----
    The standard's "linalg" extension, `qr`.
    """
    call = "qr"
    node = matrices(call, x)
    if mode not in ("reduced", "complete"):
        raise ValueError(f"{call}: mode is 'reduced' or 'complete', not {mode!r}")
    *stack, rows, columns = node.shape
    count = rows if mode == "complete" else min(rows, columns)
    results = [(node.dtype, (*stack, rows, count)), (node.dtype, (*stack, count, columns))]
    return QR(*_computed(call, np.linalg.qr, node, results, mode))


def slogdet(x: Array, /) -> SignAndLogarithm:
    """Signs of determinants, and logarithms of their absolute values. Computes `x`.

    Parameters
    ----------
    x : Array
        Of shape (..., M, M), numeric; integers are taken as float64.

    Returns
    -------
    sign : Array
        Of shape (...), of the floating data type of `x`: of absolute value one, or zero where the determinant
        is.
    logabsdet : Array
        Of shape (...), real: natural logarithms, minus infinity where the determinant is zero.

    Raises
    ------
    TypeError
        `x` isn't numeric.
    ValueError
        `x` isn't made of square matrices.

    Notes
    -----
    The standard's "linalg" extension, `slogdet`.
    """
    node = square_matrices("slogdet", x)
    results = [(node.dtype, node.shape[:-2]), (real_part(node.dtype), node.shape[:-2])]
    return SignAndLogarithm(*_computed("slogdet", np.linalg.slogdet, node, results))


def solve(x1: Array, x2: Array, /) -> Array:
    """Solutions of systems of linear equations.

    Parameters
    ----------
    x1 : Array
        The coefficients, of shape (..., M, M), numeric.
    x2 : Array
        The right-hand sides, numeric: one vector of shape (M,), or (..., M, K) with a system for each of K
        columns. The stacks broadcast.

    Returns
    -------
    Array
        Of shape (..., M) or (..., M, K) and the common floating data type.

    Raises
    ------
    TypeError
        A data type isn't numeric, or there is no common one.
    ValueError
        `x1` isn't made of square matrices, or `x2` doesn't fit.
    numpy.linalg.LinAlgError
        A matrix is singular, found when the elements are computed.

    Notes
    -----
    The standard's "linalg" extension, `solve`.
    """
    call = "solve"
    left, right = record.promoted(call, square_matrices(call, x1), numeric(call, x2))
    size = left.shape[-1]
    if right.shape[-2:][:1] != (size,):
        raise ValueError(
            f"{call}: right-hand sides of shape {right.shape} for matrices of shape {left.shape}"
        )
    if len(right.shape) == 1:
        shape = tuple(left.shape[:-1])
    else:
        try:
            shape = (*record.common_shape(call, left.shape[:-2], right.shape[:-2]), *right.shape[-2:])
        except ValueError:
            raise shapes_error(call, (left.shape, right.shape)) from None
    return from_node(record.external("solve", (call,), left.dtype, shape, left, right))


def svd(x: Array, /, *, full_matrices: bool = True) -> SVD:
    """Singular value decompositions x = U diag(S) Vh. Computes `x`.

    Parameters
    ----------
    x : Array
        Of shape (..., M, N), numeric; integers are taken as float64.
    full_matrices : bool
        Whether U and Vh are square, or have K = min(M, N) columns and rows.

    Returns
    -------
    U : Array
        Of shape (..., M, M) or (..., M, K), floating, with orthonormal columns.
    S : Array
        Of shape (..., K), real, descending.
    Vh : Array
        Of shape (..., N, N) or (..., K, N), floating, with orthonormal rows.

    Raises
    ------
    TypeError
        `x` isn't numeric.
    ValueError
        `x` has fewer than two dimensions.
    numpy.linalg.LinAlgError
        The iteration doesn't converge.

    Notes
    -----
    The standard's "linalg" extension, `svd`.
    """
    node, full = matrices("svd", x), flag("svd", "full_matrices", full_matrices)
    *stack, rows, columns = node.shape
    count = min(rows, columns)
    left, right = (rows, columns) if full else (count, count)
    results = [
        (node.dtype, (*stack, rows, left)),
        (real_part(node.dtype), (*stack, count)),
        (node.dtype, (*stack, right, columns)),
    ]
    return SVD(*_computed("svd", np.linalg.svd, node, results, full))


def svdvals(x: Array, /) -> Array:
    """Singular values.

    Parameters
    ----------
    x : Array
        Of shape (..., M, N), numeric; integers are taken as float64.

    Returns
    -------
    Array
        Of shape (..., min(M, N)), real, descending.

    Raises
    ------
    TypeError
        `x` isn't numeric.
    ValueError
        `x` has fewer than two dimensions.
    numpy.linalg.LinAlgError
        The iteration doesn't converge, found when the elements are computed.

    Notes
    -----
    The standard's "linalg" extension, `svdvals`.
    """
    return from_node(singular_values("svdvals", matrices("svdvals", x)))


# -- what the rest of the extension needs ------------------------------------------------------------------


def inverse(call: str, node: record.Node) -> record.Node:
    """The inverses of floating square matrices, for the user's `call`."""
    return record.external("inv", (call,), node.dtype, node.shape, node)


def singular_values(call: str, node: record.Node) -> record.Node:
    """The singular values of floating matrices, descending, for the user's `call`."""
    *stack, rows, columns = node.shape
    return record.external("svdvals", (call,), real_part(node.dtype), (*stack, min(rows, columns)), node)


def tolerance(call: str, node: record.Node, rtol: Any) -> float | record.Node:
    """The part of the greatest singular value of `node` up to which others count as zero.

    Raises
    ------
    TypeError
        It isn't real.
    ValueError
        It is an array that doesn't broadcast to the stack's shape.
    """
    if rtol is None:
        return max(node.shape[-2:]) * float(np.finfo(real_part(node.dtype)).eps)
    if not isinstance(rtol, Array):
        return real(call, "rtol", rtol)
    limit = array_node(call, rtol)
    if limit.dtype not in dtypes.REAL_FLOATING:
        raise dtype_error(call, "real floating", limit.dtype)
    if record.common_shape(call, limit.shape, node.shape[:-2]) != node.shape[:-2]:
        raise ValueError(f"{call}: rtol of shape {limit.shape} for matrices of shape {node.shape}")
    return limit


def _recorded(
    call: str, dtype: np.dtype, shape: tuple[int, ...], node: record.Node, *parameters: Any
) -> Array:
    return from_node(record.external(call, (call, *parameters), dtype, shape, node))


def _computed(
    call: str,
    function: Callable[..., Any],
    node: record.Node,
    results: list[tuple[np.dtype, tuple[int, ...]]],
    *parameters: Any,
) -> list[Array]:
    """What `function` makes of a node, several arrays of these types and shapes."""
    if place_of(node) != DEVICE:
        # One after another for a plan, which may have a library that makes all of them at once.
        arrays = [
            from_node(record.external(call, (call, which, *parameters), dtype, shape, node))
            for which, (dtype, shape) in enumerate(results)
        ]
        realize(*arrays)
        return arrays
    with np.errstate(all="ignore"):
        try:
            found = function(realized(from_node(node)).array, *parameters)
        except np.linalg.LinAlgError as error:
            raise np.linalg.LinAlgError(f"{call}: {error}") from None
    return [
        from_node(uploaded(np.asarray(part).astype(dtype, copy=False), DEVICE))
        for part, (dtype, _) in zip(found, results)
    ]
