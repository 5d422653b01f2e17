"""Where a node fetches from: one source after the other, what is good of each kept."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.node.settings import MirrorAddress, NodeSettings
from skerry.node.upstream import Mirror
from skerry.schema.model import Member
from skerry.spine.blobs import BlobStore
from skerry.spine.errors import BlobFetchError, BlobMismatchError

DATA = b"a model"
MEMBER = Member(path="model.onnx", sha256=hashlib.sha256(DATA).hexdigest(), length_bytes=len(DATA))


def test_the_next_source_is_asked_and_the_first_ones_error_is_told(
    node_settings: NodeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    settings = msgspec.structs.replace(
        node_settings, mirrors=(MirrorAddress(url="https://mirror:1", host="other.test"),)
    )
    mirror = Mirror(settings, None)  # type: ignore[arg-type]
    asked: list[str] = []

    class Files:
        def client_tls(self) -> None:
            return None

    for source in mirror._sources:
        source._files = Files()  # type: ignore[assignment]

    def fetch(url: str, *, into: BlobStore, server_hostname: str, **_: Any) -> Path:
        asked.append(f"{server_hostname} {url.split('/')[2]}")
        if len(asked) == 1:
            raise BlobMismatchError(MEMBER.sha256, "x", "y")
        if len(asked) == 2:
            into.put_bytes(DATA)
            return into.path(MEMBER.sha256)
        raise BlobFetchError(url, "away")

    monkeypatch.setattr("skerry.node.upstream.fetch_blob", fetch)
    store = BlobStore(tmp_path)
    assert mirror.fetch_member(MEMBER, store).read_bytes() == DATA
    assert asked[1] == "other.test mirror:1"
    asked[:] = ["", ""]
    with pytest.raises(BlobFetchError, match="away") as caught:
        mirror.fetch_member(MEMBER, store)
    assert settings.region_url.split("/")[2] in caught.value.url
