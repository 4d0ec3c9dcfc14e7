"""Random programs (those of test_differential.py) on a GPU that isn't there, and on one where there is one:
kernels, views and steps of the host in one schedule compute what NumPy computes.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest
from fake_driver import fake_gpus
from hypothesis import given, settings
from hypothesis import strategies as st
from test_differential import Program, assert_equal, programs

import toonygrad as xp


@pytest.mark.parametrize(
    "gpu",
    [lambda: fake_gpus(1 << 28), pytest.param(nullcontext, marks=pytest.mark.cuda)],
    ids=["simulated", "real"],
)
@settings(max_examples=40)
@given(program=programs(), data=st.data())
def test_programs_compute_what_numpy_computes(
    gpu: Callable[[], AbstractContextManager[object]], program: Program, data: st.DataObject
) -> None:
    count = len(program.values) - len(program.inputs)
    wanted = data.draw(st.sets(st.integers(0, max(0, count - 1)), max_size=3)) | {count - 1}
    early = data.draw(st.integers(-1, count - 1))
    with gpu(), xp.config(device="cuda"):
        results = program.run([on_gpu(one) for one in program.inputs])[len(program.inputs) :]
        if early >= 0:
            np.asarray(results[early])
        outputs = [(k, results[k]) for k in sorted(wanted) if 0 <= k < count]
        results.clear()
        xp.realize(*(output for _, output in outputs))
        for k, output in outputs:
            assert output.device == "cuda:0"
            assert_equal(output, program.values[len(program.inputs) + k], f"result {k}")


def on_gpu(array: np.ndarray) -> xp.Array:
    """The array in a layout like its own, which need not be row-major."""
    if not array.ndim:
        return xp.asarray(array)
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    backwards = xp.asarray(np.ascontiguousarray(array.transpose(order)[..., ::-1]))
    return xp.permute_dims(backwards[..., ::-1], tuple(np.argsort(order).tolist()))
