"""Quarantine: restricted data is refused, the rest is answered, and no torn file ends it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.node.guard import Guard
from skerry.node.quarantine import add_cause, lift_cause, read_quarantine
from skerry.schema.oip import InferReply, InferRequest
from skerry.schema.policy import Policy, Residency, Stays
from skerry.schema.quarantine import QuarantineCause
from skerry.trust.quarantine import QuarantinedError, restricted_class

POLICY = Policy(
    fleet="clinic",
    generation=1,
    data_classes={
        "public": Residency(stays=Stays.ANYWHERE),
        "health": Residency(stays=Stays.SITE),
        "personal": Residency(stays=Stays.REGION),
    },
    model_classes={"scan": ("health", "public"), "faq": ("public",)},
    places={},
)
OPENED = QuarantineCause(word="LID_OPEN", text="the lid of oslo/1", at_unix_s=10.0)


async def echo(request: InferRequest) -> InferReply:
    return InferReply(model=request.model, version="1", id="", outputs=[])


def guard() -> Guard:
    return Guard(echo, lambda: POLICY)


def ask(model: str, data_class: str | None = None) -> InferRequest:
    return InferRequest(model=model, inputs=[], data_class=data_class)


@pytest.mark.anyio
async def test_in_quarantine_only_data_that_may_go_anywhere_is_answered(tmp_path: Path) -> None:
    one = guard()
    await one.infer(ask("scan"))
    one.quarantine = add_cause(tmp_path / "q.json", "tamper", OPENED)
    await one.infer(ask("faq"))
    await one.infer(ask("scan", "public"))
    with pytest.raises(QuarantinedError, match="takes no health data: LID_OPEN: the lid"):
        await one.infer(ask("scan"))


@pytest.mark.parametrize(
    ("model", "asked", "restricted"),
    [
        ("faq", None, ""),
        ("scan", None, "health"),
        ("scan", "personal", "personal"),
        ("nobody", None, "unknown"),
        ("faq", "no-such-class", "no-such-class"),
    ],
)
def test_what_the_policy_does_not_know_is_restricted(
    model: str, asked: str | None, restricted: str
) -> None:
    assert restricted_class(POLICY, model, asked) == restricted
    assert restricted_class(None, "faq", None) == "unknown"


def test_a_quarantine_ends_with_its_last_reason(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.json"
    assert not read_quarantine(path).causes
    add_cause(path, "tamper", OPENED)
    add_cause(path, "attest", QuarantineCause(word="STALE", text="no report", at_unix_s=5.0))
    assert read_quarantine(path).reason == "STALE: no report"
    assert set(lift_cause(path, "attest").causes) == {"tamper"}
    assert path.exists()
    assert not lift_cause(path, "tamper").causes
    assert not path.exists()
    assert not lift_cause(path, "tamper").causes


@given(data=st.binary(max_size=200))
def test_a_file_that_cannot_be_read_is_a_quarantine(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("q") / "quarantine.json"
    path.write_bytes(data)
    assert "UNREADABLE" in read_quarantine(path).reason
