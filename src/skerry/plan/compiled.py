"""The door to numba: kernels, and production decisions as kernels.

A kernel is compiled on its first call and kept beside its source, so the second process
starts at once. `compiled` takes a production function (admission, routing, placement,
energy: scalars in, scalars out) and gives the same function to kernels; a test holds both
equal on random input, so a plan can never decide otherwise than a node does.

Limits:  no fast-math, so that a seed gives the same bits on every run of one machine type.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a loop over arrays; it runs without the interpreter's lock."""
    return cast(Function, numba.njit(cache=True, nogil=True)(function))


def compiled(function: Function) -> Function:
    """Return a production function in a form that kernels can call."""
    return cast(Function, numba.njit(nogil=True)(function))
