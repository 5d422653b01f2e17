"""Ends are read from what a process holds, and torn material is refused by name."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.schema.expiry import Expiry
from skerry.trust.errors import TrustError
from skerry.trust.expiries import of_certificates, of_login, of_roles, unique


def jwt(**claims: int) -> str:
    body = base64.urlsafe_b64encode(msgspec.json.encode(claims)).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


def test_every_role_has_its_end_version_and_keys(repo: Any) -> None:
    found = {one.name: one for one in of_roles(repo.publisher.role_bytes)}
    assert set(found) == {
        *("root", "targets", "models", "canary", "desired", "snapshot", "timestamp")
    }
    assert found["models"].text == "version 1, 1 of 1 keys"
    assert found["models"].ends_unix_s == int(repo.clock.unix_s()) + 180 * 86_400
    assert [name for name, one in found.items() if one.renews_itself] == [
        *("desired", "snapshot", "timestamp")
    ]


def test_roots_authorities_and_leaves_are_told_apart(ca: Any) -> None:
    from skerry.trust.spiffe import node_id

    leaf = ca.oslo.issue_identity(
        node_id("clinic.example", "eu", "oslo", 1), now_unix_s=ca.now_unix_s
    )
    chain = leaf.chain_pem + ca.root.certificate_pem
    found = of_certificates(chain, renews_itself=True)
    assert [one.kind for one in found] == ["certificate", "authority", "authority", "root"]
    assert [one.renews_itself for one in found] == [True, False, False, False]
    assert found[0].name == "spiffe://oslo.eu.clinic.example/node/1"
    assert of_certificates(b"") == []


def test_a_login_ends_with_its_claim_or_never() -> None:
    assert of_login(jwt(iat=1000, exp=4600), "x").life_s == 3600
    assert of_login(jwt(iat=1000), "operator").ends_unix_s == 0


@given(st.one_of(st.text(max_size=80), st.binary(max_size=60).map(lambda b: f"a.{b.hex()}.c")))
def test_a_torn_token_is_refused(text: str) -> None:
    try:
        of_login(text, "x")
    except TrustError:
        return


@given(st.binary(max_size=200))
def test_a_torn_certificate_is_refused(data: bytes) -> None:
    try:
        assert of_certificates(data) == []
    except TrustError:
        return


def test_one_thing_known_to_two_processes_is_shown_once_and_the_nearest_first() -> None:
    def one(name: str, ends_unix_s: float) -> Expiry:
        return Expiry(kind="root", name=name, ends_unix_s=ends_unix_s)

    found = unique([one("b", 9), one("never", 0), one("a", 5), one("b", 9)])
    assert [item.name for item in found] == ["a", "b", "never"]


def test_a_chain_with_a_line_of_rubbish_in_it_is_refused() -> None:
    pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    with pytest.raises(TrustError, match="cannot be read"):
        of_certificates(pem)
