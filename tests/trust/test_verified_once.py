"""What was verified once is not verified again, unless bytes, keys or time say otherwise."""

from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root, Targets

from skerry.trust.errors import UpdateExpired, UpdateForged
from skerry.trust.roles import OnlineKeys

MODEL = "prod/model/magika/1.json"
OSLO = "desired/oslo.json"
YEAR_S = 366 * 86_400


@pytest.fixture
def live(repo: Any) -> Any:
    """A repository with one model and one document."""
    repo.add({MODEL: b"{}"})
    repo.publisher.publish(desired={OSLO: b"[1]"})
    return repo


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The roles whose signatures were checked by another role, in order."""
    names: list[str] = []
    for kind in (Root, Targets):

        def verify(self: Any, role: str, *rest: Any, plain: Any = kind.verify_delegate) -> None:
            if role != "root":
                names.append(role)
            plain(self, role, *rest)

        monkeypatch.setattr(kind, "verify_delegate", verify)
    return names


def test_unchanged_metadata_is_verified_once_in_the_life_of_a_process(
    live: Any, checked: list[str]
) -> None:
    client = live.client()
    client.refresh()
    assert client.target_bytes(OSLO) == b"[1]"
    assert {"timestamp", "snapshot", "targets", "desired"} <= set(checked)
    checked.clear()
    assert not client.refresh().changed
    assert client.target_bytes(OSLO) == b"[1]"
    assert checked == []
    live.client().refresh()  # another process knows nothing yet
    assert "snapshot" in checked


def test_what_changed_is_verified_and_nothing_else(live: Any, checked: list[str]) -> None:
    client = live.client()
    client.refresh()
    assert client.target_bytes(OSLO) == b"[1]"
    live.publisher.publish(desired={OSLO: b"[2]"})
    checked.clear()
    assert client.refresh().changed
    assert client.target_bytes(OSLO) == b"[2]"
    assert set(checked) == {"timestamp", "snapshot", "desired"}


def test_a_withdrawn_key_ends_what_it_had_signed(live: Any, tmp_path: Path) -> None:
    """The bytes are the same; who may sign them is not."""
    client = live.client()
    client.refresh()
    fresh = OnlineKeys.create(tmp_path / "fresh")
    founded = live.offline.found(fresh.public(), now_unix_s=live.clock.unix_s())
    root: Metadata[Any] = Metadata.from_bytes(founded["root"])
    root.signed.version = 2
    (live.files / "metadata/2.root.json").write_bytes(live.offline.sign("root", root))
    with pytest.raises(UpdateForged):
        client.refresh()


def test_time_passes_for_what_was_verified(live: Any) -> None:
    client = live.client()
    client.refresh()
    live.clock.advance(YEAR_S)
    with pytest.raises(UpdateExpired):
        client.refresh()


def test_other_bytes_under_a_known_name_are_refused(live: Any) -> None:
    client = live.client()
    client.refresh()
    timestamp = (live.files / "metadata/timestamp.json").read_bytes()
    live.mirror.lie("metadata/timestamp.json", timestamp.replace(b'"version":', b'"version":9'))
    with pytest.raises(UpdateForged):
        client.refresh()
