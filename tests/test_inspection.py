"""What the namespace says of itself: its devices, which client code takes for a tuple or for a list."""

import pickle

import pytest

import toonygrad as xp

DEVICES = xp.__array_namespace_info__().devices()


def test_devices_are_a_tuple():
    assert isinstance(DEVICES, tuple)
    assert DEVICES == ("cpu",)
    assert hash(DEVICES) == hash(("cpu",))
    assert repr(DEVICES) == "('cpu',)"
    assert DEVICES in {("cpu",)}
    assert list(DEVICES) == ["cpu"]
    assert pickle.loads(pickle.dumps(DEVICES)) == DEVICES
    assert all(xp.zeros(1, device=device).device == device for device in DEVICES)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (DEVICES + ["meta"], ["cpu", "meta"]),
        (["meta"] + DEVICES, ["meta", "cpu"]),
        ([None] + DEVICES + [None], [None, "cpu", None]),
        (DEVICES + ("meta",), ("cpu", "meta")),
        (("meta",) + DEVICES, ("meta", "cpu")),
        (DEVICES + DEVICES, ("cpu", "cpu")),
    ],
)
def test_devices_beside_lists_and_tuples(found, expected):
    """SciPy's fixture for devices adds a list to them; others follow the standard."""
    assert type(found) is type(expected)
    assert found == expected


@pytest.mark.parametrize("other", ["meta", {"meta"}, 1, None])
def test_devices_beside_anything_else(other):
    with pytest.raises(TypeError):
        DEVICES + other
    with pytest.raises(TypeError):
        other + DEVICES
