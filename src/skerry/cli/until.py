"""Runs something until Ctrl-C or SIGTERM, and lets it stop in order."""

import signal
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from skerry.base.errors import SkerryError


async def until_stopped(work: Callable[[], Awaitable[Any]]) -> None:
    """Run `work` until it ends or a signal comes; an error of skerry's own is raised bare."""
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on_signal, tasks.cancel_scope)
            await work()
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        known = _first_known(group)
        if known is None:
            raise
        raise known from None


async def _cancel_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return


def _first_known(group: BaseExceptionGroup[Any]) -> SkerryError | None:
    for error in group.exceptions:
        if isinstance(error, SkerryError):
            return error
        if isinstance(error, BaseExceptionGroup):
            found = _first_known(error)
            if found is not None:
                return found
    return None
