"""Publishing: all or nothing, by the right keys, and never half seen."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata

from skerry.trust import publisher as publisher_module
from skerry.trust.ceremony_errors import KeySharedError, LifeUnsoundError
from skerry.trust.errors import KeyFileError, PublishError
from skerry.trust.publisher import VERSIONS_KEPT, Publisher
from skerry.trust.roles import OfflineKeys

MODEL = "prod/model/magika/1.json"
OSLO = "desired/oslo.json"
DAY_S = 86_400


def signed(repo: Any, files: dict[str, bytes]) -> bytes:
    return bytes(
        repo.offline.sign_models(
            repo.publisher.role_bytes("models"), files, now_unix_s=repo.clock.unix_s()
        )
    )


def test_publishing_nothing_new_changes_nothing(repo: Any) -> None:
    first = repo.publisher.publish(desired={OSLO: b"[]"})
    assert repo.publisher.publish(desired={OSLO: b"[]"}) == first
    assert not repo.publisher.refresh()


def test_online_roles_are_signed_again_at_half_life(repo: Any) -> None:
    repo.clock.advance(0.4 * DAY_S)
    assert not repo.publisher.refresh()
    repo.clock.advance(0.2 * DAY_S)
    assert repo.publisher.refresh()
    for _ in range(60):  # a month of half days: nothing may ever run out
        repo.clock.advance(DAY_S / 2)
        repo.publisher.refresh()
        repo.client().refresh()


@pytest.mark.parametrize(
    "case", ["missing bytes", "other bytes", "unlisted", "a version skipped", "not delegated"]
)
def test_bad_offers_are_refused_and_change_nothing(repo: Any, case: str) -> None:
    before = repo.publisher.role_bytes("timestamp")
    good = signed(repo, {MODEL: b"{}"})
    twice = repo.offline.renew("models", good, now_unix_s=repo.clock.unix_s())
    offers: dict[str, dict[str, Any]] = {
        "missing bytes": {"signed": {"models": good}},
        "other bytes": {"signed": {"models": good}, "targets": {MODEL: b"[]"}},
        "unlisted": {"targets": {MODEL: b"{}"}},
        "a version skipped": {"signed": {"models": twice}, "targets": {MODEL: b"{}"}},
        "not delegated": {"signed": {"desired": good}},
    }
    with pytest.raises(PublishError):
        repo.publisher.publish(**offers[case])
    assert repo.publisher.role_bytes("timestamp") == before
    repo.publisher.publish(signed={"models": good}, targets={MODEL: b"{}"})


def test_metadata_of_another_key_is_refused(repo: Any, tmp_path: Path) -> None:
    other = OfflineKeys.create(tmp_path / "thieves")
    offer: Any = Metadata.from_bytes(signed(repo, {MODEL: b"{}"}))
    forged = other.sign("models", offer)
    with pytest.raises(PublishError, match="not signed by this machine's key"):
        other.renew("models", repo.publisher.role_bytes("models"), now_unix_s=0)
    with pytest.raises(PublishError, match="0 of 1 keys signed it"):
        repo.publisher.publish(signed={"models": forged}, targets={MODEL: b"{}"})


@pytest.mark.parametrize(
    "path", ["prod/model/x", "canary/model/x/1.json", "prod/model/../x", "/etc/passwd", "prod//x/y"]
)
def test_paths_outside_the_role_cannot_be_signed(repo: Any, path: str) -> None:
    with pytest.raises(PublishError, match="not among its paths"):
        signed(repo, {path: b"{}"})


def test_desired_signs_desired_only(repo: Any) -> None:
    with pytest.raises(PublishError, match="not among its paths"):
        repo.publisher.publish(desired={MODEL: b"{}"})


def test_a_diamond_is_refused(repo: Any) -> None:
    """U23: no role may delegate further, so none can be delegated twice."""
    targets: Any = Metadata.from_bytes(repo.first["targets"])
    models: Any = Metadata.from_bytes(repo.publisher.role_bytes("models"))
    models.signed.version += 1
    models.signed.delegations = targets.signed.delegations
    forged = repo.offline.sign("models", models)
    with pytest.raises(PublishError, match="only `targets` may"):
        repo.publisher.publish(signed={"models": forged})


def test_a_publish_that_dies_anywhere_is_never_half_seen(
    repo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each write in turn: readers see the old state or the new, then it repeats."""
    real = publisher_module.write_atomic
    repo.publisher.publish(desired={OSLO: b"[0]"})
    deaths = 0
    for death in range(20):
        left = [death]

        def dying(path: Path, data: bytes, left: list[int] = left) -> None:
            if left[0] == 0:
                raise OSError("killed")
            left[0] -= 1
            real(path, data)

        content = f"[{death + 1}]".encode()
        path = f"prod/model/magika/{death + 1}.json"
        repo.publisher = Publisher.open(repo.files, repo.online, repo.clock)
        before = repo.client().refresh().snapshot_version
        offer = signed(repo, {path: content})
        monkeypatch.setattr(publisher_module, "write_atomic", dying)
        try:
            repo.publisher.publish(
                signed={"models": offer}, targets={path: content}, desired={OSLO: content}
            )
        except OSError:
            deaths += 1
        monkeypatch.setattr(publisher_module, "write_atomic", real)
        client = repo.client()
        seen = client.refresh().snapshot_version
        assert seen in (before, before + 1)
        if seen > before:
            assert client.target_bytes(OSLO) == content
        again = Publisher.open(repo.files, repo.online, repo.clock)
        if seen == before:
            again.publish(
                signed={"models": offer}, targets={path: content}, desired={OSLO: content}
            )
        client.refresh()
        assert client.target_bytes(OSLO) == content
        assert client.target_bytes(path) == content
    assert deaths == 6  # two files, models, desired, snapshot, timestamp


def test_old_versions_are_pruned_and_roots_are_not(repo: Any) -> None:
    for n in range(VERSIONS_KEPT + 5):
        repo.publisher.publish(desired={OSLO: b"[%d]" % n})
    files = repo.files / "metadata"
    assert len(list(files.glob("*.snapshot.json"))) == VERSIONS_KEPT + 1
    assert (files / "1.root.json").exists()
    repo.client().refresh()


def test_a_founded_repository_is_not_founded_again(repo: Any) -> None:
    with pytest.raises(PublishError, match="already"):
        Publisher.found(repo.files, repo.online, repo.first, repo.clock)


def test_offline_keys_are_private_and_sealed(tmp_path: Path) -> None:
    OfflineKeys.create(tmp_path / "k", passphrase="correct horse")
    for file in (tmp_path / "k").glob("*.pem"):
        assert file.stat().st_mode & 0o777 == 0o600
        assert b"ENCRYPTED" in file.read_bytes()
    OfflineKeys.load(tmp_path / "k", passphrase="correct horse")
    with pytest.raises(KeyFileError):
        OfflineKeys.load(tmp_path / "k")


def test_a_canary_key_on_production_paths_is_refused(repo: Any) -> None:
    """The usual slip: one key for both, so that a stolen canary key releases to everybody."""
    targets: Any = Metadata.from_bytes(repo.first["targets"])
    targets.signed.version += 1
    canary = targets.signed.get_delegated_role("canary").keyids[0]
    targets.signed.add_key(targets.signed.get_key(canary), "models")
    forged = repo.offline.sign("targets", targets)
    with pytest.raises(KeySharedError, match="signs for models as"):
        repo.publisher.publish(signed={"targets": forged})


@pytest.mark.parametrize(
    ("days", "why"), [(-1, "it ended"), (0, "it ended"), (3650, "365 days are the most")]
)
def test_a_life_that_cannot_be_is_refused(repo: Any, days: int, why: str) -> None:
    root: Any = Metadata.from_bytes(repo.first["root"])
    root.signed.version += 1
    root.signed.expires = datetime.fromtimestamp(repo.clock.unix_s() + days * 86_400, UTC)
    with pytest.raises(LifeUnsoundError, match=why):
        repo.publisher.publish(signed={"root": repo.offline.sign("root", root)})


def test_a_check_changes_nothing(repo: Any) -> None:
    data = signed(repo, {MODEL: b"{}"})
    before = sorted(path.name for path in repo.files.rglob("*"))
    repo.publisher.check(signed={"models": data}, targets={MODEL: b"{}"})
    with pytest.raises(PublishError):
        repo.publisher.check(signed={"models": data}, targets={})
    assert sorted(path.name for path in repo.files.rglob("*")) == before
