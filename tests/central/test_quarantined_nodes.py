"""What central makes of nodes' machines: no peer in doubt, and a TPM that its papers know."""

from types import SimpleNamespace
from typing import Any

import pytest

from skerry.central import node_papers
from skerry.central.node_papers import NodePapers
from skerry.central.rollout import _endpoints
from skerry.cli.status import _node_row
from skerry.schema.api import NodeStatus, Registration
from skerry.schema.attestation import AttestationState, Stands
from skerry.schema.custody import CustodyPolicy
from skerry.schema.observed import State


def node(state: AttestationState, ek: str = "") -> Registration:
    return Registration(
        node="oslo/1",
        site="oslo",
        region="eu",
        inference_url="https://oslo",
        joined_unix_s=0,
        attestation=Stands(state=state, reason="STALE: no report", ek_sha256=ek),
    )


@pytest.mark.parametrize("state", AttestationState)
def test_only_a_node_in_quarantine_is_given_to_no_site_as_a_peer(state: AttestationState) -> None:
    assert bool(_endpoints([node(state)])) == (state is not AttestationState.QUARANTINE)


def test_papers_are_judged_against_the_tpm_that_was_shown_and_again_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []

    def reason(*_: Any, ek_sha256: str, **__: Any) -> None:
        seen.append(ek_sha256)

    monkeypatch.setattr(node_papers, "quarantine_reason", reason)
    found = [node(AttestationState.PASSED, "aa")]
    store: Any = SimpleNamespace(nodes=lambda: found, custody_at=lambda _: [])
    papers, policy = NodePapers(store), CustodyPolicy(required=True)
    papers.refused(["oslo/1"], policy)
    papers.of("oslo/1", policy)
    found[0] = node(AttestationState.PASSED, "bb")
    papers.refused(["oslo/1"], policy)
    assert seen == ["aa", "bb"]


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (AttestationState.NO_TPM, "no TPM"),
        (AttestationState.LATE, "late, STALE: no report"),
        (AttestationState.QUARANTINE, "quarantine, STALE: no report"),
        (AttestationState.PASSED, ""),
        (AttestationState.NONE, ""),
    ],
)
def test_status_marks_how_a_node_stands(state: AttestationState, shown: str) -> None:
    status = NodeStatus(
        node="oslo/1",
        site="oslo",
        region="eu",
        state=State.OK,
        in_sync=True,
        age_s=1.0,
        desired_generation=1,
        banned=False,
        inference_url="",
        observed=None,
        attestation=node(state).attestation,
    )
    assert _node_row(status)[-1] == shown
