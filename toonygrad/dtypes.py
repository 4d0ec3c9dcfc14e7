"""The data types of the standard, their promotion, and what a Python scalar becomes beside an array.

Data types are NumPy dtype objects, so that every library that speaks NumPy's understands ours. This is the
lowest room: it imports NumPy alone, and everything above asks it.
"""

import numpy as np

bool_ = np.dtype("bool")
int8, int16, int32, int64 = (np.dtype(f"int{bits}") for bits in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64))
float16, float32, float64 = (np.dtype(f"float{bits}") for bits in (16, 32, 64))
complex64, complex128 = np.dtype("complex64"), np.dtype("complex128")

SIGNED = (int8, int16, int32, int64)
UNSIGNED = (uint8, uint16, uint32, uint64)
INTEGERS = SIGNED + UNSIGNED
REAL_FLOATING = (float32, float64)
COMPLEX_FLOATING = (complex64, complex128)
FLOATING = REAL_FLOATING + COMPLEX_FLOATING
REAL_NUMERIC = INTEGERS + REAL_FLOATING
NUMERIC = REAL_NUMERIC + COMPLEX_FLOATING
ALL = (bool_, *NUMERIC)

# What a function takes for a data type; record.data_type makes a numpy.dtype of it.
DTypeLike = np.dtype | type | str

# The standard's categories, by the names its `isdtype` takes and its error messages should use.
CATEGORIES: dict[str, tuple[np.dtype, ...]] = {
    "bool": (bool_,),
    "signed integer": SIGNED,
    "unsigned integer": UNSIGNED,
    "integral": INTEGERS,
    "real floating": REAL_FLOATING,
    "complex floating": COMPLEX_FLOATING,
    "numeric": NUMERIC,
    "real numeric": REAL_NUMERIC,
    "floating": FLOATING,
    "integer or boolean": (bool_, *INTEGERS),
    "any": ALL,
}

DEFAULT_INTEGER, DEFAULT_FLOAT, DEFAULT_COMPLEX = int64, float64, complex128
INDEX = int64


def _promotion_table() -> dict[tuple[np.dtype, np.dtype], np.dtype]:
    """Every pair that has a common type: the standard's table, and integers with floats as NumPy has them.

    A pair is missing where any answer would lose numbers silently or mix truth values with numbers: booleans
    with numbers, and uint64 with signed integers (NumPy answers float64 there, which can't hold either).
    float16 stands beside itself alone.
    """
    table = {(float16, float16): float16}
    for a in ALL:
        for b in ALL:
            if a != b and bool_ in (a, b):
                continue
            if uint64 in (a, b) and (a in SIGNED or b in SIGNED):
                continue
            table[a, b] = np.result_type(a, b)
    return table


PROMOTION = _promotion_table()

# The part of a complex number, and the complex type of a part.
REAL_PART: dict[np.dtype, np.dtype] = {complex64: float32, complex128: float64}
COMPLEX_OF: dict[np.dtype, np.dtype] = {float32: complex64, float64: complex128}


def is_supported(dtype: np.dtype) -> bool:
    """Whether arrays have the type `dtype`: one of the standard's, or float16, in native byte order."""
    return dtype in _SUPPORTED


# For storage: converted, moved and picked from. No category has it, and functions that compute refuse it.
STORAGE = frozenset((float16,))
_SUPPORTED = STORAGE.union(ALL)


def scalar_dtype(value: bool | int | float | complex, beside: np.dtype) -> np.dtype | None:
    """The type of a Python scalar `value` with an array of type `beside`; None where the two don't mix.

    As the standard's "mixing arrays with Python scalars": the array's type decides, unless the scalar is of a
    higher kind. A float beside integers gives the default float, as NumPy has it.
    """
    kind = type(value)
    if kind is bool:
        return bool_ if beside is bool_ or beside == bool_ else None
    if beside == bool_:
        return None
    if kind is int:
        return beside
    if kind is float:
        return DEFAULT_FLOAT if beside.kind in "iu" else beside
    if kind is complex:
        if beside.kind == "f":
            return COMPLEX_OF.get(beside)
        return DEFAULT_COMPLEX if beside.kind in "iu" else beside
    return None


def default_dtype(value: bool | int | float | complex) -> np.dtype:
    """The type of an array made from the Python scalar `value` alone."""
    if isinstance(value, bool):
        return bool_
    if isinstance(value, int):
        return DEFAULT_INTEGER
    return DEFAULT_FLOAT if isinstance(value, float) else DEFAULT_COMPLEX
