"""The door to numba: kernels, and production decisions as kernels.

A kernel is compiled on its first call and kept beside its source, so the second process
starts at once. `compiled` takes a production function (admission, routing, placement,
energy: scalars in, scalars out) and gives the same function to kernels, with all that it
calls; a test holds both equal on random input, so a plan can never decide otherwise than a
node does.

What is kept knows the source file of the kernel only. So a kernel that calls what other
files hold is kept under a name with a digest of those files in it: when production changes,
the kernel is made anew. Functions of a kernel's own file that it is made of are `part`s,
kept with it alone.

Limits:  no fast-math, so that a seed gives the same bits on every run of one machine type.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a loop over arrays; it runs without the interpreter's lock."""
    own = cast(FunctionType, function)
    files = sorted(set(_files_called(own, set())) - {own.__code__.co_filename})
    if files:
        own.__qualname__ += f"_{_digest(files):012x}"  # part of the name that it is kept under
    return cast(Function, numba.njit(cache=True, nogil=True)(function))


def part(function: Function) -> Function:
    """Compile a part of kernels, into the kernels that call it; it is not kept on its own."""
    return cast(Function, numba.njit(nogil=True)(function))


def compiled(function: Function) -> Function:
    """Return a production function, and the functions it calls, as kernels can call them."""
    made: dict[FunctionType, Any] = {}
    return cast(Function, _compiled(cast(FunctionType, function), made))


def _digest(files: list[str]) -> int:
    digest = hashlib.sha256()
    for file in files:
        digest.update(Path(file).read_bytes())
    return int.from_bytes(digest.digest()[:6], "big")


def _files_called(function: FunctionType, seen: set[FunctionType]) -> Iterator[str]:
    """Yield the file of every compiled function that a function calls by name, and theirs."""
    for name in function.__code__.co_names:
        called = getattr(function.__globals__.get(name), "py_func", None)
        if isinstance(called, FunctionType) and called not in seen:
            seen.add(called)
            yield called.__code__.co_filename
            yield from _files_called(called, seen)


def _compiled(function: FunctionType, made: dict[FunctionType, Any]) -> Any:
    if function not in made:
        names = {name: function.__globals__.get(name) for name in function.__code__.co_names}
        called = {
            name: _compiled(value, made)
            for name, value in names.items()
            if isinstance(value, FunctionType)
        }
        twin = FunctionType(
            function.__code__,
            {**function.__globals__, **called},
            function.__name__,
            function.__defaults__,
        )
        made[function] = numba.njit(nogil=True)(twin)
    return made[function]
