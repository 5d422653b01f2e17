"""A site that is cut off: its nodes renew among themselves, across every lifetime of the chain."""

import ssl
import threading
import time
from pathlib import Path

import pytest

from skerry.node.enrol import renew
from skerry.node.errors import RenewalError
from skerry.node.identity import IdentityFiles, issued_by_site
from skerry.trust.authority import LEAF_LIFE_S, Authority, IssueError
from skerry.trust.spiffe import SpiffeId, node_id
from skerry.trust.tls import (
    CertificateError,
    client_context,
    peer_id,
    server_context,
    verify_identity,
)

DAY_S = 86_400.0
DOMAIN = "clinic.example"


class Site:
    """Two nodes of one site, each with its own authority from a region that is then gone."""

    def __init__(self, folder: Path, *, now_s: float, site_life_s: float, life_s: float) -> None:
        self.root = Authority.create_root(DOMAIN, now_unix_s=now_s)
        self.region = self.root.issue_region("eu", now_unix_s=now_s)
        self.nodes = []
        for number in (1, 2):
            files = IdentityFiles(folder / str(number))
            files.folder.mkdir()
            name = node_id(DOMAIN, "eu", "oslo", number)
            self.region.issue_identity(name, now_unix_s=now_s, life_s=life_s).save(files.identity)
            files.roots.write_bytes(self.root.certificate_pem)
            self.region.issue_site("oslo", now_unix_s=now_s, life_s=site_life_s).save(
                files.site_authority
            )
            self.nodes.append(files)


def test_it_goes_on_for_as_long_as_policy_says_and_not_longer(tmp_path: Path) -> None:
    """400 days in leaps of ten, each far beyond the hour of the certificate before it."""
    start_s = time.time()
    site = Site(tmp_path, now_s=start_s, site_life_s=400 * DAY_S, life_s=LEAF_LIFE_S)
    for day in range(10, 400, 10):
        now_s = start_s + day * DAY_S
        for node, other in (site.nodes, site.nodes[::-1]):
            identity = node.renew_alone(now_unix_s=now_s)
            assert issued_by_site(identity)
            assert 0 < identity.ends_unix_s - now_s <= LEAF_LIFE_S
            verify_identity(identity, other.trusted_pem(), now_unix_s=now_s)
    last = site.nodes[0].load()
    with pytest.raises(IssueError, match="it expired itself"):
        site.nodes[0].renew_alone(now_unix_s=start_s + 401 * DAY_S)
    assert site.nodes[0].load() == last  # nothing was taken away from what still works
    with pytest.raises(CertificateError, match="CERT_EXPIRED"):
        verify_identity(last, site.nodes[1].trusted_pem(), now_unix_s=start_s + 401 * DAY_S)


def test_a_shorter_life_by_policy_takes_effect(tmp_path: Path) -> None:
    start_s = time.time()
    site = Site(tmp_path, now_s=start_s, site_life_s=30 * DAY_S, life_s=LEAF_LIFE_S)
    site.nodes[0].renew_alone(now_unix_s=start_s + 29 * DAY_S)
    with pytest.raises(IssueError):
        site.nodes[0].renew_alone(now_unix_s=start_s + 31 * DAY_S)


def test_the_sites_authority_is_asked_for_again_at_half_its_life(tmp_path: Path) -> None:
    start_s = time.time()
    site = Site(tmp_path, now_s=start_s, site_life_s=400 * DAY_S, life_s=LEAF_LIFE_S)
    node = site.nodes[0]
    assert not node.wants_site_authority(now_unix_s=start_s + 199 * DAY_S)
    assert node.wants_site_authority(now_unix_s=start_s + 201 * DAY_S)
    node.site_authority.unlink()
    assert node.wants_site_authority(now_unix_s=start_s)


def test_certificates_of_a_second_are_crossed_in_real_handshakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skerry.trust.authority.LEAF_LIFE_S", 1.0)
    site = Site(tmp_path, now_s=time.time(), site_life_s=60.0, life_s=1.0)
    first = site.nodes[0].load()
    for _ in range(3):
        for node in site.nodes:
            authority = Authority.load(node.site_authority)
            authority.issue_identity(node.load().id, now_unix_s=time.time(), life_s=1.0).save(
                node.identity
            )
        assert talk(*site.nodes) == site.nodes[0].load().id
        time.sleep(max(0.0, site.nodes[0].load().ends_unix_s - time.time()) + 0.05)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            talk(*site.nodes)
    assert time.time() > first.ends_unix_s + 1


def test_the_way_back_needs_no_human(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every certificate of the node has ended; the enrolment key is all that it shows."""
    from skerry.local.hollow_fleet import HollowFleet

    fleet = HollowFleet(tmp_path, regions=("eu",)).start()
    try:
        node = fleet.node("oslo")
        region = fleet.operator("eu")
        short = Authority.load(fleet.folder / "eu" / "keys" / "authority.pem").issue_identity(
            node.id, now_unix_s=time.time() - 100, life_s=50
        )
        short.save(node.files.identity)
        node.files.site_authority.unlink()
        node.renew()
        now_s = time.time()
        verify_identity(node.files.load(), node.files.trusted_pem(), now_unix_s=now_s)
        assert not node.files.wants_site_authority(now_unix_s=now_s)
        region.ban("oslo/1", banned=True, reason="stolen while it was away")
        with pytest.raises(RenewalError, match="banned"):
            renew(node.files, url=node.url, host=node.host, inference_url="", clock=fleet.clock)
    finally:
        fleet.close()


def talk(server: IdentityFiles, client: IdentityFiles) -> SpiffeId:
    """Shake hands over a loopback socket; returns whom the client saw."""
    import socket

    ours = server_context(server.load(), server.trusted_pem())
    theirs = client_context(client.load(), client.trusted_pem())
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                with listener.accept()[0] as raw, ours.wrap_socket(raw, server_side=True) as tls:
                    tls.sendall(b"x")
            except (ssl.SSLError, ConnectionError):
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), 5) as raw,
                theirs.wrap_socket(raw, server_hostname=server.load().id.host) as tls,
            ):
                if tls.recv(1) != b"x":
                    raise ConnectionResetError("closed without a byte")
                return peer_id(tls)
        finally:
            thread.join(5)
