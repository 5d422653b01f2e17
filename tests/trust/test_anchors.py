"""Whom a fleet trusts: each version follows on the one before, and what is shut out stays out."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.trust.anchors import (
    AnchorChain,
    AnchorsRefused,
    AnchorStore,
    bundle,
    issuer_key_ids,
    key_id,
    read_chain,
    sign_next,
)
from skerry.trust.authority import Authority
from skerry.trust.identity import certificates_of
from skerry.trust.spiffe import node_id
from skerry.trust.tls import CertificateError, CertificateFault, verify_identity

DOMAIN = "clinic.example"


class Roots:
    """An old root and a new one, a chain between them, and the store of a machine."""

    def __init__(self, folder: Path, now_unix_s: float) -> None:
        self.now_unix_s = now_unix_s
        self.old = Authority.create_root(DOMAIN, now_unix_s=now_unix_s)
        self.new = Authority.create_root(DOMAIN, now_unix_s=now_unix_s)
        self.both = sign_next(
            AnchorChain(),
            self.old,
            roots_pem=self.old.certificate_pem + self.new.certificate_pem,
            leaving=(self.old.key_id,),
        )
        self.only_new = sign_next(self.both, self.old, self.new, roots_pem=self.new.certificate_pem)
        self.store = AnchorStore(folder / "roots.pem")
        self.store.begin(self.old.certificate_pem, b"")

    def take(self, chain: AnchorChain) -> bool:
        return self.store.take(msgspec.json.encode(chain), DOMAIN)

    def accepts(self, root: Authority) -> bool:
        node = root.issue_region("eu", now_unix_s=self.now_unix_s).issue_identity(
            node_id(DOMAIN, "eu", "oslo", 1), now_unix_s=self.now_unix_s
        )
        try:
            verify_identity(node, self.store.roots_pem, now_unix_s=self.now_unix_s)
        except CertificateError as error:
            if error.fault is CertificateFault.FOREIGN_CA:
                return False
            raise
        return True


@pytest.fixture
def roots(tmp_path: Path, ca: Any) -> Roots:
    return Roots(tmp_path, ca.now_unix_s)


def test_roots_change_in_two_steps_and_the_old_one_is_then_refused(roots: Roots) -> None:
    assert (roots.accepts(roots.old), roots.accepts(roots.new)) == (True, False)
    assert roots.take(roots.both)
    assert (roots.accepts(roots.old), roots.accepts(roots.new)) == (True, True)
    assert roots.take(roots.only_new)
    assert (roots.accepts(roots.old), roots.accepts(roots.new)) == (False, True)
    assert roots.store.version == 2


def test_a_machine_that_was_away_walks_the_whole_chain_at_once(roots: Roots) -> None:
    assert roots.take(roots.only_new)
    assert roots.store.version == 2
    assert not roots.accepts(roots.old)


def test_the_same_chain_or_an_older_one_changes_nothing(roots: Roots) -> None:
    roots.take(roots.only_new)
    for older in (roots.only_new, roots.both, AnchorChain()):
        assert not roots.take(older)
    assert not roots.accepts(roots.old)


def test_a_crash_between_the_two_files_is_mended(roots: Roots) -> None:
    before = roots.store.roots_pem
    roots.take(roots.both)
    (roots.store._roots).write_bytes(before)
    assert roots.take(roots.both)
    assert roots.accepts(roots.new)


def test_a_root_that_nobody_trusts_cannot_name_itself(roots: Roots) -> None:
    forged = sign_next(AnchorChain(), roots.new, roots_pem=roots.new.certificate_pem)
    with pytest.raises(AnchorsRefused, match="no root that is trusted here"):
        roots.take(forged)
    assert roots.accepts(roots.old)


def test_the_root_named_first_must_have_signed(roots: Roots) -> None:
    """Else a slip could lead a fleet to a root whose key nobody holds."""
    lost = sign_next(AnchorChain(), roots.old, roots_pem=roots.new.certificate_pem)
    with pytest.raises(AnchorsRefused, match="names first has not signed"):
        roots.take(lost)


def test_a_step_may_not_be_left_out_nor_belong_to_another_fleet(roots: Roots) -> None:
    with pytest.raises(AnchorsRefused, match=r"version 2 .* wanted 1"):
        roots.take(AnchorChain(versions=roots.only_new.versions[1:]))
    other = Authority.create_root("other.example", now_unix_s=roots.now_unix_s)
    with pytest.raises(AnchorsRefused, match=r"for other\.example"):
        roots.take(sign_next(AnchorChain(), other, roots_pem=other.certificate_pem))


def test_an_authority_that_is_shut_out_is_refused_with_all_below_it(roots: Roots) -> None:
    now = roots.now_unix_s
    stolen, fresh = (roots.old.issue_region("eu", now_unix_s=now) for _ in range(2))
    site = stolen.issue_site("oslo", now_unix_s=now)
    text = bundle(roots.old.certificate_pem, stolen.certificate_pem)
    name = node_id(DOMAIN, "eu", "oslo", 1)
    for authority in (stolen, site):
        with pytest.raises(CertificateError) as refused:
            verify_identity(authority.issue_identity(name, now_unix_s=now), text, now_unix_s=now)
        assert refused.value.fault is CertificateFault.DISTRUSTED
    verify_identity(fresh.issue_identity(name, now_unix_s=now), text, now_unix_s=now)


def test_a_chain_names_the_keys_above_it(roots: Roots) -> None:
    region = roots.old.issue_region("eu", now_unix_s=roots.now_unix_s)
    node = region.issue_identity(node_id(DOMAIN, "eu", "oslo", 1), now_unix_s=roots.now_unix_s)
    assert issuer_key_ids(node.chain_pem) == (region.key_id, roots.old.key_id)
    assert key_id(certificates_of(region.certificate_pem)[0]) == region.key_id


def test_whoever_joins_takes_the_chain_that_leads_to_the_roots_he_was_given(
    roots: Roots, tmp_path: Path
) -> None:
    joiner = AnchorStore(tmp_path / "joiner.pem")
    roots.take(roots.both)
    with pytest.raises(AnchorsRefused, match="does not lead to the roots"):
        joiner.begin(roots.old.certificate_pem, msgspec.json.encode(roots.both))
    joiner.begin(roots.store.roots_pem, roots.store.chain_bytes)
    assert joiner.version == 1


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_bytes_that_are_no_chain_are_refused_by_name(data: bytes) -> None:
    try:
        found = read_chain(data).last()
    except AnchorsRefused:
        return
    assert found is None


@given(st.dictionaries(st.sampled_from(["versions", "body", "x"]), st.lists(st.binary())))
def test_half_right_chains_are_refused_too(body: dict[str, list[bytes]]) -> None:
    try:
        read_chain(msgspec.json.encode(body)).last()
    except AnchorsRefused:
        pass
