"""The rows of the benchmarks: what is computed, on what, and how near to NumPy's result it has to be.

Each row is one function in plain array API code, called with the namespace to compute in. `worker.py` runs a
row with one peer, `run.py` makes the table. Rows with `listed` set are those by which toonygrad has promised
to be measured; the others show what general machinery does with code nobody tuned it for.
"""

import fnmatch
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = Any  # of any namespace that keeps the array API standard


# -- inputs --------------------------------------------------------------------------------------------------


class Input(NamedTuple):
    """One operand: what fills it, and how its shape follows ``--scale``."""

    fill: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    shape: tuple[int, ...]
    # Of the scale, by which each axis grows; an axis without one keeps its length.
    powers: tuple[float, ...] = (1,)

    def make(self, random: np.random.Generator, scale: float) -> np.ndarray:
        shape = list(self.shape)
        for axis, power in enumerate(self.powers):
            if power:
                shape[axis] = max(8, round(shape[axis] * scale**power))
        return self.fill(random, tuple(shape))


def normal(dtype: str) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]:
    return lambda random, shape: random.standard_normal(shape, np.dtype(dtype).type)


def uniform(
    dtype: str, low: float = 0, high: float = 1
) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]:
    def fill(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        values = random.random(shape, np.dtype(dtype).type)
        values *= high - low
        values += low
        return values

    return fill


def small_integers(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.integers(0, 100, shape, np.int32)


def positions(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random indices into an operand of the same length."""
    return random.integers(0, shape[0], shape)


# -- the listed rows -----------------------------------------------------------------------------------------


def chain(xp: Any, a: Array, b: Array, c: Array) -> Array:
    return (a + b) * c - a / 2 + b * b


def haversine(xp: Any, latitude: Array, longitude: Array, to_latitude: Array, to_longitude: Array) -> Array:
    """Kilometres along the surface of the Earth, arguments in radians."""
    half_north = xp.sin((to_latitude - latitude) / 2)
    half_east = xp.sin((to_longitude - longitude) / 2)
    h = half_north * half_north + xp.cos(latitude) * xp.cos(to_latitude) * half_east * half_east
    return 2 * 6371.0 * xp.asin(xp.sqrt(xp.minimum(h, 1.0)))


def transcendental(xp: Any, x: Array, y: Array) -> Array:
    return xp.exp(-x * x) * xp.log(1 + y) + xp.tanh(x - y)


def total(xp: Any, x: Array) -> Array:
    return xp.sum(x)


def squared_distance(xp: Any, x: Array, y: Array) -> Array:
    return xp.sum((x - y) ** 2)


def column_variances(xp: Any, x: Array) -> Array:
    return xp.var(x, axis=0)


def standardize(xp: Any, x: Array) -> Array:
    return (x - xp.mean(x, axis=0)) / xp.std(x, axis=0)


def softmax(xp: Any, x: Array) -> Array:
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def layer_norm(xp: Any, x: Array) -> Array:
    mean = xp.mean(x, axis=-1, keepdims=True)
    variance = xp.var(x, axis=-1, keepdims=True)
    return (x - mean) / xp.sqrt(variance + 1e-5)


def pairwise_distances(xp: Any, x: Array, y: Array) -> Array:
    return xp.sqrt(xp.sum((x[:, None, :] - y[None, :, :]) ** 2, axis=-1))


def stencil(xp: Any, u: Array) -> Array:
    return u[1:-1, 1:-1] * -4 + u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]


def transpose_add(xp: Any, x: Array, y: Array) -> Array:
    return x.T + y


def matmul(xp: Any, x: Array, y: Array) -> Array:
    return x @ y


def dense_layer(xp: Any, x: Array, y: Array, b: Array) -> Array:
    return xp.maximum(x @ y + b, 0)


def cumulative_sum(xp: Any, x: Array) -> Array:
    return xp.cumulative_sum(x)


def argmax(xp: Any, x: Array) -> Array:
    return xp.argmax(x, axis=-1)


def sort(xp: Any, x: Array) -> Array:
    return xp.sort(x)


def take(xp: Any, x: Array, indices: Array) -> Array:
    return xp.take(x, indices) * 2 + 1


def ten_operations(xp: Any, h: Array) -> Array:
    k = h
    for _ in range(5):
        k = (k + h) * 0.5
    return k


# -- other rows ----------------------------------------------------------------------------------------------


def _shallow_water_step(
    fields: Sequence[Array],
    inside: Callable[[Array], Array],
    eastward: Callable[[Array], Array],
    northward: Callable[[Array], Array],
) -> tuple[Array, Array, Array]:
    """One step in time of depth and velocities, given how a field's inner cells and differences are read."""
    rate, turn, gravity = 0.005, 1e-6, 9.81
    h, u, v = fields
    h0, u0, v0 = (inside(field) for field in fields)
    return (
        h0 - rate * (eastward(h * u) + northward(h * v)),
        u0 + turn * v0 - rate * (gravity * eastward(h) + u0 * eastward(u) + v0 * northward(u)),
        v0 - turn * u0 - rate * (gravity * northward(h) + u0 * eastward(v) + v0 * northward(v)),
    )


def shallow_water(xp: Any, h: Array, u: Array, v: Array) -> tuple[Array, Array, Array]:
    """Inside a ring of cells that a model's boundary conditions fill."""
    return _shallow_water_step(
        (h, u, v),
        lambda q: q[1:-1, 1:-1],
        lambda q: q[1:-1, 2:] - q[1:-1, :-2],
        lambda q: q[2:, 1:-1] - q[:-2, 1:-1],
    )


def shallow_water_periodic(xp: Any, h: Array, u: Array, v: Array) -> tuple[Array, Array, Array]:
    """On a torus, its neighbours found by roll."""
    return _shallow_water_step(
        (h, u, v),
        lambda q: q,
        lambda q: xp.roll(q, -1, axis=1) - xp.roll(q, 1, axis=1),
        lambda q: xp.roll(q, -1, axis=0) - xp.roll(q, 1, axis=0),
    )


def equation_of_state(xp: Any, salinity: Array, temperature: Array, pressure: Array) -> Array:
    """Density of sea water in kg/m3 by EOS-80 (Fofonoff and Millard, UNESCO 1983), pressure in bar."""
    s, t, p = salinity, temperature, pressure
    s32 = s * xp.sqrt(s)
    density = (
        999.842594
        + t * (6.793952e-2 + t * (-9.095290e-3 + t * (1.001685e-4 + t * (-1.120083e-6 + t * 6.536332e-9))))
        + s * (8.24493e-1 + t * (-4.0899e-3 + t * (7.6438e-5 + t * (-8.2467e-7 + t * 5.3875e-9))))
        + s32 * (-5.72466e-3 + t * (1.0227e-4 + t * -1.6546e-6))
        + s * s * 4.8314e-4
    )
    bulk = (
        19652.21
        + t * (148.4206 + t * (-2.327105 + t * (1.360477e-2 + t * -5.155288e-5)))
        + s * (54.6746 + t * (-0.603459 + t * (1.09987e-2 + t * -6.1670e-5)))
        + s32 * (7.944e-2 + t * (1.6483e-2 + t * -5.3009e-4))
    )
    linear = (
        3.239908
        + t * (1.43713e-3 + t * (1.16092e-4 + t * -5.77905e-7))
        + s * (2.2838e-3 + t * (-1.0981e-5 + t * -1.6078e-6))
        + s32 * 1.91075e-4
    )
    quadratic = (
        8.50935e-5 + t * (-6.12293e-6 + t * 5.2787e-8) + s * (-9.9348e-7 + t * (2.0816e-8 + t * 9.1697e-10))
    )
    return density / (1 - p / (bulk + p * (linear + p * quadratic)))


def flux_limiter(xp: Any, tracer: Array, velocity: Array) -> Array:
    """Upwind transport along the last axis, its second-order part limited by Superbee."""
    upstream, left, right, downstream = tracer[:, :-3], tracer[:, 1:-2], tracer[:, 2:-1], tracer[:, 3:]
    step = right - left
    behind = xp.where(velocity > 0, left - upstream, downstream - right)
    smoothness = behind / xp.where(xp.abs(step) < 1e-12, 1e-12, step)
    limiter = xp.maximum(xp.maximum(xp.minimum(2 * smoothness, 1.0), xp.minimum(smoothness, 2.0)), 0.0)
    speed = xp.abs(velocity)
    return velocity * (left + right) / 2 - speed * step / 2 * (1 - limiter * (1 - speed))


def n_body(xp: Any, position: Array, mass: Array) -> Array:
    """Accelerations by the gravity of all others, softened, in units where its constant is 1."""
    away = position[None, :, :] - position[:, None, :]
    squared = xp.sum(away * away, axis=-1) + 1e-3
    weight = mass / (squared * xp.sqrt(squared))
    return xp.sum(away * weight[:, :, None], axis=1)


def gaussian_kernel(xp: Any, x: Array, y: Array) -> Array:
    return xp.exp(xp.sum((x[:, None, :] - y[None, :, :]) ** 2, axis=-1) * -0.5)


def kernel_density(xp: Any, x: Array, y: Array) -> Array:
    """The mean of the same kernel over all of `y`, for which no matrix need ever be stored."""
    return xp.mean(gaussian_kernel(xp, x, y), axis=1)


def masked_update(xp: Any, u: Array, forcing: Array, depth: Array) -> tuple[Array, Array]:
    """Wet cells are forced and damped, dry ones are 0; beside it how fast the water ran."""
    wet = depth > 0.3
    speed = xp.where(wet, xp.abs(u), 0.0)
    forced = u + 0.1 * forcing / xp.where(wet, depth, 1.0) - 0.01 * speed * u
    return xp.where(wet, forced, 0.0), xp.where(speed > 1.0, speed, 1.0)


def black_scholes(xp: Any, price: Array, strike: Array, years: Array) -> Array:
    """The price of a call, the normal distribution by Abramowitz and Stegun, 26.2.17."""
    rate, volatility = 0.02, 0.3
    spread = volatility * xp.sqrt(years)
    d1 = (xp.log(price / strike) + (rate + volatility * volatility / 2) * years) / spread

    def normal_distribution(d: Array) -> Array:
        k = 1 / (1 + 0.2316419 * xp.abs(d))
        polynomial = k * (
            0.319381530 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429)))
        )
        tail = xp.exp(-0.5 * d * d) * (0.3989422804014327 * polynomial)
        return xp.where(d > 0, 1 - tail, tail)

    discounted = strike * xp.exp(-rate * years)
    return price * normal_distribution(d1) - discounted * normal_distribution(d1 - spread)


def _assigned(x: Array, key: Any, value: Array) -> Array:
    """`x` after ``x[key] = value``; JAX's arrays can't be written, and its users write this instead."""
    if hasattr(x, "at"):
        return x.at[key].set(value)
    x[key] = value
    return x


def heat_loop(xp: Any, u: Array) -> Array:
    """Ten steps of heat conduction, each of which assigns the inner cells and leaves the border."""
    u = xp.asarray(u, copy=True)
    inside = (slice(1, -1), slice(1, -1))
    for _ in range(10):
        around = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
        u = _assigned(u, inside, u[1:-1, 1:-1] + 0.1 * (around - 4 * u[1:-1, 1:-1]))
    return u


def logistic_gradient(xp: Any, x: Array, weights: Array, labels: Array) -> Array:
    """Of the log loss of a logistic regression: two matrix-vector products around a chain."""
    probability = 1 / (1 + xp.exp(-(x @ weights)))
    return (x.T @ (probability - labels)) / x.shape[0]


# -- the table -----------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One line of the table.

    Attributes
    ----------
    name : str
        What ``--only`` takes.
    function : callable
        Takes a namespace and the operands, returns an array or a tuple of arrays.
    inputs : sequence of Input
    within : float
        The largest difference from NumPy's result, as a part of its largest magnitude; 0 asks for equality.
    listed : bool
        Whether it is one of those by which toonygrad has promised to be measured.
    loop : str or None
        The hand-written loop in `loops.py` that does the same work, where memory sets the pace.
    steps : int
        How often the function is called, each time on what it gave before.
    without : tuple of str
        Peers that are left out; the table says why.
    of_copy : float or None
        On a GPU: the part of a copy's bandwidth that was promised, where memory sets the pace.
    """

    name: str
    function: Callable[..., Any]
    inputs: Sequence[Input]
    within: float
    listed: bool = False
    loop: str | None = None
    steps: int = 1
    without: tuple[str, ...] = ()
    of_copy: float | None = None


# Rounding differs where a peer contracts to fused multiply-adds or adds in another order.
FLOAT32, FLOAT64 = 1e-5, 1e-12
# float32 sums of very many, and their results that are small beside what was added.
LONG_SUM32 = 1e-4

FIXED, BOTH = (), (0.5, 0.5)

_LATITUDE = Input(uniform("float64", -math.pi / 2, math.pi / 2), (4_000_000,))
_LONGITUDE = Input(uniform("float64", -math.pi, math.pi), (4_000_000,))
_WIDE = Input(normal("float32"), (5000, 4000))
_POINTS = Input(normal("float64"), (2000, 16))
_OCEAN = Input(uniform("float64", 0.5, 1.5), (2002, 2002), BOTH)

ROWS = (
    Row("chain32", chain, [Input(normal("float32"), (20_000_000,))] * 3, FLOAT32, True, "chain"),
    Row("chain64", chain, [Input(normal("float64"), (10_000_000,))] * 3, FLOAT64, True, "chain"),
    Row(
        "haversine",
        haversine,
        [_LATITUDE, _LONGITUDE] * 2,
        FLOAT64,
        True,
    ),
    Row(
        "transcendental",
        transcendental,
        [Input(normal("float32"), (10_000_000,)), Input(uniform("float32", 0, 3), (10_000_000,))],
        FLOAT32,
        True,
    ),
    Row("sum", total, [Input(uniform("float32"), (40_000_000,))], FLOAT32, True, "total"),
    Row(
        "squared-distance",
        squared_distance,
        [Input(normal("float64"), (20_000_000,))] * 2,
        FLOAT64,
        True,
        "squared_distance",
    ),
    Row(
        "column-variances",
        column_variances,
        [Input(normal("float64"), (4000, 4000), BOTH)],
        FLOAT64,
        True,
        "column_variances",
    ),
    Row("standardize", standardize, [_WIDE], FLOAT32, True, "standardize"),
    Row("softmax", softmax, [_WIDE], FLOAT32, True),
    Row("layer-norm", layer_norm, [_WIDE], FLOAT32, True, "layer_norm"),
    Row("pairwise-distances", pairwise_distances, [_POINTS] * 2, FLOAT64, True),
    Row("stencil", stencil, [Input(normal("float64"), (3000, 3000), BOTH)], FLOAT64, True, "stencil"),
    Row(
        "transpose-add",
        transpose_add,
        [Input(normal("float32"), (4000, 4000), BOTH)] * 2,
        FLOAT32,
        True,
        "transpose_add",
    ),
    Row("matmul", matmul, [Input(normal("float32"), (1500, 1500), BOTH)] * 2, FLOAT32, True),
    Row(
        "dense-layer",
        dense_layer,
        [Input(normal("float32"), (1500, 1500), BOTH)] * 2 + [Input(normal("float32"), (1500,), (0.5,))],
        FLOAT32,
        True,
    ),
    Row("matmul-int32", matmul, [Input(small_integers, (700, 700), BOTH)] * 2, 0, True),
    Row(
        "cumulative-sum",
        cumulative_sum,
        [Input(uniform("float64"), (10_000_000,))],
        FLOAT64,
        True,
        "cumulative_sum",
    ),
    Row("argmax", argmax, [_WIDE], 0, True, "argmax"),
    Row("sort", sort, [Input(normal("float32"), (4_000_000,))], 0, True),
    Row(
        "take",
        take,
        [Input(normal("float64"), (5_000_000,)), Input(positions, (5_000_000,))],
        FLOAT64,
        True,
        "take",
    ),
    Row("ten-operations", ten_operations, [Input(normal("float64"), (100,), FIXED)], FLOAT64, True),
    # The same chain from what the interpreter takes to what fills a cache.
    Row("chain-100", chain, [Input(normal("float64"), (100,), FIXED)] * 3, FLOAT64),
    Row("chain-10k", chain, [Input(normal("float64"), (10_000,), FIXED)] * 3, FLOAT64),
    Row("chain-1M", chain, [Input(normal("float64"), (1_000_000,), FIXED)] * 3, FLOAT64, loop="chain"),
    Row("shallow-water", shallow_water, [_OCEAN] * 3, FLOAT64, loop="shallow_water"),
    Row("shallow-water-periodic", shallow_water_periodic, [_OCEAN] * 3, FLOAT64),
    Row(
        "equation-of-state",
        equation_of_state,
        [
            Input(uniform("float64", 30, 40), (4_000_000,)),
            Input(uniform("float64", 0, 30), (4_000_000,)),
            Input(uniform("float64", 0, 500), (4_000_000,)),
        ],
        FLOAT64,
    ),
    Row(
        "flux-limiter",
        flux_limiter,
        [Input(normal("float64"), (2000, 2003)), Input(uniform("float64", -1, 1), (2000, 2000))],
        FLOAT64,
        loop="flux_limiter",
    ),
    Row("n-body", n_body, [Input(normal("float64"), (2000, 3)), Input(uniform("float64"), (2000,))], FLOAT64),
    Row("gaussian-kernel", gaussian_kernel, [Input(normal("float64"), (2000, 8))] * 2, FLOAT64),
    Row("kernel-density", kernel_density, [Input(normal("float64"), (2000, 8))] * 2, FLOAT64),
    Row(
        "masked-update",
        masked_update,
        [
            Input(normal("float64"), (3000, 3000), BOTH),
            Input(normal("float64"), (3000, 3000), BOTH),
            Input(uniform("float64"), (3000, 3000), BOTH),
        ],
        FLOAT64,
        loop="masked_update",
    ),
    Row(
        "black-scholes",
        black_scholes,
        [
            Input(uniform("float64", 50, 150), (4_000_000,)),
            Input(uniform("float64", 50, 150), (4_000_000,)),
            Input(uniform("float64", 0.1, 2), (4_000_000,)),
        ],
        FLOAT64,
    ),
    Row("heat-loop", heat_loop, [Input(normal("float64"), (1000, 1000), BOTH)], FLOAT64, loop="heat_loop"),
    Row(
        "logistic-gradient",
        logistic_gradient,
        [
            Input(normal("float32"), (200_000, 64)),
            Input(normal("float32"), (64,), FIXED),
            Input(uniform("float32"), (200_000,)),
        ],
        LONG_SUM32,
    ),
)


def named(names: Sequence[str], rows: Sequence[Row] = ROWS) -> list[Row]:
    """Those of the rows with these names or patterns such as ``chain*``, in the table's order; all for none.

    Raises
    ------
    ValueError
        For a name that fits no row.
    """
    for name in names:
        if not fnmatch.filter([row.name for row in rows], name):
            raise ValueError(f"no row {name!r}; there are {', '.join(row.name for row in rows)}")
    return [row for row in rows if not names or any(fnmatch.fnmatch(row.name, name) for name in names)]
