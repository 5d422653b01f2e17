"""Sparing the sick and the busy: a budget for attempts, ejection, the less loaded of two."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from skerry.base.http_errors import PeerUnreachableError
from skerry.route import decide
from skerry.route.decide import VERDICT_WORDS
from skerry.route.errors import ModelAbsentError, NoCandidateError, PeerAnsweredError
from skerry.route.race import PARAMETER_LOAD
from skerry.schema.oip import InferReply, InferRequest
from skerry.schema.route import Cascade, Ensemble, RouteSettings, fault_of

pytestmark = pytest.mark.anyio
Ask = Callable[..., InferRequest]
DOWN = PeerUnreachableError("https://peer", "connection refused")
SITE = tuple((f"oslo/{number}", "closet", 1.0) for number in (2, 3, 4))


async def test_a_sick_fleet_is_not_hammered(world, policy, ask: Ask) -> None:
    """Every node fails; attempts beyond the first stay within the share and what was saved."""
    settings = RouteSettings(retry_ratio=0.1, retry_per_s_min=0, retry_burst=5)
    router = world.router(policy, settings=settings)
    for node in ("oslo/2", "bergen/1", "region-eu/1", "cloud/1"):
        world.scripts[node] = ValueError("sick")
    told = ""
    for _ in range(100):
        for candidate in router._table.peers:  # breakers would spare the fleet on their own
            candidate.health.model("magika").breaker = type(candidate.health.link)()
        with pytest.raises(NoCandidateError) as caught:
            await world.run(router.infer(ask()))
        told = str(caught.value)
    assert 100 <= len(world.asked) <= 100 + 5 + 10
    assert "retry-budget" in told


async def test_without_budget_a_silent_peer_is_waited_for_and_not_hedged(
    world, policy, ask: Ask
) -> None:
    settings = RouteSettings(retry_ratio=0, retry_per_s_min=0, retry_burst=0)
    router = world.router(policy, settings=settings)
    world.scripts["oslo/2"] = 0.5
    reply = await world.run(router.infer(ask()))
    assert reply.served_by.node == "oslo/2"
    assert world.asked == ["oslo/2"]


async def test_who_does_not_have_a_model_costs_no_budget_and_is_not_asked_again_at_once(
    world, policy, ask: Ask
) -> None:
    settings = RouteSettings(retry_ratio=0, retry_per_s_min=0, retry_burst=0)
    router = world.router(policy, settings=settings)
    for node in ("oslo/2", "bergen/1"):
        world.scripts[node] = PeerAnsweredError(node, 404, "not served here")
    for _ in range(5):
        reply = await world.run(router.infer(ask()))
        assert (reply.served_by.node, reply.served_by.reason) == ("region-eu/1", "no-model")
    assert world.asked == ["oslo/2", "bergen/1", *["region-eu/1"] * 5]
    world.clock.advance(decide.ABSENT_S)
    world.scripts["oslo/2"] = 0.0
    assert (await world.run(router.infer(ask()))).served_by.node == "oslo/2"


async def test_a_forwarded_request_for_a_model_that_is_not_here_is_told_so(
    world, policy, ask: Ask
) -> None:
    """With 404, so that the node that asked knows better than to call it busy."""

    async def absent(_: InferRequest) -> InferReply:
        raise PeerAnsweredError("here", 404, "not served here")

    router = world.router(policy, local=absent)
    router._table.standins.clear()
    for data_class in ("public", "internal"):  # others may take all of it, or some of it
        with pytest.raises(ModelAbsentError) as caught:
            await world.run(router.infer(ask(hops=1, origin="bergen", data_class=data_class)))
        assert caught.value.http_status == 404


async def test_requests_go_to_the_less_loaded_of_a_sites_nodes(world, policy, ask: Ask) -> None:
    router = world.router(policy, peers=SITE)
    for node, _, _ in SITE:
        world.scripts[node] = 0.020
    await world.run(asyncio.gather(*(router.infer(ask()) for _ in range(60))))
    asked = Counter(world.asked)
    assert len(asked) == 3
    assert max(asked.values()) - min(asked.values()) <= 6, asked
    assert all(candidate.health.in_flight == 0 for candidate in router._table.peers)


async def test_an_ejected_node_is_spared_and_asked_where_nobody_else_may(
    world, policy, ask: Ask
) -> None:
    router = world.router(policy, peers=SITE[:2])
    world.scripts.update({"oslo/2": 0.010, "oslo/3": 0.010})
    sick = router._table.peers[0].health
    sick.eject(world.clock.monotonic_s(), 0.5)
    for _ in range(20):
        assert (await world.run(router.infer(ask()))).served_by.node == "oslo/3"
    alone = world.router(policy, peers=SITE[:1])
    alone._table.peers[0].health.eject(world.clock.monotonic_s(), 0.5)
    assert (await world.run(alone.infer(ask(data_class="health")))).served_by.node == "oslo/2"


class Busy:
    """A local engine that takes its time, and counts."""

    def __init__(self, world, takes_s: float) -> None:
        self.world, self.takes_s, self.ran = world, takes_s, 0

    async def infer(self, request: InferRequest) -> InferReply:
        self.ran += 1
        await self.world.clock.sleep(self.takes_s)
        return InferReply(model=request.model, version="1", outputs=[])


async def test_a_gateway_spreads_its_requests_over_the_nodes_of_its_site(
    world, policy, ask: Ask
) -> None:
    engine = Busy(world, 0.020)
    router = world.router(
        policy, local=engine.infer, peers=SITE[:1], settings=RouteSettings(balance=True)
    )
    world.scripts["oslo/2"] = 0.020
    replies = await world.run(asyncio.gather(*(router.infer(ask()) for _ in range(40))))
    assert abs(engine.ran - len(world.asked)) <= 4
    assert {reply.served_by.reason for reply in replies} == {"local", "balance"}


async def test_an_idle_gateway_answers_itself_and_a_dead_neighbour_costs_nothing(
    world, policy, ask: Ask
) -> None:
    engine = Busy(world, 0.010)
    router = world.router(
        policy, local=engine.infer, peers=SITE[:1], settings=RouteSettings(balance=True)
    )
    for _ in range(5):
        await world.run(router.infer(ask()))
    assert world.asked == []
    world.scripts["oslo/2"] = DOWN
    replies = await world.run(asyncio.gather(*(router.infer(ask()) for _ in range(10))))
    assert {reply.served_by.node for reply in replies} == {"oslo/1"}


async def test_a_forwarded_request_is_told_the_load_and_the_caller_is_not(
    world, policy, ask: Ask
) -> None:
    engine = Busy(world, 0.010)
    router = world.router(policy, local=engine.infer)
    for _ in range(2):  # the first is answered at length, the second plainly
        reply = await world.run(router.infer(ask(hops=1, origin="bergen")))
        assert reply.parameters[PARAMETER_LOAD] == 0
    assert (await world.run(router.infer(ask()))).parameters == {}


def test_settings_out_of_bounds_are_named() -> None:
    ensemble = Ensemble(members=("a", "b"), quorum=2, deadline_s=1.0)
    cascade = Cascade(small="s", threshold=0.9)
    assert fault_of(RouteSettings()) == ""
    assert fault_of(RouteSettings(ensembles={"a": ensemble}, cascades={"b": cascade})) == ""
    for wrong, words in (
        (RouteSettings(retry_ratio=2), "route.retry_ratio is 2, wanted 0 to 1"),
        (RouteSettings(cache_s={"public": 0}), "route.cache_s.public is 0"),
        (RouteSettings(cascades={"b": Cascade(small="b", threshold=0.9)}), "another model"),
        (RouteSettings(cascades={"b": Cascade(small="s", threshold=9)}), "threshold is 9"),
        (RouteSettings(cascades={"a": cascade}, ensembles={"a": ensemble}), "one of them"),
        (RouteSettings(ensembles={"a": Ensemble(members=("a",), quorum=1, deadline_s=1)}), "asks"),
        (
            RouteSettings(ensembles={"a": Ensemble(members=("a", "b"), quorum=3, deadline_s=1)}),
            "quorum is 3",
        ),
    ):
        assert words in fault_of(wrong)
    assert "retry-budget" in VERDICT_WORDS
