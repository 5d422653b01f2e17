"""Attacks on signed state: each is refused by its own name, and the true state is taken after."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tuf.api.metadata import Metadata, MetaFile, TargetFile, Timestamp

from skerry.trust.errors import (
    ClockBack,
    TargetForged,
    TargetUnsigned,
    UpdateExpired,
    UpdateForged,
    UpdateRefused,
    UpdateRollback,
    UpdateSlow,
    UpdateStale,
    UpdateTooLarge,
    UpdateUnreachable,
)
from skerry.trust.publisher import Publisher
from skerry.trust.roles import OfflineKeys, OnlineKeys, expiry
from skerry.trust.update_client import FILE_S_MAX

DAY_S = 86_400
MODEL = "prod/model/magika/1.json"
CONTENT = b'{"a": "model"}'
OSLO = "desired/oslo.json"


@pytest.fixture
def live(repo: Any) -> Any:
    """A repository with one model and one document."""
    repo.add({MODEL: CONTENT})
    repo.publisher.publish(desired={OSLO: b"[1]"})
    return repo


def test_signed_files_arrive_and_are_fetched_once(live: Any) -> None:
    client = live.client()
    assert client.refresh().changed
    assert client.target_bytes(MODEL) == CONTENT
    live.mirror.served.clear()
    assert client.target_bytes(MODEL) == CONTENT
    assert not live.mirror.served
    assert not client.refresh().changed
    assert live.mirror.served == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_an_older_timestamp_is_a_rollback(live: Any) -> None:
    old = (live.files / "metadata/timestamp.json").read_bytes()
    client = live.client()
    live.publisher.publish(desired={OSLO: b"[2]"})
    client.refresh()
    live.mirror.lie("metadata/timestamp.json", old)
    with pytest.raises(UpdateRollback):
        client.refresh()
    with pytest.raises(UpdateUnreachable, match="not refreshed"):
        client.target_bytes(OSLO)  # a refused check hands nothing out
    live.mirror.lies.clear()
    client.refresh()
    assert client.target_bytes(OSLO) == b"[2]"


def test_a_stolen_timestamp_key_cannot_go_back(live: Any) -> None:
    client = live.client()
    client.refresh()

    def point_back(timestamp: Timestamp) -> None:
        timestamp.snapshot_meta = MetaFile(1)

    live.mirror.lie("metadata/timestamp.json", live.forge("timestamp", point_back))
    with pytest.raises(UpdateRollback):
        client.refresh()


def test_stolen_online_keys_cannot_bring_an_old_model_role_back(live: Any) -> None:
    client = live.client()
    client.refresh()
    live.plant(models=live.first["models"])
    with pytest.raises(UpdateRollback):
        client.refresh()


def test_a_wiped_cache_does_not_help_an_old_repository(live: Any) -> None:
    """python-tuf alone accepts this; the floor beside the metadata does not."""
    live.copy("old")
    live.publisher.publish(desired={OSLO: b"[2]"})
    client = live.client()
    client.refresh()
    shutil.rmtree(live.folder / "node" / "metadata")
    live.restore("old")
    with pytest.raises(UpdateRollback, match="was seen before"):
        live.client().refresh()


def test_frozen_state_expires_and_the_alarm_comes_after_three_days(live: Any) -> None:
    client = live.client()
    client.refresh()
    client.check_fresh()
    live.clock.advance(DAY_S + 1)
    with pytest.raises(UpdateExpired):
        client.refresh()
    client.check_fresh()
    live.clock.advance(2 * DAY_S)
    with pytest.raises(UpdateStale, match=r"3\.0 days ago"):
        client.check_fresh()
    assert live.publisher.refresh()
    client.refresh()
    client.check_fresh()


def test_a_clock_set_back_installs_nothing(live: Any) -> None:
    client = live.client()
    live.clock.advance(60 * DAY_S)
    live.publisher.refresh()
    client.refresh()
    live.clock.advance(-60 * DAY_S)
    for again in (client, live.client()):  # the floor is on disk
        with pytest.raises(ClockBack):
            again.refresh()


def test_a_small_step_back_of_the_clock_is_forgiven(live: Any) -> None:
    client = live.client()
    client.refresh()
    live.clock.advance(-60)
    client.refresh()


def test_an_expired_model_role_stops_models_only(live: Any) -> None:
    live.clock.advance(181 * DAY_S)
    live.publisher.refresh()
    client = live.client()
    client.refresh()
    with pytest.raises(UpdateExpired):
        client.target_bytes(MODEL)
    assert client.target_bytes(OSLO) == b"[1]"
    renewed = live.offline.renew(
        "models", live.publisher.role_bytes("models"), now_unix_s=live.clock.unix_s()
    )
    live.publisher.publish(signed={"models": renewed})
    client.refresh()
    assert client.target_bytes(MODEL) == CONTENT


def test_mixed_versions_are_forged(live: Any) -> None:
    version = json.loads(live.publisher.role_bytes("models"))["signed"]["version"]
    live.mirror.lie(f"metadata/{version}.models.json", live.first["models"])
    client = live.client()
    client.refresh()
    with pytest.raises(UpdateForged):
        client.target_bytes(MODEL)


def test_a_role_dropped_from_the_snapshot_is_forged(live: Any) -> None:
    client = live.client()
    client.refresh()
    live.plant()
    snapshot = next((live.files / "metadata").glob("4.snapshot.json"))
    document: Metadata[Any] = Metadata.from_bytes(snapshot.read_bytes())
    del document.signed.meta["models.json"]
    snapshot.write_bytes(live.online.sign("snapshot", document))
    with pytest.raises(UpdateForged, match=r"models\.json"):
        client.refresh()


@pytest.mark.parametrize("bad", [b'{"a": "MODEL"}', CONTENT[:-1], b""])
def test_altered_and_truncated_files_are_forged(live: Any, bad: bytes) -> None:
    client = live.client()
    client.refresh()
    (place,) = (live.files / "targets/prod/model/magika").iterdir()
    path = str(place.relative_to(live.files))
    live.mirror.lie(path, bad)
    with pytest.raises(TargetForged):
        client.target_bytes(MODEL)
    live.mirror.lies.clear()
    assert client.target_bytes(MODEL) == CONTENT


def test_unknown_signers_and_nonsense_are_forged(live: Any, tmp_path: Any) -> None:
    client = live.client()
    client.refresh()
    other = OnlineKeys.create(tmp_path / "other")
    live.mirror.lie("metadata/timestamp.json", live.forge("timestamp", lambda _: None, other))
    with pytest.raises(UpdateForged):
        client.refresh()
    for nonsense in (b"", b"{", b"null", b'{"signed": {}, "signatures": []}', b"\xff" * 100):
        live.mirror.lie("metadata/timestamp.json", nonsense)
        with pytest.raises(UpdateForged):
            client.refresh()


def test_endless_data_is_cut_off(live: Any) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 4096

    live.mirror.lies["metadata/timestamp.json"] = endless
    with pytest.raises(UpdateTooLarge):
        live.client().refresh()
    assert live.mirror.bytes_served < 50_000
    live.mirror.lies.clear()
    client = live.client()
    client.refresh()
    (place,) = (live.files / "targets/prod/model/magika").iterdir()
    live.mirror.lies[str(place.relative_to(live.files))] = endless
    with pytest.raises(UpdateTooLarge):
        client.target_bytes(MODEL)


def test_a_trickle_is_cut_off(live: Any) -> None:
    def trickle() -> Iterator[bytes]:
        while True:
            live.clock.advance(1)
            yield b" "

    live.mirror.lies["metadata/timestamp.json"] = trickle
    with pytest.raises(UpdateSlow):
        live.client().refresh()
    assert live.mirror.bytes_served <= FILE_S_MAX + 1


def test_a_dead_mirror_is_unreachable_and_not_an_attack(live: Any) -> None:
    def dead() -> Iterator[bytes]:
        raise ConnectionResetError("cut")
        yield b""

    live.mirror.lies["metadata/timestamp.json"] = dead
    with pytest.raises(UpdateUnreachable, match="cut"):
        live.client().refresh()


def test_a_canary_key_cannot_name_a_prod_path(live: Any) -> None:
    """The publisher's lint refuses it; a client, reached past the lint, finds nothing signed."""
    path = "prod/model/evil/1.json"

    def name_it(role: Any) -> None:
        role.targets[path] = TargetFile.from_data(path, b"{}", ["sha256"])

    forged = live.forge("canary", name_it)
    with pytest.raises(Exception, match="not among its paths"):
        live.publisher.publish(signed={"canary": forged}, targets={path: b"{}"})
    live.plant(canary=forged)
    client = live.client()
    client.refresh()
    with pytest.raises(TargetUnsigned):
        client.target_bytes(path)


def test_stolen_online_keys_cannot_sign_a_model(live: Any) -> None:
    """Central's keys sign desired state; for models the offline key is asked."""

    class Central:
        def sign(self, role: str, metadata: Metadata[Any]) -> bytes:
            return bytes(live.online.sign("desired", metadata))

    def swap(role: Any) -> None:
        role.targets[MODEL] = TargetFile.from_data(MODEL, b"evil", ["sha256"])

    live.plant(models=live.forge("models", swap, Central()))
    client = live.client()
    client.refresh()
    with pytest.raises(UpdateForged):
        client.target_bytes(MODEL)


def test_fast_forward_is_healed_by_new_online_keys(live: Any, tmp_path: Any) -> None:
    """U21: a thief jumps to version 2**62; root names new keys and the counters start again."""
    client = live.client()
    client.refresh()

    def jump(timestamp: Timestamp) -> None:
        timestamp.version = 2**62

    stolen = live.forge("timestamp", jump)
    live.mirror.lie("metadata/timestamp.json", stolen)
    client.refresh()
    live.mirror.lies.clear()
    live.publisher.publish(desired={OSLO: b"[2]"})
    with pytest.raises(UpdateRollback):
        client.refresh()
    fresh = OnlineKeys.create(tmp_path / "fresh")
    founded = live.offline.found(
        fresh.public() | {"desired": live.online.public()["desired"]},
        now_unix_s=live.clock.unix_s(),
    )
    root: Metadata[Any] = Metadata.from_bytes(founded["root"])
    root.signed.version = 2
    shutil.copy(tmp_path / "online/desired.pem", tmp_path / "fresh/desired.pem")
    publisher = Publisher.open(live.files, OnlineKeys.load(tmp_path / "fresh"), live.clock)
    publisher.publish(signed={"root": live.offline.sign("root", root)})
    client.refresh()
    assert client.target_bytes(OSLO) == b"[2]"


def test_roots_rotate_in_order_and_none_is_skipped(live: Any) -> None:
    client = live.client()
    for _ in range(5):
        root = live.offline.renew(
            "root", live.publisher.role_bytes("root"), now_unix_s=live.clock.unix_s()
        )
        live.publisher.publish(signed={"root": root})
    live.mirror.lie("metadata/2.root.json", (live.files / "metadata/3.root.json").read_bytes())
    with pytest.raises(UpdateRefused):
        client.refresh()
    live.mirror.lies.clear()
    client.refresh()
    assert (
        json.loads((live.folder / "node/metadata/root.json").read_bytes())["signed"]["version"] == 6
    )


def test_a_foreign_root_is_refused(live: Any, tmp_path: Any) -> None:
    other = OfflineKeys.create(tmp_path / "thieves")
    root: Metadata[Any] = Metadata.from_bytes(live.first["root"])
    root.signed.version, root.signed.expires = 2, expiry("root", live.clock.unix_s())
    live.mirror.lie("metadata/2.root.json", other.sign("root", root))
    with pytest.raises(UpdateForged):
        live.client().refresh()


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2]])
def test_torn_local_files_recover_and_the_floor_never_drops(
    live: Any, damage: Callable[[bytes], bytes]
) -> None:
    client = live.client()
    client.refresh()
    client.target_bytes(MODEL)
    client.raise_floor(OSLO, 7)
    files = [f for f in (live.folder / "node").rglob("*") if f.is_file() and not f.is_symlink()]
    assert len(files) >= 7
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(damage(whole))
        again = live.client()
        again.refresh()
        assert again.target_bytes(MODEL) == CONTENT
        assert again.generation_floor(OSLO) == 7
        file.write_bytes(whole)


def test_the_floor_only_rises(live: Any) -> None:
    client = live.client()
    client.raise_floor(OSLO, 5)
    client.raise_floor(OSLO, 3)
    assert live.client().generation_floor(OSLO) == 5


def test_the_agent_carries_no_heavy_library() -> None:
    """A node's agent has 60 MB: neither arrays nor RPC nor a web framework come with trust."""
    code = (
        "import sys, skerry.trust.acceptance, skerry.trust.enrol, skerry.trust.tls\n"
        "heavy = {'numpy', 'grpc', 'aiohttp', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
