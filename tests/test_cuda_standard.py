"""Every function of the namespace on a GPU that isn't there (fake_driver.py), and on one that is.

Results are compared with NumPy's.

The tables are those of the CPU's tests. Results have to be on the GPU, whoever computed them.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from fake_driver import fake_gpus
from hypothesis import given, settings
from hypothesis import strategies as st
from standard_cases import Call
from test_standard import CASES
from test_standard_arrays import ARRAYS
from test_standard_extensions import LINEAR_ALGEBRA

import toonygrad as xp

# These say or keep where things are, which test_devices.py looks at.
ELSEWHERE = ("__array_namespace_info__", "from_dlpack")
EVERYTHING = CASES | ARRAYS | LINEAR_ALGEBRA


@pytest.fixture(scope="module", params=["simulated", pytest.param("real", marks=pytest.mark.cuda)])
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    """The device to compute on."""
    if request.param == "real":
        yield "cuda:0"
        return
    with fake_gpus(1 << 30):
        yield "cuda:1"


def moved(value: Any, place: str) -> Any:
    """`value` with its Arrays on the GPU, inside of containers too."""
    if isinstance(value, xp.Array):
        return value.to_device(place)
    if isinstance(value, (tuple, list)):
        return type(value)(moved(part, place) for part in value)
    if isinstance(value, dict):
        return {key: moved(part, place) for key, part in value.items()}
    return value


def arrays_in(value: Any) -> list[xp.Array]:
    if isinstance(value, xp.Array):
        return [value]
    return [array for part in value for array in arrays_in(part)] if isinstance(value, (tuple, list)) else []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [name for name in EVERYTHING if name not in ELSEWHERE])
@settings(max_examples=5)
@given(data=st.data())
def test_like_numpy_and_stays_there(name, place, data):
    case = EVERYTHING[name]
    drawn = data.draw(case.arguments)
    keywords = {key: value for key, value in drawn.kwargs.items() if key != "device"}
    call = Call(moved(drawn.args, place), moved(keywords, place))
    function = getattr(xp, name.partition(" ")[0])

    def there(*args: Any, **kwargs: Any) -> Any:
        with xp.config(device=place):
            result = (case.ours or function)(*args, **kwargs)
        assert {array.device for array in arrays_in(result)} <= {place}
        return result

    case.__class__(case.arguments, case.reference, case.ulp, case.slack, there).compare(there, call)
