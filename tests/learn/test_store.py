"""The manifest names every byte; a large file is named chunk by chunk too."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from skerry.learn import store
from skerry.learn.store import member


def test_a_large_file_names_its_chunks_and_a_small_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CHUNK_BYTES", 10)
    data = bytes(range(25))
    (tmp_path / "big").write_bytes(data)
    (tmp_path / "small").write_bytes(data[:10])
    big, small = member(tmp_path, "big"), member(tmp_path, "small")
    assert big.sha256 == hashlib.sha256(data).hexdigest()
    parts = (data[:10], data[10:20], data[20:])
    assert big.chunks == tuple(hashlib.sha256(part).hexdigest() for part in parts)
    assert (big.chunk_bytes, big.length_bytes) == (10, 25)
    assert set(msgspec.to_builtins(small)) == {"path", "sha256", "length_bytes"}
