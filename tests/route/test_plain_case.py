"""The plain case: a short way that gives what the long one gives, and needs no task."""

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from skerry.base.drive import Later, begin
from skerry.base.http_errors import PeerUnreachableError
from skerry.schema.oip import InferReply, InferRequest

pytestmark = pytest.mark.anyio
Ask = Callable[..., InferRequest]


class StatusError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.http_status = status


@pytest.mark.parametrize("seed", range(5))
async def test_both_ways_give_the_same_answers_reasons_and_errors(
    world, policy, ask: Ask, seed: int
) -> None:
    """The same random load, models that fail by the same script, and one router that never
    takes the short way."""
    told: list[list[str]] = []
    for always_long in (False, True):
        rng = Random(seed)

        async def local(request: InferRequest, rng: Random = rng) -> InferReply:
            if rng.random() < 0.3:
                raise StatusError(rng.choice((404, 500, 503, 504)))
            await world.clock.sleep(rng.choice((0.0, 0.002)))
            return InferReply(model=request.model, version="1", outputs=[])

        world.clock, world.asked = type(world.clock)(), []
        router = world.router(policy, local=local, peers=(("oslo/2", "closet", 1.0),))
        router._at_length_always = always_long
        wishes, seen = Random(seed + 100), []
        for _ in range(150):
            request = ask(
                wishes.choice(("magika", "magika-small")),
                data_class=wishes.choice((None, "health", "public", "secret")),
                deadline_s=wishes.choice((0.0005, 0.01, 2.0, None)),
                hops=wishes.choice((0, 0, 1)),
                origin=wishes.choice((None, "bergen")),
            )
            try:
                reply = await world.run(router.infer(request))
                seen.append(f"{reply.served_by} {request.data_class} {reply.parameters}")
            except Exception as error:  # every kind counts
                seen.append(f"{type(error).__name__} {error}")
            world.clock.advance(wishes.choice((0.0, 0.3)))
        told.append(seen)
    assert told[0] == told[1]
    assert sum("reason='local'" in line for line in told[0]) > 20


async def test_a_local_answer_is_given_while_the_door_steps_the_request(
    world, policy, ask: Ask
) -> None:
    later: Later[InferReply] = Later()

    async def local(request: InferRequest) -> InferReply:
        if request.id == "waits":
            return await later
        return InferReply(model=request.model, version="1", outputs=[])

    router = world.router(policy, local=local)
    ended: list[InferReply | BaseException | None] = []

    def done(reply: InferReply | None, error: BaseException | None) -> None:
        ended.append(reply or error)

    for _ in range(2):
        assert begin(router.infer(ask()), done) is None
    assert len(ended) == 2
    waits = ask()
    waits.id = "waits"
    before = asyncio.all_tasks()
    begun = begin(router.infer(waits), done)
    assert begun is not None
    assert asyncio.all_tasks() == before
    later.set_result(InferReply(model="magika", version="1", outputs=[]))
    assert isinstance(ended[2], InferReply)


async def test_a_request_that_the_door_drops_leaves_nothing_counted(
    world, policy, ask: Ask
) -> None:
    later: Later[InferReply] = Later()

    async def local(_: InferRequest) -> InferReply:
        return await later

    router = world.router(policy, local=local)
    begun = begin(router.infer(ask()), lambda reply, error: None)
    assert begun is not None
    assert router._here.in_flight == 1
    begun.cancel()
    assert router._here.in_flight == 0


async def test_what_goes_away_is_taken_over_by_a_task(world, policy, ask: Ask) -> None:
    world.scripts["oslo/2"] = PeerUnreachableError("https://oslo/2", "gone")
    router = world.router(policy)
    ended: asyncio.Future[InferReply] = asyncio.get_running_loop().create_future()

    def done(reply: InferReply | None, error: BaseException | None) -> None:
        assert reply is not None, error
        ended.set_result(reply)

    assert begin(router.infer(ask()), done) is not None
    assert (await world.run(ended)).served_by.node == "bergen/1"
