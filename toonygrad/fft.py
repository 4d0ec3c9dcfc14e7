"""The namespace `toonygrad.fft`: Fourier transforms, the standard's extension "fft".

The functions stand in array_api/fft.py; this is the name they are imported by.
"""

from toonygrad.array_api.fft import *  # noqa: F403
from toonygrad.array_api.fft import __all__ as __all__
