"""Where the coefficients in toonygrad/codegen/transcendental_*.py come from: run it and compare.

Each row of `table` names a function of t, the interval of t, how many coefficients, and the weight that
turns the error of the polynomial into the relative error of the result. Remez' exchange finds the best
polynomial; then coefficients are rounded to float64 or float32 from the lowest on, and those that are left
fitted again around each. Needs mpmath.
"""

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import mpmath
import numpy as np
from mpmath import mp, mpf

Function = Callable[[mpf], mpf]


def remez(function: Function, weight: Function, low: mpf, high: mpf, count: int) -> tuple[list[mpf], mpf]:
    """The polynomial of so many coefficients that minimises the largest weighted error on [low, high], and
    that error."""
    size = max(24 * count, 240)
    points = [
        (low + high) / 2 - (high - low) / 2 * mpmath.cos(mp.pi * (i + mpf(1) / 2) / size) for i in range(size)
    ]
    values = [function(t) for t in points]
    weights = [weight(t) for t in points]
    rows = [[t**power for power in range(count)] for t in points]
    chosen = [round((i + 0.5) * size / (count + 1)) for i in range(count + 1)]
    # Where the weight vanishes inside the interval the exchange may go round in circles near the best.
    best: tuple[list[mpf], mpf] = ([], mp.inf)
    for _ in range(40):
        system = mpmath.matrix(count + 1, count + 1)
        right = mpmath.matrix(count + 1, 1)
        for row, index in enumerate(chosen):
            for column in range(count):
                system[row, column] = rows[index][column]
            system[row, count] = (-1) ** row / weights[index]
            right[row] = values[index]
        solution = mpmath.lu_solve(system, right)
        coefficients, level = [solution[i] for i in range(count)], abs(solution[count])
        errors = [
            (value - mpmath.fdot(coefficients, row)) * w
            for value, row, w in zip(values, rows, weights, strict=True)
        ]
        extrema: list[int] = []
        for index, error in enumerate(errors):
            if extrema and (error > 0) == (errors[extrema[-1]] > 0):
                if abs(error) > abs(errors[extrema[-1]]):
                    extrema[-1] = index
            else:
                extrema.append(index)
        while len(extrema) > count + 1:
            if len(extrema) == count + 2:
                extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
            else:
                least = min(
                    range(len(extrema) - 1),
                    key=lambda i: abs(errors[extrema[i]]) + abs(errors[extrema[i + 1]]),
                )
                del extrema[least : least + 2]
        largest = max(abs(error) for error in errors)
        if largest < best[1]:
            best = coefficients, largest
        if len(extrema) < count + 1 or largest <= level * mpf("1.001"):
            break
        chosen = extrema
    return best


class Fit(NamedTuple):
    """What a polynomial is fitted to: a function and its weight on an interval; how many coefficients of
    which type; the first ones where they are given."""

    function: Function
    weight: Function
    low: mpf
    high: mpf
    count: int
    dtype: type[np.floating]
    given: Sequence[float] = ()


def coefficients(fit: Fit) -> tuple[list[float], mpf]:
    """Rounded coefficients, lowest power first, and the largest weighted error of their polynomial."""
    fixed = list(fit.given)

    def error(t: mpf) -> mpf:
        return fit.function(t) - sum(c * t**power for power, c in enumerate(fixed))

    for power in range(len(fixed), fit.count):
        best, _ = remez(
            lambda t, power=power: error(t) / t**power,
            lambda t, power=power: fit.weight(t) * abs(t) ** power,
            fit.low,
            fit.high,
            fit.count - power,
        )
        fixed.append(float(fit.dtype(float(best[0]))))
    points = [fit.low + (fit.high - fit.low) * (i + mpf(1) / 3) / 1000 for i in range(1000)]
    return fixed, max(abs(error(t) * fit.weight(t)) for t in points)


DOUBLE, SINGLE = np.float64, np.float32
TINY = mpf(2) ** -40


def even(function: Function) -> Function:
    """A function of x as one of x * x."""
    return lambda z: function(mpmath.sqrt(z))


def odd(function: Function, high: mpf) -> tuple[Function, Function, mpf, mpf]:
    """(f(x) - x) / x**3 as a function of x**2, its weight and interval, for odd functions that begin with x,
    up to `high`."""
    return (
        even(lambda x: (function(x) - x) / x**3),
        even(lambda x: abs(x**3 / function(x))),
        TINY,
        high**2,
    )


def logarithm(base: mpf, leading: float) -> tuple[Function, Function, mpf, mpf]:
    """(log(1 + f) - leading * f) / f, to some base, for f as `split_single` leaves it."""
    scale = 1 / mpmath.log(base)
    low, high = mpf("-0.3047"), mpf("0.3907")
    return (
        lambda f: mpmath.log1p(f) * scale / f - leading,
        lambda f: abs(f / (mpmath.log1p(f) * scale)),
        low,
        high,
    )


def table() -> dict[str, Fit]:
    """By the names that the coefficients have."""
    half_ln2 = mpmath.log(2) / 2 * mpf("1.001")
    quarter_pi = mp.pi / 4 * mpf("1.0001")
    wider_quarter_pi = mp.pi / 4 * mpf("1.004")
    ratio = 2 * (mpmath.sqrt(2) - 1) / (mpmath.sqrt(2) + 1) * mpf("1.0001")
    log2_e, log10_e = (float(SINGLE(1 / mpmath.log(base))) for base in (2, 10))
    lacking = [
        float(SINGLE(float(1 / mpmath.log(base) - mpf(leading))))
        for base, leading in ((2, log2_e), (10, log10_e))
    ]
    exp = (
        lambda r: (mpmath.expm1(r) - r) / r**2,
        lambda r: r**2 / mpmath.exp(r),
        -half_ln2,
        half_ln2,
    )
    expm1 = (
        lambda r: (mpmath.expm1(r) - r) / r**2,
        lambda r: abs(r**2 / mpmath.expm1(r)),
        -half_ln2,
        half_ln2,
    )
    expm1_third = (
        lambda r: (mpmath.expm1(r) - r - r * r / 2) / r**3,
        lambda r: r**3 / mpmath.expm1(r),
        -half_ln2,
        half_ln2,
    )
    cosh = (
        even(lambda x: (mpmath.cosh(x) - 1) / x**2),
        even(lambda x: x**2 / mpmath.cosh(x)),
        TINY,
        half_ln2**2,
    )
    cosh_fourth = (
        even(lambda x: (mpmath.cosh(x) - 1 - x**2 / 2) / x**4),
        even(lambda x: x**4 / mpmath.cosh(x)),
        TINY,
        half_ln2**2,
    )

    def cosine(high: mpf) -> tuple[Function, Function, mpf, mpf]:
        return (
            even(lambda x: (mpmath.cos(x) - 1 + x**2 / 2) / x**4),
            even(lambda x: x**4 / mpmath.cos(x)),
            TINY,
            high**2,
        )

    atanh = odd(lambda v: 2 * mpmath.atanh(v / 2), ratio)
    pow_log = (
        even(lambda v: (2 * mpmath.atanh(v / 2) - v - v**3 / 12 - v**5 / 80) / v**7),
        even(lambda v: v**7 / (2 * mpmath.atanh(v / 2))),
        TINY,
        ratio**2,
    )
    log1p = (
        lambda f: (mpmath.log1p(f) - f) / f**2,
        lambda f: abs(f**2 / mpmath.log1p(f)),
        *logarithm(mp.e, 1.0)[2:],
    )
    return {
        "EXP": Fit(*exp, 10, DOUBLE),
        "EXP_SHORT": Fit(*exp, 5, DOUBLE),
        "EXP_SINGLE": Fit(*exp, 5, SINGLE),
        "EXPM1": Fit(*expm1_third, 10, DOUBLE),
        "EXPM1_SINGLE": Fit(*expm1, 6, SINGLE),
        "LOG": Fit(*atanh, 7, DOUBLE),
        "LOG_SINGLE": Fit(*log1p, 9, SINGLE),
        "LOG2_SINGLE": Fit(*logarithm(mpf(2), log2_e), 10, SINGLE, lacking[:1]),
        "LOG10_SINGLE": Fit(*logarithm(mpf(10), log10_e), 10, SINGLE, lacking[1:]),
        "POW_LOG": Fit(*pow_log, 8, DOUBLE),
        "POW_LOG_SHORT": Fit(*pow_log, 3, DOUBLE),
        "SINH": Fit(*odd(mpmath.sinh, half_ln2), 5, DOUBLE),
        "SINH_SINGLE": Fit(*odd(mpmath.sinh, half_ln2), 2, SINGLE),
        "COSH": Fit(*cosh_fourth, 4, DOUBLE),
        "COSH_SINGLE": Fit(*cosh, 3, SINGLE),
        "SIN": Fit(*odd(mpmath.sin, quarter_pi), 6, DOUBLE),
        "SIN_SINGLE": Fit(*odd(mpmath.sin, wider_quarter_pi), 3, SINGLE),
        "COS": Fit(*cosine(quarter_pi), 6, DOUBLE),
        "COS_SINGLE": Fit(*cosine(wider_quarter_pi), 3, SINGLE),
        "TAN_SINGLE": Fit(*odd(mpmath.tan, wider_quarter_pi), 7, SINGLE),
        "ATAN": Fit(*odd(mpmath.atan, mpf("0.5001")), 13, DOUBLE),
        "ATAN_SINGLE": Fit(*odd(mpmath.atan, mpf("0.5001")), 5, SINGLE),
        "ASIN": Fit(*odd(mpmath.asin, mpf("0.5")), 13, DOUBLE),
        "ASIN_SINGLE": Fit(*odd(mpmath.asin, mpf("0.5")), 5, SINGLE),
        "ASINH_SINGLE": Fit(*odd(mpmath.asinh, mpf("0.5")), 5, SINGLE),
    }


if __name__ == "__main__":
    mp.dps = 100
    for name, fit in table().items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        fitted, error = coefficients(fit)
        print(f"# relative error 2**{float(mpmath.log(error, 2)):.1f}")
        print(f"{name} = (" + ", ".join(map(repr, fitted)) + ")", flush=True)
