"""The router: who answers, in which order, why, and what happens when nobody can."""

import asyncio
from collections.abc import Callable

import pytest

from skerry.base.http_errors import PeerBrokenError, PeerUnreachableError
from skerry.route import decide
from skerry.route.errors import (
    DeadlineExceededError,
    NoCandidateError,
    PeerAnsweredError,
    RefusedByResidencyError,
    UnknownDataClassError,
    UnknownModelError,
)
from skerry.route.race import verdict_of
from skerry.schema.desired import Desired, DesiredModel, Gate, Peer
from skerry.schema.oip import InferReply, InferRequest, Tensor
from skerry.schema.policy import Policy, Residency, Stays

pytestmark = pytest.mark.anyio
Ask = Callable[..., InferRequest]
DOWN = PeerUnreachableError("https://peer", "connection refused")


class LoadError(Exception):
    """What the serve room raises, known here by its status alone."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.http_status = status


class Engine:
    """A local engine by script: per model an error to raise, or an answer time."""

    def __init__(self, world, **scripts: float | Exception) -> None:
        self.world, self.ran = world, []
        self.scripts = {name.replace("_", "-"): script for name, script in scripts.items()}

    async def infer(self, request: InferRequest) -> InferReply:
        self.ran.append(request.model)
        script = self.scripts.get(request.model, 0.0)
        if isinstance(script, Exception):
            raise script
        await self.world.clock.sleep(script)
        return InferReply(model=request.model, version="3", outputs=[])


async def test_the_local_model_answers_first_and_nothing_leaves(world, policy, ask: Ask) -> None:
    router = world.router(policy, local=Engine(world).infer)
    reply = await world.run(router.infer(ask()))
    assert (reply.served_by.node, reply.served_by.reason) == ("oslo/1", "local")
    assert (reply.served_by.site, reply.served_by.tier) == ("oslo", "closet")
    assert world.asked == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [(503, "queue-full"), (500, "local-down"), (504, "deadline"), (404, "no-model")],
)
async def test_the_standin_answers_before_anything_leaves_the_site(
    world, policy, ask: Ask, status: int, reason: str
) -> None:
    router = world.router(policy, local=Engine(world, magika=LoadError(status)).infer)
    reply = await world.run(router.infer(ask()))
    assert reply.served_by.model == "magika-small"
    assert reply.served_by.reason == f"stand-in:{reason}"
    assert world.asked == []


async def test_a_sequence_stays_where_its_state_is(world, policy, ask: Ask) -> None:
    """No stand-in and no peer knows what came before; only a model that is not here goes on."""
    for status, asked in ((503, []), (500, []), (400, []), (404, ["oslo/2"])):
        world.asked.clear()
        engine = Engine(world, magika=LoadError(status), magika_small=LoadError(404))
        request = ask()
        request.parameters["sequence_id"] = 7
        router = world.router(policy, local=engine.infer)
        if not asked:
            with pytest.raises(LoadError, match=f"status {status}"):
                await world.run(router.infer(request))
            assert engine.ran == ["magika"]
        else:
            await world.run(router.infer(request))
        assert world.asked == asked
    request.parameters["sequence_id"] = 7
    reply = await world.run(world.router(policy, local=Engine(world).infer).infer(request))
    assert (reply.served_by.node, reply.served_by.reason) == ("oslo/1", "local")


async def test_a_model_that_is_not_ready_is_down_and_not_busy(world, policy, ask: Ask) -> None:
    unready = LoadError(503)
    unready.grpc_code = "UNAVAILABLE"
    router = world.router(policy, local=Engine(world, magika=unready).infer)
    reply = await world.run(router.infer(ask()))
    assert reply.served_by.reason == "stand-in:local-down"


async def test_a_model_too_slow_for_the_deadline_is_not_started(world, policy, ask: Ask) -> None:
    engine = Engine(world, magika=0.5)
    router = world.router(policy, local=engine.infer)
    await world.run(router.infer(ask(deadline_s=2.0)))
    reply = await world.run(router.infer(ask(deadline_s=0.1)))
    assert engine.ran == ["magika", "magika-small"]
    assert reply.served_by.reason == "stand-in:deadline"


async def test_a_rule_puts_the_standin_first_and_the_large_model_second(
    world, policy, ask: Ask
) -> None:
    engine = Engine(world)
    router = world.router(policy, local=engine.infer)
    router.prefer({"magika-small": "power.source == ups;\r\nx: y"})
    reply = await world.run(router.infer(ask()))
    assert engine.ran == ["magika-small"]
    assert reply.served_by.reason == "rule:power.source == ups___x: y"
    engine.scripts["magika-small"] = LoadError(500)
    reply = await world.run(router.infer(ask()))
    assert reply.served_by.reason == "local"
    assert world.asked == []


async def test_a_rule_counts_from_the_next_request_on_and_no_longer_than_it_holds(
    world, policy, ask: Ask
) -> None:
    engine = Engine(world)
    router = world.router(policy, local=engine.infer)
    for preferred in ({}, {"magika-small": "power.source == ups"}, {}):
        router.prefer(preferred)
        for _ in range(2):
            await world.run(router.infer(ask()))
    assert engine.ran == ["magika"] * 2 + ["magika-small"] * 2 + ["magika"] * 2


async def test_bad_input_is_told_to_the_caller_and_tried_nowhere_else(
    world, policy, ask: Ask
) -> None:
    router = world.router(policy, local=Engine(world, magika=LoadError(400)).infer)
    with pytest.raises(LoadError):
        await world.run(router.infer(ask()))
    assert world.asked == []


async def test_peers_are_asked_in_tier_order_own_site_first_then_by_latency(
    world, policy, ask: Ask
) -> None:
    router = world.router(policy)
    for node in ("oslo/2", "bergen/1", "region-eu/1"):
        world.scripts[node] = DOWN
    reply = await world.run(router.infer(ask()))
    assert world.asked == ["oslo/2", "bergen/1", "region-eu/1", "cloud/1"]
    assert (reply.served_by.node, reply.served_by.reason) == ("cloud/1", "down")


async def test_what_travels_says_where_it_came_from_what_it_is_and_how_long_is_left(
    world, policy, ask: Ask
) -> None:
    await world.run(world.router(policy).infer(ask(deadline_s=2.0)))
    sent = world.sent[0]
    assert (sent.origin_site, sent.data_class, sent.hops) == ("oslo", "public", 1)
    assert sent.deadline_s == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(
    ("data_class", "allowed"),
    [
        ("health", ["oslo/2"]),
        ("internal", ["oslo/2", "bergen/1"]),
        ("public", ["oslo/2", "bergen/1", "region-eu/1", "cloud/1"]),
    ],
)
async def test_a_data_class_goes_where_its_rule_says_and_no_further(
    world, policy, ask: Ask, data_class: str, allowed: list[str]
) -> None:
    router = world.router(policy)
    for node in ("oslo/2", "bergen/1", "region-eu/1", "cloud/1"):
        world.scripts[node] = DOWN
    with pytest.raises(NoCandidateError) as caught:
        await world.run(router.infer(ask(data_class=data_class)))
    assert world.asked == allowed
    refused = {c.node for c in caught.value.considered if c.verdict == "residency"}
    assert refused == {"oslo/2", "bergen/1", "region-eu/1", "cloud/1"} - set(allowed)
    assert all(c.detail for c in caught.value.considered)


async def test_if_no_node_may_take_the_data_the_refusal_says_so_and_nothing_is_sent(
    world, policy, ask: Ask
) -> None:
    router = world.router(policy, peers=(("cloud/1", "cloud", 60.0),))
    with pytest.raises(RefusedByResidencyError, match="cloud/1") as caught:
        await world.run(router.infer(ask(data_class="health")))
    assert caught.value.http_status == 403
    assert world.asked == []


async def test_if_who_may_take_the_data_has_no_model_it_is_refused_for_good(
    world, policy, ask: Ask
) -> None:
    engine = Engine(world, magika=LoadError(404), magika_small=LoadError(404))
    router = world.router(policy, local=engine.infer, peers=(("cloud/1", "cloud", 60.0),))
    with pytest.raises(RefusedByResidencyError, match=r"no-model.*cloud/1.*residency"):
        await world.run(router.infer(ask(data_class="health")))
    assert world.asked == []


@pytest.mark.parametrize("data_class", ["secret", "personal"])
async def test_a_class_nobody_declared_is_refused_even_here(
    world, policy, ask: Ask, data_class: str
) -> None:
    engine = Engine(world)
    router = world.router(policy, local=engine.infer)
    with pytest.raises(UnknownDataClassError):
        await router.infer(ask(data_class=data_class))
    with pytest.raises(UnknownModelError) as caught:
        await router.infer(ask("a-model-without-a-rule"))
    assert caught.value.http_status == 404
    assert engine.ran == []


def test_a_misspelt_model_is_told_the_nearest_name() -> None:
    assert UnknownModelError("magica", ["magika", "other"]).hint == "did you mean magika?"
    assert UnknownModelError("zzz", ["magika", "other"]).hint == "it has magika, other"


async def test_a_standin_must_be_allowed_the_class_itself(world, policy: Policy, ask: Ask) -> None:
    strict = Policy(
        fleet="clinic",
        generation=2,
        data_classes=policy.data_classes,
        model_classes={**policy.model_classes, "magika-small": ("public",)},
        places=policy.places,
    )
    router = world.router(strict, local=Engine(world, magika=LoadError(500)).infer, peers=())
    with pytest.raises(NoCandidateError, match="magika-small"):
        await world.run(router.infer(ask(data_class="health")))


async def test_without_a_policy_nothing_leaves_the_site(world, ask: Ask) -> None:
    world.scripts["oslo/2"] = DOWN
    with pytest.raises(NoCandidateError):
        await world.run(world.router(None).infer(ask()))
    assert world.asked == ["oslo/2"]


async def test_a_forwarded_request_is_answered_here_or_refused(world, policy, ask: Ask) -> None:
    forwarded = ask(hops=1, origin="bergen")
    router = world.router(policy, local=Engine(world).infer)
    assert (await world.run(router.infer(forwarded))).served_by.node == "oslo/1"
    broken = Engine(world, magika=LoadError(503), magika_small=LoadError(503)).infer
    with pytest.raises(NoCandidateError, match="hops"):
        await world.run(world.router(policy, local=broken).infer(forwarded))
    assert world.asked == []


async def test_data_that_may_not_be_here_is_refused_although_it_was_sent(
    world, policy, ask: Ask
) -> None:
    engine = Engine(world)
    router = world.router(policy, local=engine.infer)
    for _ in range(2):  # also after the same class was answered here
        for origin in ("hamburg", "atlantis"):
            with pytest.raises(RefusedByResidencyError):
                await router.infer(ask(data_class="health", hops=1, origin=origin))
        assert engine.ran == []
        await world.run(router.infer(ask(data_class="health")))
        engine.ran.clear()


async def test_a_silent_peer_is_hedged_and_no_second_request_waits_for_it(
    world, policy, ask: Ask
) -> None:
    """A black hole: healthy p95 10 ms; the one slow request adds at most twice that."""
    router = world.router(policy)
    world.scripts.update({"oslo/2": 0.010, "bergen/1": 0.010})
    for _ in range(30):
        await world.run(router.infer(ask()))
    world.scripts["oslo/2"] = None
    world.probes["oslo/2"] = TimeoutError()
    took_s = []
    for _ in range(50):
        started_s = world.clock.monotonic_s()
        reply = await world.run(router.infer(ask()))
        took_s.append(world.clock.monotonic_s() - started_s)
        assert reply.served_by.node == "bergen/1"
    assert took_s[0] - 0.010 <= 2 * 0.011
    assert max(took_s[1:]) <= 0.012  # the probe runs beside the requests, never before one
    assert world.cancelled == ["oslo/2"]
    assert world.probed


async def test_a_probed_peer_is_tried_by_one_request_and_comes_back(
    world, policy, ask: Ask
) -> None:
    router = world.router(policy)
    world.scripts["oslo/2"] = DOWN
    assert (await world.run(router.infer(ask()))).served_by.node == "bergen/1"
    reply = await world.run(router.infer(ask()))
    assert (reply.served_by.node, reply.served_by.reason) == ("bergen/1", "breaker-open")
    assert world.asked.count("oslo/2") == 1
    world.scripts["oslo/2"] = 0.010
    world.clock.advance(decide.OPEN_S_MIN * 1.3)
    await world.run(router.infer(ask()))  # starts the probe, and is not held up by it
    assert world.probed == ["oslo/2"]
    both = asyncio.gather(router.infer(ask()), router.infer(ask()))
    replies = await world.run(both)
    assert [reply.served_by.node for reply in replies] == ["oslo/2", "bergen/1"]
    assert (await world.run(router.infer(ask()))).served_by.reason == "local"


async def test_a_lone_peer_whose_wait_is_over_is_tried_by_the_request_itself(
    world, policy, ask: Ask
) -> None:
    router = world.router(policy, peers=(("oslo/2", "closet", 1.0),))
    world.scripts["oslo/2"] = DOWN
    with pytest.raises(NoCandidateError):
        await world.run(router.infer(ask()))
    with pytest.raises(NoCandidateError, match="breaker-open") as caught:
        await world.run(router.infer(ask()))
    assert 0 < caught.value.retry_after_s <= decide.OPEN_S_MIN * 1.25
    world.scripts["oslo/2"] = 0.0
    world.clock.advance(decide.OPEN_S_MIN * 1.3)
    assert (await world.run(router.infer(ask()))).served_by.node == "oslo/2"


async def test_errors_of_one_model_at_a_peer_do_not_shut_out_its_other_models(
    world, policy, ask: Ask
) -> None:
    router = world.router(policy)
    world.scripts["oslo/2"] = PeerAnsweredError("https://oslo/2", 500, "boom")
    for _ in range(decide.FAILURES_MAX + 2):
        await world.run(router.infer(ask()))
    assert world.asked.count("oslo/2") == decide.FAILURES_MAX
    world.scripts["oslo/2"] = 0.0
    assert (await world.run(router.infer(ask("magika-small")))).served_by.node == "oslo/2"


async def test_a_peer_that_sends_rubbish_is_passed_over(world, policy, ask: Ask) -> None:
    world.scripts["oslo/2"] = PeerBrokenError("https://oslo/2", "not HTTP")
    assert (await world.run(world.router(policy).infer(ask()))).served_by.node == "bergen/1"


async def test_a_peer_that_finds_the_request_at_fault_ends_the_matter(
    world, policy, ask: Ask
) -> None:
    world.scripts["oslo/2"] = PeerAnsweredError("https://oslo/2", 400, "wrong shape")
    with pytest.raises(PeerAnsweredError, match="wrong shape"):
        await world.run(world.router(policy).infer(ask()))
    assert world.asked == ["oslo/2"]


async def test_when_all_are_silent_the_deadline_ends_it_and_names_each(
    world, policy, ask: Ask
) -> None:
    for node in ("oslo/2", "bergen/1", "region-eu/1", "cloud/1"):
        world.scripts[node] = None
    started_s = world.clock.monotonic_s()
    with pytest.raises(DeadlineExceededError, match=r"oslo/2.*bergen/1"):
        await world.run(world.router(policy).infer(ask(deadline_s=1.0)))
    assert world.clock.monotonic_s() - started_s == pytest.approx(1.0, abs=0.005)
    assert sorted(world.cancelled) == sorted(world.asked)


async def test_a_cancelled_request_leaves_nothing_running(world, policy, ask: Ask) -> None:
    world.scripts["oslo/2"] = None
    task = asyncio.ensure_future(world.router(policy).infer(ask()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.cancelled == ["oslo/2"]


async def test_an_update_changes_the_next_request_and_not_those_under_way(
    world, policy, ask: Ask
) -> None:
    router = world.router(policy)
    world.scripts["oslo/2"] = 0.010
    under_way = asyncio.ensure_future(router.infer(ask()))
    await asyncio.sleep(0.01)
    peer = Peer(
        node="bergen/1", site="bergen", region="region-eu", tier="closet", url="https://b",
        round_trip_ms=8.0,
    )  # fmt: skip
    desired = Desired(
        generation=2, fleet="clinic", domain="clinic.example", region="region-eu", site="oslo",
        tier="closet", jurisdiction="NO", policy_sha256="", tier_order=("closet",), peers=(peer,),
        models=(DesiredModel(name="magika", version=2, manifest_sha256="", standin=None),),
        gate=Gate(hold_s=1.0),
    )  # fmt: skip
    closed = Policy(
        fleet="clinic", generation=2, places=policy.places,
        data_classes={"public": Residency(stays=Stays.SITE)},
        model_classes={"magika": ("public",)},
    )  # fmt: skip
    router.update(desired, closed)
    assert (await world.run(under_way)).served_by.node == "oslo/2"
    with pytest.raises(RefusedByResidencyError):
        await world.run(router.infer(ask()))
    assert world.asked == ["oslo/2"]


async def test_a_reply_keeps_what_the_peer_says_of_itself(world, policy, ask: Ask) -> None:
    router = world.router(policy, forwards=False)
    reply = await world.run(router.infer(ask()))
    assert world.sent[0].hops == 0
    assert isinstance(reply.outputs[0], Tensor)
    assert reply.served_by.reason == "local"


def test_an_error_that_nobody_foresaw_counts_as_down_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class OddError(Exception):
        pass

    assert verdict_of(OddError("a slip")) == decide.DOWN
    assert verdict_of(OddError("again")) == decide.DOWN
    assert verdict_of(ConnectionResetError()) == decide.DOWN
    assert [record.getMessage() for record in caplog.records] == [
        "an unforeseen OddError counts as down"
    ]
