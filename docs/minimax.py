"""Where the coefficients in toonygrad/codegen/transcendental_*.py come from: run it and compare.

Each row of `table` names a function of t, the interval of t, how many coefficients, and the weight that
turns the error of the polynomial into the relative error of the result. Remez' exchange finds the best
polynomial; then coefficients are rounded to float64 or float32 from the lowest on, and those that are left
fitted again around each. Needs mpmath.
"""

import sys
from collections.abc import Callable
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
    """What a polynomial is fitted to: a function and its weight on an interval, and how many coefficients in
    float64 and in float32."""

    function: Function
    weight: Function
    low: mpf
    high: mpf
    double: int
    single: int


def coefficients(fit: Fit, count: int, dtype: type[np.floating]) -> tuple[list[float], mpf]:
    """Rounded coefficients, lowest power first, and the largest weighted error of their polynomial."""
    fixed: list[float] = []

    def error(t: mpf) -> mpf:
        return fit.function(t) - sum(c * t**power for power, c in enumerate(fixed))

    for power in range(count):
        best, _ = remez(
            lambda t, power=power: error(t) / t**power,
            lambda t, power=power: fit.weight(t) * abs(t) ** power,
            fit.low,
            fit.high,
            count - power,
        )
        fixed.append(float(dtype(float(best[0]))))
    points = [fit.low + (fit.high - fit.low) * (i + mpf(1) / 3) / 1000 for i in range(1000)]
    return fixed, max(abs(error(t) * fit.weight(t)) for t in points)


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


def table() -> dict[str, Fit]:
    """By the names that the coefficients have."""
    half_ln2 = mpmath.log(2) / 2 * mpf("1.001")
    quarter_pi = mp.pi / 4 * mpf("1.004")  # in float32 the reduction may leave so much
    ratio = mpf("0.3047") / (2 - mpf("0.3047"))  # f / (2 + f) for f between -0.3047 and 0.3907
    return {
        "EXP": Fit(
            lambda r: (mpmath.expm1(r) - r) / r**2,
            lambda r: r**2 / mpmath.exp(r),
            -half_ln2,
            half_ln2,
            10,
            5,
        ),
        "EXPM1": Fit(
            lambda r: (mpmath.expm1(r) - r) / r**2,
            lambda r: abs(r**2 / mpmath.expm1(r)),
            -half_ln2,
            half_ln2,
            11,
            6,
        ),
        "SINH": Fit(*odd(mpmath.sinh, half_ln2), 5, 2),
        "COSH": Fit(
            even(lambda x: (mpmath.cosh(x) - 1) / x**2),
            even(lambda x: x**2 / mpmath.cosh(x)),
            TINY,
            half_ln2**2,
            5,
            3,
        ),
        "LOG": Fit(
            even(lambda s: (2 * mpmath.atanh(s) / s - 2) / s**2),
            even(lambda s: s**3 / (2 * mpmath.atanh(s))),
            TINY,
            ratio**2,
            7,
            3,
        ),
        "PRECISE_LOG": Fit(
            even(lambda s: (2 * mpmath.atanh(s) / s - 2 - 2 * s**2 / 3) / s**4),
            even(lambda s: s**5 / (2 * mpmath.atanh(s))),
            TINY,
            ratio**2,
            8,
            3,
        ),
        "ASINH": Fit(*odd(mpmath.asinh, mpf("0.5")), 12, 5),
        "SIN": Fit(*odd(mpmath.sin, quarter_pi), 6, 3),
        "COS": Fit(
            even(lambda x: (mpmath.cos(x) - 1 + x**2 / 2) / x**4),
            even(lambda x: x**4 / mpmath.cos(x)),
            TINY,
            quarter_pi**2,
            6,
            3,
        ),
        "TAN": Fit(*odd(mpmath.tan, quarter_pi), 15, 7),
        "ASIN": Fit(*odd(mpmath.asin, mpf("0.5")), 13, 5),
        "ATAN": Fit(*odd(mpmath.atan, mpf("0.5001")), 13, 5),
    }


if __name__ == "__main__":
    mp.dps = 120
    for name, fit in table().items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        for count, dtype in ((fit.double, np.float64), (fit.single, np.float32)):
            fitted, error = coefficients(fit, count, dtype)
            print(f"{name} {dtype.__name__}: relative error 2**{float(mpmath.log(error, 2)):.1f}")
            print("    (" + ", ".join(map(repr, fitted)) + ")", flush=True)
