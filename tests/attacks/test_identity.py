"""Attacks on identities: certificates, logins, bans, authorities; one fleet in this process."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from skerry.local.hollow_fleet import HollowFleet
from skerry.trust.tls import CertificateError, verify_identity


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HollowFleet]:
    """Central, two regions, real NATS and TLS."""
    one = HollowFleet(tmp_path_factory.mktemp("fleet")).start()
    try:
        yield one
    finally:
        one.close()


def until(true: Callable[[], Any], what: str, *, within_s: float = 10.0) -> Any:
    end = time.monotonic() + within_s
    while True:
        found = true()
        if found:
            return found
        if time.monotonic() > end:
            pytest.fail(f"not within {within_s:g} s: {what}")
        time.sleep(0.02)


def rotate(fleet: HollowFleet, what: str, nodes: list[Any], keep: Callable[[], None]) -> None:
    """Change a root or an authority while every node keeps records, and hears when nudged."""
    rotation = fleet.rotation()
    for _ in range(400):
        standing = rotation.go_on(what)
        if standing.step == "done":
            return
        for node in nodes:
            node.hear()
            fleet.loop.run(node.report())
        keep()
        time.sleep(0.02)
    pytest.fail(f"{what}: {standing}")


@pytest.mark.attack(
    row="A18",
    title="root and regional authority replaced under load, the old ones used afterwards",
    refused="CERT_FOREIGN_CA",
    off={"skerry.trust.anchors.bundle": lambda *_: None},
)
def test_a18_the_root_and_an_authority_change_under_load_and_the_old_ones_are_refused(
    fleet: HollowFleet,
) -> None:
    nodes = [fleet.node("a18", 1), fleet.node("a18", 2), fleet.node("a18-us", region="us")]
    kept: list[str] = []

    def keep() -> None:
        for node in nodes:
            key = str(len(kept))
            fleet.loop.run(node.keep(key))
            kept.append(key)

    old = nodes[0].files.load()
    rotate(fleet, "root", nodes, keep)
    rotate(fleet, "eu", nodes, keep)
    now = time.time()
    for node in nodes:
        trusted = node.files.trusted_pem()
        verify_identity(node.files.load(), trusted, now_unix_s=now)
        with pytest.raises(CertificateError) as refused:
            verify_identity(old, trusted, now_unix_s=now)
        assert refused.value.reason in ("CERT_FOREIGN_CA", "CERT_DISTRUSTED")
    keep()

    def arrived() -> bool:
        events = fleet.operator("central").events(kind="hollow")
        return sorted(one.event.text for one in events) == sorted(kept)

    until(arrived, "every acknowledged record, once")
