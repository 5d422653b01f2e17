"""More than one model, or none: cascade, ensemble, cache, and the trace that tells of it."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from skerry.base.http_errors import PeerUnreachableError
from skerry.route.ensemble import PARAMETER_TOOK_PART
from skerry.route.errors import NoCandidateError, NoQuorumError
from skerry.schema.desired import Desired, Gate
from skerry.schema.oip import (
    HEADER_EXPLAIN_ROUTE,
    PARAMETER_ROUTE,
    InferReply,
    InferRequest,
    Tensor,
)
from skerry.schema.policy import Policy
from skerry.schema.route import Cascade, Combine, Ensemble, RouteSettings
from skerry.schema.route_trace import RouteTrace

pytestmark = pytest.mark.anyio
Ask = Callable[..., InferRequest]
DOWN = PeerUnreachableError("https://peer", "connection refused")


class Models:
    """Local models by name: what scores each gives, and which were run."""

    def __init__(self, **scores: list[Any]) -> None:
        self.scores = {name.replace("_", "-"): value for name, value in scores.items()}
        self.ran: list[str] = []

    async def infer(self, request: InferRequest) -> InferReply:
        self.ran.append(request.model)
        assert HEADER_EXPLAIN_ROUTE not in request.parameters
        data = np.atleast_2d(np.array(self.scores[request.model], np.float32))
        return InferReply(
            model=request.model, version="3", outputs=[Tensor("s", "FP32", data.shape, data)]
        )


def cascade(check_ratio: float = 0.0) -> RouteSettings:
    small = Cascade(small="magika-small", threshold=0.9, check_ratio=check_ratio)
    return RouteSettings(cascades={"magika": small})


async def test_a_small_model_that_is_sure_answers_and_one_that_is_not_asks_the_large(
    world, policy, ask: Ask
) -> None:
    models = Models(magika=[0, 1], magika_small=[9, 0])
    router = world.router(policy, local=models.infer, settings=cascade())
    reply = await world.run(router.infer(ask()))
    assert (reply.served_by.model, reply.served_by.reason) == ("magika-small", "cascade")
    models.scores["magika-small"] = [1, 0]
    reply = await world.run(router.infer(ask()))
    assert (reply.served_by.model, reply.served_by.reason) == ("magika", "cascade-unsure")
    assert models.ran == ["magika-small", "magika-small", "magika"]


async def test_every_item_of_a_batch_has_to_be_sure(world, policy, ask: Ask) -> None:
    models = Models(magika=[0, 1], magika_small=[[9, 0], [1, 0]])
    router = world.router(policy, local=models.infer, settings=cascade())
    reply = await world.run(router.infer(ask()))
    assert reply.served_by.reason == "cascade-unsure"


async def test_the_large_model_is_asked_up_the_tiers_within_the_residency_rule(
    world, policy, ask: Ask
) -> None:
    models = Models(magika_small=[1, 0])

    async def only_small(request: InferRequest) -> InferReply:
        if request.model == "magika":
            raise AbsentError
        return await models.infer(request)

    router = world.router(policy, local=only_small, settings=cascade())
    router._table.standins.clear()  # it would answer, unsure as it is, before anybody else
    world.scripts["oslo/2"] = DOWN
    reply = await world.run(router.infer(ask(data_class="internal")))
    assert reply.served_by.node == "bergen/1"
    assert reply.served_by.reason.startswith("cascade-unsure:")
    with pytest.raises(NoCandidateError, match="residency"):
        await world.run(router.infer(ask(data_class="health")))
    assert set(world.asked) == {"oslo/2", "bergen/1"}


class AbsentError(Exception):
    http_status = 404


async def test_a_share_of_the_sure_answers_is_checked_and_the_difference_counted(
    world, policy, ask: Ask
) -> None:
    models = Models(magika=[0, 1], magika_small=[9, 0])
    router = world.router(policy, local=models.infer, settings=cascade(check_ratio=0.25))
    reasons = [(await world.run(router.infer(ask()))).served_by.reason for _ in range(200)]
    checked = reasons.count("cascade-check")
    assert 30 <= checked <= 70
    assert reasons.count("cascade") == 200 - checked
    state = router._cascades["magika"]
    assert (state.checked, state.disagreed) == (checked, checked)
    models.scores["magika"] = [1, 0]
    for _ in range(40):
        await world.run(router.infer(ask()))
    assert state.disagreed == checked < state.checked


async def test_the_small_model_must_be_allowed_the_class_itself(
    world, policy: Policy, ask: Ask
) -> None:
    classes = {**policy.model_classes, "magika-small": ("public",)}
    strict = msgspec.structs.replace(policy, model_classes=classes)
    models = Models(magika=[0, 1], magika_small=[9, 0])
    router = world.router(strict, local=models.infer, settings=cascade())
    await world.run(router.infer(ask(data_class="health")))
    assert models.ran == ["magika"]


async def test_who_forwarded_a_request_has_decided_which_model_answers(
    world, policy, ask: Ask
) -> None:
    models = Models(magika=[0, 1], magika_small=[9, 0])
    router = world.router(policy, local=models.infer, settings=cascade())
    await world.run(router.infer(ask(hops=1, origin="bergen")))
    assert models.ran == ["magika"]


def ensemble(**changes: object) -> RouteSettings:
    facts = {"members": ("magika", "magika-small"), "quorum": 2, "deadline_s": 0.1, **changes}
    return RouteSettings(ensembles={"magika": Ensemble(**facts)})  # type: ignore[arg-type]


async def test_an_ensemble_answers_as_one_and_says_who_took_part(world, policy, ask: Ask) -> None:
    models = Models(magika=[0, 1], magika_small=[1, 0])
    router = world.router(policy, local=models.infer, settings=ensemble())
    reply = await world.run(router.infer(ask()))
    assert reply.outputs[0].data.tolist() == [[0.5, 0.5]]
    assert reply.served_by.reason == "ensemble 2/2"
    assert reply.parameters[PARAMETER_TOOK_PART] == "oslo/1/magika/3, oslo/1/magika-small/3"


async def test_one_model_is_asked_at_different_nodes(world, policy, ask: Ask) -> None:
    models = Models(magika=[0, 1])
    settings = ensemble(members=("magika",), nodes=3, combine=Combine.VOTE)
    router = world.router(policy, local=models.infer, settings=settings)
    reply = await world.run(router.infer(ask()))
    assert models.ran == ["magika"]
    assert sorted(world.asked) == ["bergen/1", "oslo/2"]
    assert reply.served_by.reason == "ensemble 3/3"


async def test_where_this_node_lacks_the_model_the_others_are_still_different_ones(
    world, policy, ask: Ask
) -> None:
    async def absent(_: InferRequest) -> InferReply:
        raise AbsentError

    settings = ensemble(members=("magika",), nodes=3)
    router = world.router(policy, local=absent, settings=settings)
    for _ in range(10):
        world.asked.clear()
        reply = await world.run(router.infer(ask()))
        assert len(world.asked) == len(set(world.asked)) == 3
        assert reply.served_by.reason == "ensemble 3/3"


async def test_after_its_deadline_a_quorum_is_enough_and_less_is_none(
    world, policy, ask: Ask
) -> None:
    models = Models(magika=[0, 1])
    settings = ensemble(members=("magika",), nodes=3, quorum=2)
    peers = (("oslo/2", "closet", 1.0), ("bergen/1", "closet", 8.0))
    router = world.router(policy, local=models.infer, settings=settings, peers=peers)
    world.scripts["bergen/1"] = None
    started_s = world.clock.monotonic_s()
    reply = await world.run(router.infer(ask()))
    assert reply.served_by.reason == "ensemble 2/3"
    assert world.clock.monotonic_s() - started_s == pytest.approx(0.1, abs=0.005)
    assert world.cancelled == ["bergen/1"]
    world.scripts["oslo/2"] = DOWN
    with pytest.raises(NoQuorumError, match="1 of 3 answered, 2 are needed"):
        await world.run(router.infer(ask()))


async def test_an_ensembles_members_stay_within_the_residency_rule(world, policy, ask: Ask) -> None:
    models = Models(magika=[0, 1])
    settings = ensemble(members=("magika",), nodes=4, quorum=2)
    router = world.router(policy, local=models.infer, settings=settings)
    reply = await world.run(router.infer(ask(data_class="health")))
    assert world.asked == ["oslo/2"]
    assert reply.served_by.reason == "ensemble 2/4"


async def test_an_ensembles_member_must_be_allowed_the_class_itself(
    world, policy: Policy, ask: Ask
) -> None:
    classes = {**policy.model_classes, "magika-small": ("public",)}
    strict = msgspec.structs.replace(policy, model_classes=classes)
    models = Models(magika=[0, 1], magika_small=[9, 0])
    router = world.router(strict, local=models.infer, settings=ensemble(quorum=1))
    reply = await world.run(router.infer(ask(data_class="health")))
    assert (models.ran, reply.served_by.reason) == (["magika"], "ensemble 1/2")


async def test_what_was_kept_is_forgotten_when_the_policy_changes(
    world, policy: Policy, ask: Ask
) -> None:
    models = Models(magika=[0, 1])
    router = world.router(
        policy, local=models.infer, settings=RouteSettings(cache_s={"public": 5.0})
    )
    desired = Desired(
        generation=2, fleet="clinic", domain="clinic.example", region="region-eu", site="oslo",
        tier="closet", jurisdiction="NO", policy_sha256="", tier_order=("closet",), peers=(),
        models=(), gate=Gate(hold_s=1.0),
    )  # fmt: skip
    await world.run(router.infer(ask()))
    router.update(desired, policy)
    assert (await world.run(router.infer(ask()))).served_by.reason == "local"


async def test_a_kept_answer_says_so_and_no_model_is_asked(world, policy, ask: Ask) -> None:
    models = Models(magika=[0, 1])
    settings = RouteSettings(cache_s={"public": 5.0})
    router = world.router(policy, local=models.infer, settings=settings)
    for reason in ("local", "cache"):
        reply = await world.run(router.infer(ask()))
        assert (reply.served_by.node, reply.served_by.reason) == ("oslo/1", reason)
    await world.run(router.infer(ask(data_class="health")))
    await world.run(router.infer(ask(data_class="health")))
    assert models.ran == ["magika"] * 3
    world.clock.advance(6.0)
    assert (await world.run(router.infer(ask()))).served_by.reason == "local"


async def test_a_parameter_that_requests_share_is_not_changed(world, policy, ask: Ask) -> None:
    router = world.router(policy, local=Models(magika=[0, 1]).infer, explains=True)
    shared = {HEADER_EXPLAIN_ROUTE: True}
    for _ in range(2):
        request = ask()
        request.parameters = shared
        assert told(await world.run(router.infer(request))).model == "magika"
    assert shared == {HEADER_EXPLAIN_ROUTE: True}


def told(reply: InferReply) -> RouteTrace:
    text = reply.parameters[PARAMETER_ROUTE]
    assert isinstance(text, str)
    return msgspec.json.decode(text, type=RouteTrace)


def explained(request: InferRequest) -> InferRequest:
    request.parameters[HEADER_EXPLAIN_ROUTE] = True
    return request


async def test_a_trace_names_every_candidate_verdict_and_attempt(world, policy, ask: Ask) -> None:
    router = world.router(policy, explains=True)
    world.scripts["oslo/2"] = DOWN
    reply = await world.run(router.infer(explained(ask(data_class="internal"))))
    trace = told(reply)
    assert [(seen.node, seen.verdict, seen.place) for seen in trace.candidates] == [
        ("oslo/2", "fit", 1),
        ("bergen/1", "fit", 2),
        ("region-eu/1", "residency", 0),
        ("cloud/1", "residency", 0),
    ]
    assert [(one.node, one.cause, one.verdict) for one in trace.attempts] == [
        ("oslo/2", "", "down"),
        ("bergen/1", "down", "answered"),
    ]
    assert trace.candidates[1].expected_ms == 8.0
    assert (trace.data_class, trace.origin, trace.reason) == ("internal", "oslo", "down")
    assert trace.retry_tokens is not None
    assert trace.hedge_after_ms is not None
    assert world.sent[-1].parameters[HEADER_EXPLAIN_ROUTE] is True


async def test_a_trace_of_a_local_answer_a_kept_one_and_a_cascade(world, policy, ask: Ask) -> None:
    models = Models(magika=[0, 1], magika_small=[1, 0])
    settings = msgspec.structs.replace(cascade(), cache_s={"public": 5.0})
    router = world.router(policy, local=models.infer, settings=settings, explains=True)
    trace = told(await world.run(router.infer(explained(ask()))))
    assert trace.cascade is not None
    assert (trace.cascade.verdict, trace.cache) == ("unsure", "miss")
    assert trace.cascade.confidence == pytest.approx(np.e / (1 + np.e))
    assert [one.model for one in trace.attempts] == ["magika-small", "magika"]
    trace = told(await world.run(router.infer(explained(ask()))))
    assert (trace.cache, trace.reason, trace.attempts) == ("hit", "cache", [])


async def test_a_failure_carries_its_trace_and_who_may_not_ask_gets_none(
    world, policy, ask: Ask
) -> None:
    world.scripts["oslo/2"] = DOWN
    router = world.router(policy, explains=True)
    with pytest.raises(NoCandidateError) as caught:
        await world.run(router.infer(explained(ask(data_class="health"))))
    assert caught.value.trace is not None
    assert len(caught.value.trace.candidates) == 4
    silent = world.router(policy, local=Models(magika=[0, 1]).infer)
    reply = await world.run(silent.infer(explained(ask())))
    assert reply.parameters == {}
