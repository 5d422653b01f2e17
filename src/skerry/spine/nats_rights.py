"""What each role may send and hear: the permission templates of the scoped signing keys.

Deny by default: a subject that is not listed is refused. `{{name()}}` and `{{tag(x)}}` are
filled by the server from the login itself, so no process can speak for another.

JetStream subjects are listed without a domain: the server checks them after it has mapped
`$JS.<domain>.API` to `$JS.API`. What keeps a region away from central's streams is that its
login belongs to an account that central's server does not know (`skerry.spine.nats_jwt`).
"""

from typing import Any

from skerry.base.ids import token
from skerry.spine import subjects

_PAYLOAD_BYTES_MAX = 1 << 20
_ANSWER_S = 10
_NS = 1_000_000_000


def _template(
    pub: list[str], sub: list[str], *, subs: int, link: str, answers: bool = True
) -> dict[str, Any]:
    template: dict[str, Any] = {
        "pub": {"allow": pub},
        "sub": {"allow": sub},
        "subs": subs,
        "data": -1,
        "payload": _PAYLOAD_BYTES_MAX,
        "allowed_connection_types": [link],
    }
    if answers:  # the right to answer a request that was just received, and nobody else's
        template["resp"] = {"max": 1, "ttl": _ANSWER_S * _NS}
    return template


def node(region: str) -> dict[str, Any]:
    """Return a node's rights: its own records, its own report, its site's nudges, its own inbox."""
    region = token("region", region)
    own = f"{region}.{{{{tag(site)}}}}.{{{{tag(node)}}}}"
    return _template(
        [f"telemetry.{own}.>", f"status.{own}"],
        [f"cmd.{region}.{{{{tag(site)}}}}", f"_INBOX.{own}.>"],
        subs=16,
        link="STANDARD",
    )


def region(name: str) -> dict[str, Any]:
    """Return the rights of a region's process at its own server: stream TEL, relay, nudges."""
    name = token("region", name)
    return _template(
        [
            f"up.{name}.>",
            f"status.{name}.>",
            f"cmd.{name}.>",
            f"$JS.API.STREAM.*.{subjects.TEL}",
            f"$JS.API.CONSUMER.*.{subjects.TEL}.>",
            f"$JS.API.CONSUMER.MSG.NEXT.{subjects.TEL}.{subjects.RELAY_DURABLE}",
            f"$JS.ACK.{subjects.TEL}.>",
        ],
        [f"status.{name}.>", f"cmd.{name}.{name}", f"_INBOX._r.{name}.>"],
        subs=128,
        link="STANDARD",
    )


def leaf() -> dict[str, Any]:
    """Return the rights of a region's server at the hub: what may cross the link, each way."""
    name = "{{name()}}"
    return _template(
        [f"up.{name}.>", f"status.{name}.>", f"{subjects.INBOX_CENTRAL}.>"],
        [f"cmd.{name}.>", f"_INBOX._r.{name}.>"],
        subs=-1,
        link="LEAFNODE",
        answers=False,
    )


def central() -> dict[str, Any]:
    """Return central's rights: stream UP, every report, every site's nudge."""
    return _template(
        [
            "cmd.>",
            f"$JS.API.STREAM.*.{subjects.UP}",
            f"$JS.API.CONSUMER.*.{subjects.UP}.>",
            f"$JS.API.CONSUMER.MSG.NEXT.{subjects.UP}.{subjects.INGEST_DURABLE}",
            f"$JS.ACK.{subjects.UP}.>",
        ],
        [subjects.STATUS_ALL, f"{subjects.INBOX_CENTRAL}.>"],
        subs=128,
        link="STANDARD",
    )
