"""The SDK's shadows: the primary answers, the candidate is compared, the policy decides."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from skerry.base.errors import UsageError
from skerry.client import AsyncClient, Client
from skerry.client.endpoints import PlainAddressError
from skerry.proof.agreement import agreement
from skerry.route.shadow_files import records_in
from skerry.schema.shadow import ShadowRule

X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


def rule(url: str, **changes: object) -> ShadowRule:
    return ShadowRule(**{"model": "echo", "to": url, "share": 1.0, **changes})


def test_the_primary_answers_and_the_candidate_is_compared(doors, tmp_path: Path) -> None:
    primary, candidate = doors.open("oslo/1"), doors.open("oslo/2")
    with Client(primary.url, shadow=rule(candidate.url), shadow_folder=tmp_path) as client:
        for _ in range(20):
            assert client.infer("echo", X).served_by == "oslo/1"
        (record,) = client.shadow_records()
        assert (record.requests, record.compared, record.same) == (20, 20, 20)
    assert len(primary.seen) == len(candidate.seen) == 20
    assert records_in(tmp_path) == [record]
    found = agreement(record)
    assert found.same is not None
    assert found.same.value == 1


def test_a_candidate_that_is_gone_changes_no_answer(doors) -> None:
    primary = doors.open("oslo/1")
    with Client(primary.url, shadow=rule("http://127.0.0.1:9")) as client:
        for _ in range(20):
            assert client.infer("echo", X).served_by == "oslo/1"
        (record,) = client.shadow_records()
    assert record.compared == 0
    assert record.failed.keys() == {"E0505"}
    assert record.sampled == sum(record.failed.values()) + record.paused + record.dropped


def test_a_client_without_a_shadow_has_no_records(doors) -> None:
    with Client(doors.open("oslo/1").url) as client:
        assert client.shadow_records() == []


def test_rules_that_cannot_be_are_told_before_anything_is_sent(doors) -> None:
    url = doors.open("oslo/1").url
    with pytest.raises(UsageError, match="a shadow's share is 2, wanted 0 to 1"):
        AsyncClient(url, shadow=rule(url, share=2.0))
    with pytest.raises(PlainAddressError):
        AsyncClient(url, shadow=rule("http://10.0.0.7:8000"))
    with pytest.raises(UsageError):
        AsyncClient(url, shadow=rule("oslo/1"))


def test_rules_are_documents(doors) -> None:
    text = b'{"model": "echo", "to": "http://127.0.0.1:8000", "share": 0.25}'
    assert msgspec.json.decode(text, type=ShadowRule).share == 0.25
