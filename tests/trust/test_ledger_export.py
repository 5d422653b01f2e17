"""Export: everything arrives, in order, at least once, whatever the collector does."""

import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.schema.audit_api import AuditSettings, HttpExport, SyslogExport
from skerry.testing.clock import ManualClock
from skerry.testing.siem import Collector
from skerry.trust.ledger import Ledger, open_ledger
from skerry.trust.ledger_errors import AuditExportError
from skerry.trust.ledger_export import Exporter, Sink, sinks_of, syslog_message
from skerry.trust.ledger_ocsf import LineError, body_of, line_of, read_line
from skerry.trust.ledger_tree import chain_start, leaf_hash
from skerry.trust.ledger_verify import verify_lines

NAME = "spiffe://oslo.eu.clinic.example/node/1"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no event wait for others to come."""
    monkeypatch.setattr("skerry.trust.ledger.GROUP_S_MAX", 0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(tmp_path / "audit", NAME, ManualClock())
    yield opened
    opened.close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector().serve_http()
    yield one
    one.stop()


def note(ledger: Ledger, count: int) -> None:
    for n in range(count):
        ledger.note_now(
            AuditEvent(
                kind=AuditKind.BAN, outcome=AuditOutcome.DONE, actor="ann", target=f"oslo/{n}"
            )
        )


def http_sink(collector: Collector, **more: Any) -> Sink:
    settings = HttpExport(url=f"http://127.0.0.1:{collector.port}/in", batch=10, **more)
    return sinks_of(AuditSettings(http=settings))["http"]()


def drain(exporter: Exporter) -> None:
    while exporter.turn():
        pass


def test_http_gets_everything_once_while_it_is_well(
    ledger: Ledger, collector: Collector, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    exporter = Exporter(
        ledger.store,
        http_sink(collector, token_file=str(tmp_path / "token")),
        tmp_path / "cursor",
    )
    note(ledger, 25)
    drain(exporter)
    note(ledger, 5)
    drain(exporter)
    assert [read_line(line).seq for line in collector.lines] == list(range(1, 31))
    assert verify_lines(collector.lines, "siem").entries == 30
    assert collector.tokens == {"Bearer s3cret"}


@pytest.mark.parametrize("mood", ["away", "deaf"])
def test_what_was_not_acknowledged_goes_out_again(
    ledger: Ledger, collector: Collector, tmp_path: Path, mood: str
) -> None:
    exporter = Exporter(ledger.store, http_sink(collector), tmp_path / "cursor")
    note(ledger, 15)
    collector.mood = mood
    for _ in range(2):
        with pytest.raises(AuditExportError, match="status 503"):
            exporter.turn()
    collector.mood = "well"
    drain(Exporter(ledger.store, http_sink(collector), tmp_path / "cursor"))  # after a restart
    unique = {read_line(line).seq: line for line in collector.lines}
    assert sorted(unique) == list(range(1, 16))
    assert len(collector.lines) == (15 if mood == "away" else 35)


def test_syslog_over_tls_is_counted_octets_of_rfc_5424(ledger: Ledger, tmp_path: Path) -> None:
    roots, tls = server_tls(tmp_path)
    collector = Collector(tls).serve_syslog()
    settings = SyslogExport(host="localhost", port=collector.port, roots=str(roots))
    exporter = Exporter(
        ledger.store,
        sinks_of(AuditSettings(syslog=settings))["syslog"](),
        tmp_path / "cursor",
    )
    note(ledger, 450)
    drain(exporter)
    until(lambda: len(collector.lines) == 450)
    assert verify_lines(collector.lines, "siem").entries == 450
    head = collector.messages[0].split(b"{")[0].decode()
    assert re.fullmatch(
        r"<110>1 2023-11-14T22:13:20\.000Z oslo\.eu\.clinic\.example skerry - ban "
        r'\[audit@32473 chain="oslo\.eu\.clinic\.example/node/1/[0-9a-f]{8}" seq="1"\] ',
        head,
    ), head
    exporter.close()
    note(ledger, 1)
    drain(exporter)  # a new connection brings the last batch once more
    until(lambda: len(collector.lines) == 651)
    assert {read_line(line).seq for line in collector.lines} == set(range(1, 452))
    exporter.close()
    collector.stop()


def test_syslog_to_somebody_else_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    _, tls = server_tls(tmp_path)
    (tmp_path / "other").mkdir()
    roots, _ = server_tls(tmp_path / "other")
    collector = Collector(tls).serve_syslog()
    settings = SyslogExport(host="localhost", port=collector.port, roots=str(roots))
    exporter = Exporter(
        ledger.store,
        sinks_of(AuditSettings(syslog=settings))["syslog"](),
        tmp_path / "cursor",
    )
    note(ledger, 1)
    with pytest.raises(AuditExportError, match="CERTIFICATE_VERIFY_FAILED"):
        exporter.turn()
    assert collector.lines == []
    collector.stop()


def test_a_file_is_appended_to(ledger: Ledger, tmp_path: Path) -> None:
    out = tmp_path / "audit.jsonl"
    exporter = Exporter(
        ledger.store, sinks_of(AuditSettings(file=str(out)))["file"](), tmp_path / "cursor"
    )
    note(ledger, 3)
    drain(exporter)
    note(ledger, 2)
    drain(exporter)
    assert verify_lines(out.read_bytes().splitlines(), "file").entries == 5
    with out.open("ab") as file:
        file.write(b'{"half a line')  # as a kill leaves it
    note(ledger, 1)
    drain(exporter)
    assert read_line(out.read_bytes().splitlines()[-1]).seq == 6


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (HttpExport(url="http://siem.example/in"), "wanted https"),
        (HttpExport(url="ftp://127.0.0.1/in"), "wanted https"),
        (HttpExport(url="https://siem.example/in", batch=0), "batch is 0"),
        (HttpExport(url="https://siem.example/in", roots="/none"), "No such file"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(settings: HttpExport, why: str) -> None:
    with pytest.raises(AuditExportError, match=why):
        sinks_of(AuditSettings(http=settings))["http"]()


# --- OCSF -----------------------------------------------------------------------------

BASE = ("activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid")
REQUIRED: dict[int, tuple[str, ...]] = {
    2004: ("finding_info",),
    3002: ("user",),
    3003: ("user",),
    3004: ("entity",),
    5019: ("device",),
    6002: ("app",),
    6003: ("actor", "api", "src_endpoint"),
}
"""Attributes that each class requires beyond the base event: ocsf-schema 1.9.0, events/*/*.json."""
ONE_OF: dict[int, tuple[str, ...]] = {
    3002: ("service", "dst_endpoint"),
    3003: ("privileges", "groups", "iam_roles"),
}
"""`at_least_one` constraints of the same files."""
WITHIN: dict[str, tuple[str, ...]] = {
    "metadata": ("product", "version"),
    "finding_info": ("uid",),
    "device": ("type_id", "uid"),
    "user": ("uid",),
    "entity": ("uid",),
    "app": ("name",),
    "api": ("operation",),
    "src_endpoint": ("name",),
}
"""Attributes that objects require, or one of which they require: objects/*.json."""


@pytest.mark.parametrize("kind", list(AuditKind))
@pytest.mark.parametrize("outcome", list(AuditOutcome))
def test_every_kind_has_what_its_class_requires(kind: AuditKind, outcome: AuditOutcome) -> None:
    event = AuditEvent(kind=kind, outcome=outcome, actor="a", target="t", reason="WORD")
    body = body_of(event, chain="c/1", seq=2, at_unix_ms=1, sealed=None)
    previous = chain_start("c/1")
    line = line_of(body, chain="c/1", seq=2, previous=previous, leaf=leaf_hash(previous, body))
    document = json.loads(line)
    class_uid = document["class_uid"]
    for name in (*BASE, *REQUIRED[class_uid]):
        assert name in document, name
    if class_uid in ONE_OF:
        assert any(name in document for name in ONE_OF[class_uid])
    for name, parts in WITHIN.items():
        assert all(part in document.get(name, dict.fromkeys(parts)) for part in parts), name
    assert document["type_uid"] == class_uid * 100 + document["activity_id"]
    assert document["category_uid"] == class_uid // 1000
    assert document["metadata"]["version"] == "1.9.0"
    if document["activity_id"] == 99:
        assert document["activity_name"]
    (attestation,) = document["attestation_list"]
    assert attestation["fingerprint"].keys() >= {"algorithm_id", "value"}
    assert read_line(line).fits


good = line_of(
    body_of(
        AuditEvent(kind=AuditKind.BAN, outcome=AuditOutcome.DONE, actor="a", target="t"),
        chain="c/1",
        seq=1,
        at_unix_ms=1,
        sealed=None,
    ),
    chain="c/1",
    seq=1,
    previous=chain_start("c/1"),
    leaf=bytes(32),
)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_line_or_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(LineError):
        read_line(data)


@given(st.integers(0, len(good) - 1), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_does_not_fit(at: int, byte: int) -> None:
    changed = good[:at] + bytes([byte]) + good[at + 1 :]
    try:
        assert not read_line(changed).fits
    except LineError:
        return


def test_a_message_names_its_chain_safely() -> None:
    """Quotes, brackets and line ends of a name stay inside the structured data."""
    head = {
        "severity_id": 5,
        "time": 0,
        "metadata": {"uid": 'a"]\\b/7'},
        "unmapped": {"kind": "ban\n"},
    }
    line = msgspec.json.encode(head)
    told = syslog_message(line)[: -len(line)].decode()
    start, data = told.split(" skerry ")
    assert start == '<105>1 1970-01-01T00:00:00.000Z a"]\\b'
    assert data == '- ban [audit@32473 chain="a\\"\\]\\\\b" seq="7"] '


# --- helpers --------------------------------------------------------------------------


def server_tls(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Return the path of a root that a collector's certificate is good under, and its context."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "siem")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    pem = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = made.public_bytes(Encoding.PEM)
    (folder / "siem.pem").write_bytes(chain + key.private_bytes(*pem))
    (folder / "roots.pem").write_bytes(chain)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "siem.pem")
    return folder / "roots.pem", tls


def until(true: Callable[[], bool], deadline_s: float = 5.0) -> None:
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
