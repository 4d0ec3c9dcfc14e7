"""The namespace `toonygrad.linalg`: linear algebra, the standard's extension "linalg".

The functions stand in array_api/linalg.py; this is the name they are imported by.
"""

from toonygrad.array_api.linalg import *  # noqa: F403
from toonygrad.array_api.linalg import __all__ as __all__
