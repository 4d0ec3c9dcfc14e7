"""Where the coefficients in toonygrad/codegen/transcendental_*.py come from: run it and compare.

Each row of `table` names a function of t, the interval of t, how many coefficients, and the weight that
turns the error of the polynomial into the relative error of the result. Remez' exchange finds the best
polynomial; the lowest coefficients are rounded to float64 first and the others fitted again around them,
because their rounding costs the most. Needs mpmath.
"""

import sys
from collections.abc import Callable

import mpmath
from mpmath import mp, mpf

Function = Callable[[mpf], mpf]
ROUNDED_FIRST = 4


def remez(
    function: Function, weight: Function, low: mpf, high: mpf, powers: list[int]
) -> tuple[list[mpf], mpf]:
    """Coefficients of the powers that minimise the largest weighted error on [low, high], and that error."""
    count = len(powers)
    points = [
        (low + high) / 2 - (high - low) / 2 * mpmath.cos(mp.pi * (i + mpf(1) / 2) / (24 * count))
        for i in range(24 * count)
    ]
    values = [function(t) for t in points]
    weights = [weight(t) for t in points]
    rows = [[t**power for power in powers] for t in points]
    chosen = [round((i + 0.5) * len(points) / (count + 1)) for i in range(count + 1)]
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
        if len(extrema) < count + 1 or largest <= level * mpf("1.001"):
            break
        chosen = extrema
    return coefficients, largest


def fit(function: Function, weight: Function, low: mpf, high: mpf, count: int) -> tuple[list[float], mpf]:
    """float64 coefficients, lowest power first, and the largest weighted error of their polynomial."""
    fixed: list[float] = []

    def error(t: mpf) -> mpf:
        return function(t) - sum(c * t**power for power, c in enumerate(fixed))

    while len(fixed) < min(ROUNDED_FIRST, count):
        fixed.append(float(remez(error, weight, low, high, list(range(len(fixed), count)))[0][0]))
    if count > len(fixed):
        fixed += map(float, remez(error, weight, low, high, list(range(len(fixed), count)))[0])
    points = [low + (high - low) * (i + mpf(1) / 3) / 500 for i in range(500)]
    return fixed, max(abs(error(t) * weight(t)) for t in points)


HALF_LN2 = mpmath.log(2) / 2 * mpf("1.0002")
QUARTER_PI = mp.pi / 4
LOG_RANGE = (2 * (mpmath.sqrt(2) - 1) / (mpmath.sqrt(2) + 1)) ** 2 * mpf("1.0001")
TINY = mpf(2) ** -40


def odd(function: Function) -> tuple[Function, Function]:
    """((f(x) - x) / x**3 as a function of x**2, its weight), for odd functions that begin with x."""
    return (
        lambda z: (function(mpmath.sqrt(z)) - mpmath.sqrt(z)) / mpmath.sqrt(z) ** 3,
        lambda z: mpmath.sqrt(z) ** 3 / function(mpmath.sqrt(z)),
    )


def table() -> dict[str, tuple]:
    """name -> (function, weight, low, high, how many coefficients for float64, and for float32)."""
    return {
        "EXP": (
            lambda r: (mpmath.expm1(r) - r) / r**2,
            lambda r: r**2 / mpmath.exp(r),
            -HALF_LN2,
            HALF_LN2,
            10,
            5,
        ),
        "EXPM1": (
            lambda r: (mpmath.expm1(r) - r - r * r / 2) / r**3,
            lambda r: r**3 / mpmath.expm1(r),
            -HALF_LN2,
            HALF_LN2,
            10,
            5,
        ),
        "LOG": (*odd(lambda v: 2 * mpmath.atanh(v / 2)), TINY, LOG_RANGE, 7, 3),
        "SINH": (*odd(mpmath.sinh), TINY, HALF_LN2**2, 5, 3),
        "COSH": (
            lambda z: (mpmath.cosh(mpmath.sqrt(z)) - 1 - z / 2) / z**2,
            lambda z: z**2 / mpmath.cosh(mpmath.sqrt(z)),
            TINY,
            HALF_LN2**2,
            4,
            2,
        ),
        "SIN": (*odd(mpmath.sin), TINY, (QUARTER_PI * mpf("1.0001")) ** 2, 6, 4),
        "COS": (
            lambda z: (mpmath.cos(mpmath.sqrt(z)) - 1 + z / 2) / z**2,
            lambda z: z**2 / mpmath.cos(mpmath.sqrt(z)),
            TINY,
            (QUARTER_PI * mpf("1.0001")) ** 2,
            6,
            3,
        ),
        "ATAN": (*odd(mpmath.atan), TINY, mpf("0.2501"), 13, 6),
        "ASIN": (*odd(mpmath.asin), TINY, mpf("0.25"), 13, 6),
        "POW_LOG": (
            lambda z: (
                (
                    2 * mpmath.atanh(mpmath.sqrt(z) / 2)
                    - mpmath.sqrt(z)
                    - z * mpmath.sqrt(z) / 12
                    - z**2 * mpmath.sqrt(z) / 80
                )
                / mpmath.sqrt(z) ** 7
            ),
            lambda z: mpmath.sqrt(z) ** 7 / (2 * mpmath.atanh(mpmath.sqrt(z) / 2)),
            TINY,
            LOG_RANGE,
            8,
            3,
        ),
    }


if __name__ == "__main__":
    mp.dps = 60
    for name, (function, weight, low, high, *counts) in table().items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        for kind, count in zip(("", "_SHORT"), counts, strict=True):
            coefficients, error = fit(function, weight, low, high, count)
            print(f"# relative error 2**{float(mpmath.log(error, 2)):.1f}")
            print(f"{name}{kind} = (" + ", ".join(repr(c) for c in coefficients) + ")")
