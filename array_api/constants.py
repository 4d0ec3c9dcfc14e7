"""The standard's constants (its chapter "Constants"). Re-exported by toonygrad; imports nothing of it."""

import math

__all__ = ["e", "inf", "nan", "newaxis", "pi"]

e = math.e
inf = math.inf
nan = math.nan
newaxis = None
pi = math.pi
