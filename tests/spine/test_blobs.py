"""Blobs and downloads: right bytes under their name or nothing; a broken download goes on."""

import hashlib
import http.server
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from skerry.spine.blobs import BlobStore
from skerry.spine.errors import BlobFetchError, BlobMismatchError, BlobStoreFullError
from skerry.spine.fetch import Chunks, fetch_blob, fetch_file

DATA = bytes(range(256)) * 4096  # 1 MiB
NAME = hashlib.sha256(DATA).hexdigest()


class Source(http.server.BaseHTTPRequestHandler):
    """Serves DATA with Range; a test sets how it misbehaves."""

    protocol_version = "HTTP/1.1"
    stop_after: ClassVar[int] = 0
    trickle: ClassVar[bool] = False
    resume: ClassVar[bool] = True
    data: ClassVar[bytes] = DATA
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        type(self).asked.append(wanted)
        if self.path == "/missing":
            self.send_error(404)
            return
        start = int(wanted[6:-1]) if wanted and self.resume else 0
        body = self.data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.data) - 1}/*")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            if self.trickle:
                for at in range(200):
                    self.wfile.write(body[at : at + 1])
                    time.sleep(0.02)
            elif self.stop_after:
                self.wfile.write(body[: self.stop_after])
                self.wfile.flush()
            else:
                self.wfile.write(body)
        except OSError:
            pass  # the client gave up, which is what some tests want
        self.close_connection = True

    def log_message(self, *unused: Any) -> None:
        """Be quiet."""


@pytest.fixture
def source(authority: Any) -> Iterator[Any]:
    class Mine(Source):
        asked: ClassVar[list[str]] = []

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mine)
    files = authority.files("region.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(files.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Mine.url = f"https://127.0.0.1:{server.server_port}/blob"  # type: ignore[attr-defined]
    yield Mine
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(source: Any, authority: Any, tmp_path: Path) -> Any:
    context = authority.context(authority.files("client.test"))
    store = BlobStore(tmp_path / "blobs")

    def one(**changes: Any) -> Path:
        wanted = {
            "ssl_context": context,
            "server_hostname": "region.test",
            "sha256": NAME,
            "length": len(DATA),
            "into": store,
        }
        return fetch_blob(changes.pop("url", source.url), **(wanted | changes))

    one.store, one.context = store, context  # type: ignore[attr-defined]
    return one


def test_a_blob_is_stored_once_and_only_under_its_own_name(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    path = store.put([DATA[:1000], DATA[1000:]], sha256=NAME, length=len(DATA))
    assert path.read_bytes() == DATA
    assert store.put([b"never read"], sha256=NAME, length=1) == path
    assert store.names() == [NAME]
    for chunks, length in (([DATA, b"x"], len(DATA)), ([b"x"], 1), ([DATA], len(DATA) + 1)):
        with pytest.raises(BlobMismatchError):
            BlobStore(tmp_path / "b").put(chunks, sha256=NAME, length=length)
    assert BlobStore(tmp_path / "b").total_bytes() == 0
    store.remove(NAME)
    assert not store.has(NAME)
    with pytest.raises(KeyError):
        store.path(NAME)


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "0" * 63, ""])
def test_a_name_that_is_no_hash_never_reaches_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(BlobMismatchError):
        BlobStore(tmp_path).has(name)


def test_a_full_store_refuses_before_a_byte_moves(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, limit_bytes=100)
    store.put_bytes(b"x" * 60)
    with pytest.raises(BlobStoreFullError, match="40 bytes free"):
        store.put_bytes(b"y" * 60)


def test_a_download_goes_on_where_it_broke_off(source: Any, fetch: Any) -> None:
    source.stop_after = 300_000
    with pytest.raises(BlobFetchError):
        fetch()
    partial = fetch.store.partial(NAME).stat().st_size
    assert 0 < partial <= 300_000
    source.stop_after = 0
    assert fetch().read_bytes() == DATA
    assert source.asked == ["", f"bytes={partial}-"]
    assert fetch().read_bytes() == DATA  # here already: nobody is asked
    assert len(source.asked) == 2


def test_a_source_that_cannot_resume_is_read_from_the_start(source: Any, fetch: Any) -> None:
    fetch.store.partial(NAME).write_bytes(DATA[:1000])
    source.resume = False
    assert fetch().read_bytes() == DATA


def test_wrong_bytes_are_refused_and_leave_nothing(source: Any, fetch: Any) -> None:
    for wrong in (DATA[:-1] + b"!", DATA + b"!"):
        source.data = wrong
        with pytest.raises(BlobMismatchError):
            fetch()
        assert fetch.store.total_bytes() == 0
    fetch.store.partial(NAME).write_bytes(b"bad start")
    source.data = DATA
    with pytest.raises(BlobMismatchError):
        fetch()
    assert fetch().read_bytes() == DATA  # the next try begins anew


def test_a_trickle_ends_by_its_rate_and_by_the_deadline(
    source: Any, fetch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.trickle = True
    with pytest.raises(BlobFetchError, match=r"not done within 0\.3 s"):
        fetch(deadline_s=0.3)
    monkeypatch.setattr("skerry.spine.fetch._RATE_WINDOW_S", 0.2)
    with pytest.raises(BlobFetchError, match="bytes per second, wanted 4096"):
        fetch()


def test_the_name_in_the_certificate_counts_not_the_address(fetch: Any) -> None:
    with pytest.raises(BlobFetchError, match="TLS"):
        fetch(server_hostname="other.test")


def test_a_small_file_is_bounded_and_its_status_is_told(source: Any, fetch: Any) -> None:
    def get(url: str, length_max: int) -> bytes:
        return b"".join(
            fetch_file(
                url,
                ssl_context=fetch.context,
                server_hostname="region.test",
                length_max=length_max,
            )
        )

    assert get(source.url, len(DATA)) == DATA
    with pytest.raises(BlobFetchError, match="more than 1000 bytes"):
        get(source.url, 1000)
    with pytest.raises(BlobFetchError) as caught:
        get(source.url.replace("/blob", "/missing"), 1000)
    assert caught.value.status == 404


CHUNKS = Chunks(
    200_000,
    tuple(
        hashlib.sha256(DATA[at : at + 200_000]).hexdigest() for at in range(0, len(DATA), 200_000)
    ),
)


def test_a_cut_download_goes_on_after_its_last_good_chunk(source: Any, fetch: Any) -> None:
    source.stop_after = 450_000
    with pytest.raises(BlobFetchError):
        fetch(chunks=CHUNKS)
    source.stop_after = 0
    assert fetch(chunks=CHUNKS).read_bytes() == DATA
    assert source.asked == ["", "bytes=400000-"]


def test_a_bad_chunk_costs_that_chunk_and_the_next_source_goes_on_from_it(
    source: Any, fetch: Any
) -> None:
    source.data = DATA[:650_000] + b"!" + DATA[650_001:]
    with pytest.raises(BlobMismatchError, match="chunk 3"):
        fetch(chunks=CHUNKS)
    assert fetch.store.partial(NAME).stat().st_size == 600_000
    source.data = DATA
    assert fetch(chunks=CHUNKS).read_bytes() == DATA
    assert source.asked[-1] == "bytes=600000-"


def test_a_partial_file_that_rotted_is_used_up_to_the_rot(source: Any, fetch: Any) -> None:
    fetch.store.partial(NAME).write_bytes(DATA[:250_000] + b"!" + DATA[250_001:500_000])
    assert fetch(chunks=CHUNKS).read_bytes() == DATA
    assert source.asked == ["bytes=200000-"]


def test_chunks_from_a_source_that_cannot_resume_and_one_that_does_not_end(
    source: Any, fetch: Any
) -> None:
    fetch.store.partial(NAME).write_bytes(DATA[:400_000])
    source.resume, source.data = False, DATA + b"more"
    with pytest.raises(BlobMismatchError, match="more bytes"):
        fetch(chunks=CHUNKS)
    source.data = DATA
    assert fetch(chunks=CHUNKS).read_bytes() == DATA
