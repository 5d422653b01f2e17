"""Audit events as OCSF 1.9: the form in which they are kept, hashed and handed to a SIEM.

What is kept is the event without its attestation, as canonical JSON: sorted keys, no spaces, no
floats. What is exported carries the attestation too (profile `record_integrity`), so that an
export can be checked line by line with no other file: take the attestation out, write the rest
canonically, and hash it behind the fingerprint of the line before.

Units:   `time` is unix milliseconds.
Errors:  LineError, for a line that is no exported entry.
Source:  OCSF 1.9.0 (2026-08-03): classes 2004, 3002, 3003, 3004, 5019, 6002, 6003 and the profile
         record_integrity; canonical form as RFC 8785 has it for texts and integers.
"""

from typing import Any

import msgspec

from skerry import __version__
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.trust.ledger_errors import CheckpointError
from skerry.trust.ledger_tree import HASH_BYTES, chain_start, leaf_hash

OCSF_VERSION = "1.9.0"
FINGERPRINT = "SHA-256(0x00 || previous fingerprint || canonical event)"
TEXT_CHARS_MAX = 2048
LINE_BYTES_MAX = 1 << 17
_OTHER = 99
_AUTHENTICATION, _AUTHORIZE, _ENTITY = 3002, 3003, 3004
_LIFECYCLE, _API, _DEVICE, _FINDING = 6002, 6003, 5019, 2004
_CREATE, _UPDATE, _ENROLL, _SUSPEND, _RESUME = 1, 3, 6, 12, 13  # activities of 3004

_CLASS: dict[AuditKind, tuple[int, int]] = {
    AuditKind.LOGIN: (_AUTHENTICATION, 1),
    AuditKind.RENEW: (_AUTHENTICATION, _OTHER),
    AuditKind.BREAK_GLASS: (_AUTHORIZE, 1),
    AuditKind.JOIN: (_ENTITY, _ENROLL),
    AuditKind.BAN: (_ENTITY, _SUSPEND),
    AuditKind.LIFT_BAN: (_ENTITY, _RESUME),
    AuditKind.KEY: (_ENTITY, _CREATE),
    AuditKind.POLICY: (_ENTITY, _UPDATE),
    AuditKind.UPDATE: (_LIFECYCLE, 1),
    AuditKind.PUBLISH: (_API, 1),
    AuditKind.APPLY: (_API, 3),
    AuditKind.ROLLOUT: (_API, 3),
    AuditKind.BACKUP: (_API, 2),
    AuditKind.ACCESS: (_API, _OTHER),
    AuditKind.DRILL: (_API, _OTHER),
    AuditKind.ATTEST: (_DEVICE, 1),
    AuditKind.CUSTODY: (_DEVICE, 1),
    AuditKind.TAMPER: (_FINDING, 1),
}
"""Each kind's class and activity."""
_SEVERITY = {AuditOutcome.DONE: 1, AuditOutcome.REFUSED: 3, AuditOutcome.FAILED: 4}
_ENTITIES = {AuditKind.KEY: "key", AuditKind.POLICY: "policy"}

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(dict[str, Any])


class LineError(CheckpointError):
    """A line of an export is no audit entry of this fleet, or was changed on its way."""

    reason = "AUDIT_LINE"

    def __init__(self, why: str) -> None:
        super().__init__("an exported line", why)
        self.args = (why,)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One entry as it was exported; `fits` says whether its fingerprint is that of its content."""

    chain: str
    seq: int
    previous: bytes
    leaf: bytes
    body: bytes

    @property
    def fits(self) -> bool:
        """Say whether the fingerprint is that of the content."""
        return leaf_hash(self.previous, self.body) == self.leaf


def canonical(document: dict[str, Any]) -> bytes:
    """Return a document's one and only form in bytes."""
    try:
        return _encoder.encode(document)
    except UnicodeEncodeError:  # half a surrogate pair, from whoever wrote it
        return _encoder.encode(_whole(document))


def body_of(
    event: AuditEvent, *, chain: str, seq: int, at_unix_ms: int, sealed: dict[str, Any] | None
) -> bytes:
    """Return an event as it is kept. `sealed` stands where its personal fields were."""
    class_uid, activity = _CLASS[event.kind]
    actor, target = _short(event.actor), _short(event.target)
    own: dict[str, Any] = {"kind": event.kind.value, "outcome": event.outcome.value}
    if event.reason:
        own["reason"] = _short(event.reason)
    if event.fields:
        own["fields"] = {_short(name): _short(text) for name, text in event.fields.items()}
    if sealed:
        own["personal"] = sealed
    document: dict[str, Any] = {
        "activity_id": activity,
        "actor": {"user": {"uid": actor}},
        "category_uid": class_uid // 1000,
        "class_uid": class_uid,
        "message": _short(event.text) or f"{event.kind} {event.outcome}: {target}",
        "metadata": {
            "log_name": chain,
            "product": {"name": "skerry", "vendor_name": "skerry", "version": __version__},
            "profiles": ["record_integrity"],
            "sequence": seq,
            "uid": f"{chain}/{seq}",
            "version": OCSF_VERSION,
        },
        "severity_id": _severity(event),
        "status_id": 1 if class_uid == _FINDING or event.outcome is AuditOutcome.DONE else 2,
        "time": at_unix_ms,
        "type_uid": class_uid * 100 + activity,
        "unmapped": own,
    }
    if event.reason:
        document["status_detail"] = _short(event.reason)
    if activity == _OTHER:
        document["activity_name"] = event.kind.value
    return canonical(document | _of_class(class_uid, event, actor, target, at_unix_ms, seq))


def _of_class(
    class_uid: int, event: AuditEvent, actor: str, target: str, at_unix_ms: int, seq: int
) -> dict[str, Any]:
    """Return what one class requires beyond the base event."""
    if class_uid == _AUTHENTICATION:
        return {"user": {"uid": actor}, "service": {"name": target}}
    if class_uid == _AUTHORIZE:
        return {"user": {"uid": actor}, "privileges": [target]}
    if class_uid == _ENTITY:
        return {"entity": {"uid": target, "type": _ENTITIES.get(event.kind, "device")}}
    if class_uid == _LIFECYCLE:
        return {"app": {"name": target, "vendor_name": "skerry"}}
    if class_uid == _API:
        return {
            "api": {"operation": event.kind.value},
            "resources": [{"uid": target}],
            "src_endpoint": {"name": actor},
        }
    if class_uid == _DEVICE:
        return {"device": {"uid": target, "type_id": _OTHER, "type": "node"}}
    return {
        "finding_info": {
            "created_time": at_unix_ms,
            "title": _short(event.reason) or "tamper",
            "uid": f"{_short(event.reason) or 'tamper'}-{seq}",
        },
        "is_alert": True,
        "resources": [{"uid": target}],
    }


def line_of(body: bytes, *, chain: str, seq: int, previous: bytes, leaf: bytes) -> bytes:
    """Return an entry as it is exported, without a line end."""
    attestation: dict[str, Any] = {
        "authority_uid": chain.rpartition("/")[0],
        "chain_uid": chain,
        "fingerprint": _fingerprint(leaf),
        "uid": f"{chain}/{seq}",
    }
    if seq > 1:
        attestation["prev_event"] = {
            "fingerprint": _fingerprint(previous),
            "uid": f"{chain}/{seq - 1}",
        }
    return canonical(_decoder.decode(body) | {"attestation_list": [attestation]})


def read_line(data: bytes) -> Line:
    """Read an exported entry; raises `LineError`. Whether it is intact is `Line.fits`."""
    if len(data) > LINE_BYTES_MAX:
        raise LineError(f"it has {len(data)} bytes, wanted at most {LINE_BYTES_MAX}")
    try:
        document = _decoder.decode(data)
        (attestation,) = document.pop("attestation_list")
        chain, uid = attestation["chain_uid"], attestation["uid"]
        leaf = bytes.fromhex(attestation["fingerprint"]["value"])
        seq = document["metadata"]["sequence"]
        previous = chain_start(chain)
        if seq != 1:
            previous = bytes.fromhex(attestation["prev_event"]["fingerprint"]["value"])
        if document["metadata"]["uid"] != uid or uid != f"{chain}/{seq}":
            raise LineError("its chain and number do not belong together")
        if type(seq) is not int or seq < 1 or {len(leaf), len(previous)} != {HASH_BYTES}:
            raise LineError("its number or its fingerprints are not of the right form")
        body = canonical(document)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise LineError(f"{type(error).__name__}: {str(error)[:200]}") from None
    except RecursionError:
        raise LineError("it is nested too deeply") from None
    return Line(chain=chain, seq=seq, previous=previous, leaf=leaf, body=body)


def event_of(body: bytes) -> tuple[AuditEvent, int]:
    """Return the event of a kept body, without its personal fields, and its time in unix ms."""
    document = _decoder.decode(body)
    own = document["unmapped"]
    event = AuditEvent(
        kind=AuditKind(own["kind"]),
        outcome=AuditOutcome(own["outcome"]),
        actor=document["actor"]["user"]["uid"],
        target=_target_of(document),
        reason=own.get("reason", ""),
        text=document["message"],
        fields=own.get("fields", {}),
    )
    return event, document["time"]


def sealed_of(body: bytes) -> dict[str, Any]:
    """Return the encrypted personal fields of a kept body; empty where there are none."""
    return dict(_decoder.decode(body)["unmapped"].get("personal", {}))


def _severity(event: AuditEvent) -> int:
    """Return OCSF's 1 (informational) to 5 (critical)."""
    if event.kind is AuditKind.TAMPER:
        return 3 if event.outcome is AuditOutcome.DONE else 5  # what is well again, what is not
    return 4 if event.kind is AuditKind.BREAK_GLASS else _SEVERITY[event.outcome]


def _target_of(document: dict[str, Any]) -> str:
    for name, key in (("service", "name"), ("entity", "uid"), ("app", "name"), ("device", "uid")):
        if name in document:
            return str(document[name][key])
    if "privileges" in document:
        return str(document["privileges"][0])
    return str(document["resources"][0]["uid"])


def _fingerprint(value: bytes) -> dict[str, Any]:
    return {"algorithm": FINGERPRINT, "algorithm_id": _OTHER, "value": value.hex()}


def _short(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[: TEXT_CHARS_MAX - 1]}…"


def _whole(value: Any) -> Any:
    """Return a document in which every text can be written as UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_whole(name): _whole(item) for name, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value
