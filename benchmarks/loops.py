"""Hand-written Numba loops: what a row that moves memory could reach, written for it alone.

Each takes the outputs to fill, which are kept from call to call, and then the row's operands. Threads share
the outermost loop; nothing here compiles to other arithmetic than is written, except that the sums marked so
may be added in another order, as everybody's vectorised sum is. `peers.py` offers them as a peer.
"""

import math

import numba
import numpy as np
from numba import prange

# Elements that one thread adds up, scans or searches before it joins its result to the others'.
BLOCK = 1 << 16
# A column tile of 4000 or 5000 rows stays in a core's second-level cache between its passes.
COLUMNS = 32
# A tile of a transpose: both sides stay in the first-level cache.
TILE = 32

_parallel = numba.njit(parallel=True)
_parallel_any_order = numba.njit(parallel=True, fastmath={"reassoc"})


@_parallel
def chain(out, a, b, c):
    half = out.dtype.type(0.5)  # a / 2 exactly, and in the operands' type
    for i in prange(out.size):
        out[i] = (a[i] + b[i]) * c[i] - a[i] * half + b[i] * b[i]


@_parallel_any_order
def total(out, x):
    together = 0.0
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        part = x.dtype.type(0)
        for i in range(block * BLOCK, min((block + 1) * BLOCK, x.size)):
            part += x[i]
        together += part
    out[()] = together


@_parallel_any_order
def squared_distance(out, x, y):
    together = 0.0
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        part = 0.0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, x.size)):
            part += (x[i] - y[i]) * (x[i] - y[i])
        together += part
    out[()] = together


@_parallel
def column_variances(out, x):
    rows, columns = x.shape
    for tile in prange((columns + COLUMNS - 1) // COLUMNS):
        first, last = tile * COLUMNS, min((tile + 1) * COLUMNS, columns)
        mean, squares = np.zeros(COLUMNS), np.zeros(COLUMNS)
        for i in range(rows):
            for j in range(first, last):
                mean[j - first] += x[i, j]
        mean /= rows
        for i in range(rows):
            for j in range(first, last):
                squares[j - first] += (x[i, j] - mean[j - first]) ** 2
        for j in range(first, last):
            out[j] = squares[j - first] / rows


@_parallel
def standardize(out, x):
    rows, columns = x.shape
    for tile in prange((columns + COLUMNS - 1) // COLUMNS):
        first, last = tile * COLUMNS, min((tile + 1) * COLUMNS, columns)
        mean, squares = np.zeros(COLUMNS, np.float32), np.zeros(COLUMNS, np.float32)
        for i in range(rows):
            for j in range(first, last):
                mean[j - first] += x[i, j]
        mean /= np.float32(rows)
        for i in range(rows):
            for j in range(first, last):
                squares[j - first] += (x[i, j] - mean[j - first]) ** 2
        deviation = np.sqrt(squares / np.float32(rows))
        for i in range(rows):
            for j in range(first, last):
                out[i, j] = (x[i, j] - mean[j - first]) / deviation[j - first]


@_parallel_any_order
def layer_norm(out, x):
    rows, columns = x.shape
    for i in prange(rows):
        mean = np.float32(0)
        for j in range(columns):
            mean += x[i, j]
        mean /= np.float32(columns)
        squares = np.float32(0)
        for j in range(columns):
            squares += (x[i, j] - mean) ** 2
        deviation = np.float32(math.sqrt(squares / np.float32(columns) + np.float32(1e-5)))
        for j in range(columns):
            out[i, j] = (x[i, j] - mean) / deviation


@_parallel
def stencil(out, u):
    rows, columns = out.shape
    for i in prange(rows):
        for j in range(columns):
            out[i, j] = u[i + 1, j + 1] * -4.0 + u[i, j + 1] + u[i + 2, j + 1] + u[i + 1, j] + u[i + 1, j + 2]


@_parallel
def transpose_add(out, x, y):
    rows, columns = out.shape
    for tile in prange((rows + TILE - 1) // TILE):
        for first in range(0, columns, TILE):
            for i in range(tile * TILE, min((tile + 1) * TILE, rows)):
                for j in range(first, min(first + TILE, columns)):
                    out[i, j] = x[j, i] + y[i, j]


@_parallel
def cumulative_sum(out, x):
    """Two passes: what each block sums to, then the scan of each from what all before it sum to."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    before = np.zeros(blocks + 1)
    for block in prange(blocks):
        part = 0.0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, x.size)):
            part += x[i]
        before[block + 1] = part
    for block in range(blocks):
        before[block + 1] += before[block]
    for block in prange(blocks):
        running = before[block]
        for i in range(block * BLOCK, min((block + 1) * BLOCK, x.size)):
            running += x[i]
            out[i] = running


@_parallel
def argmax(out, x):
    """The largest value first, which vectorises, then where it stands."""
    rows, columns = x.shape
    for i in prange(rows):
        largest = x[i, 0]
        for j in range(columns):
            largest = max(largest, x[i, j])
        at = 0
        while at < columns - 1 and x[i, at] != largest:
            at += 1
        out[i] = at


@_parallel
def take(out, x, indices):
    for i in prange(out.size):
        out[i] = x[indices[i]] * 2.0 + 1.0


@_parallel
def shallow_water(new_h, new_u, new_v, h, u, v):
    rate, turn, gravity = 0.005, 1e-6, 9.81
    rows, columns = new_h.shape
    for i in prange(1, rows + 1):
        for j in range(1, columns + 1):
            u0, v0 = u[i, j], v[i, j]
            eastward = h[i, j + 1] * u[i, j + 1] - h[i, j - 1] * u[i, j - 1]
            northward = h[i + 1, j] * v[i + 1, j] - h[i - 1, j] * v[i - 1, j]
            new_h[i - 1, j - 1] = h[i, j] - rate * (eastward + northward)
            new_u[i - 1, j - 1] = (
                u0
                + turn * v0
                - rate
                * (
                    gravity * (h[i, j + 1] - h[i, j - 1])
                    + u0 * (u[i, j + 1] - u[i, j - 1])
                    + v0 * (u[i + 1, j] - u[i - 1, j])
                )
            )
            new_v[i - 1, j - 1] = (
                v0
                - turn * u0
                - rate
                * (
                    gravity * (h[i + 1, j] - h[i - 1, j])
                    + u0 * (v[i, j + 1] - v[i, j - 1])
                    + v0 * (v[i + 1, j] - v[i - 1, j])
                )
            )


@_parallel
def flux_limiter(out, tracer, velocity):
    rows, columns = out.shape
    for i in prange(rows):
        for j in range(columns):
            left, right, flow = tracer[i, j + 1], tracer[i, j + 2], velocity[i, j]
            step = right - left
            behind = left - tracer[i, j] if flow > 0 else tracer[i, j + 3] - right
            smoothness = behind / (1e-12 if abs(step) < 1e-12 else step)
            limiter = max(max(min(2 * smoothness, 1.0), min(smoothness, 2.0)), 0.0)
            speed = abs(flow)
            out[i, j] = flow * (left + right) / 2 - speed * step / 2 * (1 - limiter * (1 - speed))


@_parallel
def masked_update(new_u, speeds, u, forcing, depth):
    rows, columns = u.shape
    for i in prange(rows):
        for j in range(columns):
            wet = depth[i, j] > 0.3
            speed = abs(u[i, j]) if wet else 0.0
            forced = u[i, j] + 0.1 * forcing[i, j] / (depth[i, j] if wet else 1.0) - 0.01 * speed * u[i, j]
            new_u[i, j] = forced if wet else 0.0
            speeds[i, j] = speed if speed > 1.0 else 1.0


@_parallel
def heat_loop(out, u):
    rows, columns = u.shape
    out[:] = u
    old, new = out, u.copy()
    for _ in range(10):  # an even number, so that the last step writes to out
        for i in prange(1, rows - 1):
            for j in range(1, columns - 1):
                around = old[i - 1, j] + old[i + 1, j] + old[i, j - 1] + old[i, j + 1]
                new[i, j] = old[i, j] + 0.1 * (around - 4 * old[i, j])
        old, new = new, old
