"""An ensemble under way: all members at once, a deadline, a quorum, one answer.

All are waited for until the ensemble's deadline; then as many as the quorum are enough.
The answer's parameter `skerry-took-part` names who took part.

Errors:  NoQuorumError, CombineError.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import msgspec

from skerry.base.clock import Clock
from skerry.base.drive import in_task
from skerry.base.errors import SkerryError
from skerry.route.combine import combine
from skerry.route.errors import Considered, NoQuorumError, UnknownDataClassError
from skerry.route.journey import Journey, class_allows
from skerry.schema.oip import InferReply, ServedBy
from skerry.schema.route import Ensemble

PARAMETER_TOOK_PART: Final = "skerry-took-part"
AskMember = Callable[[str, int], Awaitable[InferReply]]
"""Ask a model; the number says at which of its nodes, from 0."""


async def ask_ensemble(
    journey: Journey, settings: Ensemble, ask: AskMember, own: ServedBy, clock: Clock
) -> InferReply:
    """Return the members' answers as one. `own` says who combines them."""
    await in_task()
    members = [(model, node) for model in settings.members for node in range(settings.nodes)]
    tasks = [asyncio.ensure_future(ask(*member)) for member in members]
    left_s = min(settings.deadline_s, journey.deadline_s - clock.monotonic_s())
    timer = asyncio.ensure_future(clock.sleep(max(left_s, 0.0)))
    try:
        running: set[asyncio.Future[InferReply]] = set(tasks)
        while running and not timer.done():
            waited: set[asyncio.Future[Any]] = {*running, timer}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            running = {task for task in running if not task.done()}
    finally:
        timer.cancel()
        for task in tasks:
            task.cancel()  # those that are done stay as they are
        await asyncio.gather(*tasks, return_exceptions=True)
    answers: list[InferReply] = []
    told: list[str] = []
    for (model, _), task in zip(members, tasks, strict=True):
        why = _why_not(task)
        if why:
            told.append(f"{model}: {why}")
            journey.considered.append(Considered("", "", "", why, model))
        else:
            answers.append(task.result())
            told.append(_who(answers[-1]))
    if journey.trace is not None:
        journey.trace.ensemble = told
    if len(answers) < settings.quorum:
        detail = f"{len(answers)} of {len(members)} answered, {settings.quorum} are needed"
        raise NoQuorumError(journey.request.model, journey.considered, detail)
    own = msgspec.structs.replace(
        own,
        reason=f"ensemble {len(answers)}/{len(members)}",
        version="+".join(dict.fromkeys(reply.version for reply in answers)),
    )
    return InferReply(
        model=journey.request.model,
        version=own.version,
        outputs=combine([reply.outputs for reply in answers], settings.combine),
        id=journey.request.id,
        parameters={PARAMETER_TOOK_PART: ", ".join(_who(reply) for reply in answers)},
        served_by=own,
    )


def part_of(journey: Journey, member: str) -> Journey:
    """Return a member's share of an ensemble's request; the class must be its own too."""
    request = journey.request
    if not class_allows(journey, member):
        raise UnknownDataClassError(member, journey.data_class, f"not a class of {member}")
    if member != request.model:
        request = msgspec.structs.replace(request, model=member, version="")
    return replace(journey, request=request, considered=[])


def _why_not(task: "asyncio.Future[InferReply]") -> str:
    """Return why a member did not take part; raises what it said of the request itself."""
    if task.cancelled():
        return "deadline"
    error = task.exception()
    if error is None:
        return ""
    if getattr(error, "http_status", 500) == 400:
        raise error
    return str(error) if isinstance(error, SkerryError) else type(error).__name__


def _who(reply: InferReply) -> str:
    served = reply.served_by
    node = served.node if served is not None else ""
    return f"{node}/{reply.model}/{reply.version}"
