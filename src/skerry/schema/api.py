"""What travels over the HTTP API of region and central: every request and reply document.

All bodies are JSON; `bytes` fields are base64 text in it. Requests refuse nothing that
they do not know (both sides may be one version apart), but what they know is checked.
`docs/reference/api.md` lists the paths, who may call each, and the bounds.

Units:  seconds since 1970-01-01 UTC in `*_unix_s`, milliseconds in `*_unix_ms`.
"""

from typing import Annotated, Literal

import msgspec

from skerry.schema.attestation import Stands
from skerry.schema.desired import Desired
from skerry.schema.drill import DrillRecord
from skerry.schema.expiry import Alarm
from skerry.schema.fleet import Fleet
from skerry.schema.observed import Observed, State
from skerry.schema.records import Event, Summary

JSON_BODY_BYTES_MAX = 8 * 1024 * 1024
"""The largest JSON body either process takes (a resolved fleet of 10,000 sites fits)."""

IDENTITY_BODY_BYTES_MAX = 64 * 1024
"""The largest body of `/v1/join` and `/v1/renew`, which strangers can reach."""

REGISTRY_NODES_MAX = 20_000
"""The most nodes one region reports."""


# --- errors ---------------------------------------------------------------------------


class ApiError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call was refused, in the four parts of every error."""

    code: str
    kind: str
    text: str
    hint: str
    exit_code: int


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every reply whose status is 400 or above."""

    error: ApiError


# --- identity (region) ----------------------------------------------------------------


class IdentityRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/join` and `POST /v1/renew`: what a node asks to be certified.

    The first six fields are exactly a `skerry.trust.enrol.EnrolRequest` (make one with
    `enrol_request`); its proof is the enrolment key's signature, so no certificate is
    needed. Sent twice it is harmless: what comes back serves only whoever holds the
    private keys that it names.
    """

    spiffe_id: str
    csr_pem: bytes
    enrolment_public_pem: bytes
    at_unix_s: float
    proof: bytes
    token: str = ""
    """For `/v1/join` only."""
    nats_public_key: str
    """A user nkey, `U...`; its seed stays on the node."""
    inference_url: str = ""
    """The mutual-TLS inference door that peers may call; empty for none."""
    want_site_authority: bool = False
    """Ask for the site's own authority beside it, so that the site can renew alone."""


class IdentityReply(msgspec.Struct, frozen=True, kw_only=True):
    """Who the node is now, and all it needs to show it: certificate and NATS login end together.

    Secret where `site_authority_pem` is present.
    """

    node: str
    site: str
    region: str
    domain: str
    spiffe_id: str
    chain_pem: bytes
    """Leaf first, then every intermediate below the root."""
    roots_pem: bytes
    ends_unix_s: float
    nats_jwt: str
    nats_url: str
    """`tls://host:port` to dial; the certificate there is checked against `nats_host`."""
    nats_host: str
    site_authority_pem: bytes = b""
    """Key and chain of the site's authority (what `Authority.save` writes), where asked for."""
    tuf_root: bytes = b""
    """Root metadata to start the update client from; present in the reply to a join."""
    anchors: bytes = b""
    """How the roots became what they are: signed, from the first version on; empty at version 0."""


class TrustReply(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/trust`: public anchors. A joiner compares `roots_pem` with its ticket first."""

    domain: str
    region: str
    host: str
    """The DNS name in the certificate of this API."""
    roots_pem: bytes
    marker: str = ""
    """`THROWAWAY` where the keys of this fleet were made on the spot for a trial."""
    anchors: bytes = b""
    """How the roots became what they are: signed, from the first version on; empty at version 0."""


class AnchorsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`GET` and `POST /v1/anchors` at central: every version of whom the fleet trusts, signed."""

    anchors: bytes


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/refused`: whom this region has banned, for its nodes to refuse as well."""

    ids: tuple[str, ...] = ()
    authorities_pem: bytes = b""
    """The site authorities that banned nodes hold: nothing below them is believed either."""


class AuthorityAsk(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/authority/request`: ask a process for a request for its own authority."""

    new_key: bool
    """A key made for it, or the one in use (for a certificate under another root)."""


class AuthorityRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the process's authority wants certified; the keys stay there."""

    csr_pem: bytes
    node_signer: str = ""
    """The public key that will sign logins of a region's nodes, where a new key was asked for."""


class AuthorityGrant(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/authority`: the chain for it, which the process checks and then uses."""

    chain_pem: bytes
    account_jwt: str = ""
    """The region's NATS account that takes logins of the new signer beside those of the old."""


class AuthorityStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Which authority a process uses now."""

    issuers: tuple[str, ...]
    """Key ids: this authority's own, then those of its issuers up to the root."""
    ends_unix_s: float


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/tokens`: let one node of a site in. Without a number the next free one is given."""

    site: str
    number: int | None = None
    life_s: float = 900.0
    ek_sha256: str = ""
    """SHA-256 (hex) of a TPM's EK certificate: only that machine may use the token."""


class JoinTicket(msgspec.Struct, frozen=True, kw_only=True):
    """What an installer carries to the machine: where to go, whom to trust there, the secret."""

    region_url: str
    region_host: str
    roots_sha256: str
    """SHA-256 of `TrustReply.roots_pem`, in hex."""
    token: str
    spiffe_id: str
    ends_unix_s: float
    fleet: str = ""
    """Filled in by whoever hands the ticket out; not secret."""
    tier: str = ""


class BanRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/bans`: cut a node off, or take it back. The reason is kept."""

    node: str
    banned: bool
    reason: str
    forget: bool = False
    """With `banned`: take it off the roster too, for a node that is gone for good."""


# --- registry (region to central) -----------------------------------------------------


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """One node as its region registered it."""

    node: str
    site: str
    region: str
    inference_url: str
    joined_unix_s: float
    banned: bool = False
    ban_reason: str = ""
    attestation: Stands = Stands()
    """How it stands with its TPM; nothing where the fleet demands nothing."""


class RegistryPush(msgspec.Struct, frozen=True, kw_only=True):
    """`PUT /v1/registry`: all nodes of one region, and where the region itself is reached."""

    region: str
    region_url: str
    nats_url: str
    nodes: tuple[Registration, ...]
    revoked_logins: tuple[str, ...] = ()
    """Public NATS keys of banned nodes whose logins have not ended yet."""
    anchors_version: int = 0
    """Which version of the fleet's trust roots it has taken."""
    issuers: tuple[str, ...] = ()
    """Key ids of the authorities above its certificate, the root's last."""


class RegistryReply(msgspec.Struct, frozen=True, kw_only=True):
    """The region's NATS account as of now; empty where central holds no NATS operator keys.

    The region pushes it to its own server when it is another than before: so rights and
    revocations arrive even if the region was away when they changed.
    """

    account_jwt: str = ""
    anchors: bytes = b""
    """Central's trust roots, where the region has an older version."""


class RegionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A region as central last heard of it."""

    region: str
    region_url: str
    nats_url: str
    heard_unix_s: float
    anchors_version: int = 0
    """Which version of the fleet's trust roots it has taken."""
    issuers: tuple[str, ...] = ()
    """Key ids of the authorities above its certificate, the root's last."""


# --- changes (operator to central) ----------------------------------------------------


class StampRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/stamp`: sign what is published so that it lasts, for a stick; 60 s to 90 days."""

    life_s: Annotated[float, msgspec.Meta(ge=60.0, le=90 * 86_400.0)]


class StampReply(msgspec.Struct, frozen=True, kw_only=True):
    """Metadata by file name; it is handed out here only, never served."""

    metadata: dict[str, bytes]


class MetadataUpload(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/metadata`: what the offline roles signed, and the target files it names.

    `metadata` maps a file name (`3.models.json`, `2.root.json`) to its bytes; `targets`
    maps a target path (`prod/model/magika/14.json`) to its bytes.
    """

    metadata: dict[str, bytes] = {}
    targets: dict[str, bytes] = {}


class MetadataReply(msgspec.Struct, frozen=True, kw_only=True):
    """The version of each role that central now publishes."""

    versions: dict[str, int]


class SuccessorsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/keys/online`: make fresh keys for these online roles, for root to name."""

    roles: tuple[str, ...]


class SuccessorsReply(msgspec.Struct, frozen=True, kw_only=True):
    """The public halves (PEM) by role. Central signs with them from when they are named."""

    keys: dict[str, bytes]


class ApplyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/apply`: a resolved fleet, on top of the generation its author looked at."""

    fleet: Fleet
    expected_generation: int
    """The generation that `diff` was made against; 0 for the first."""
    policy_sha256: str
    """The digest of the policy target, already uploaded and signed."""
    reason: str = ""


class ApplyReply(msgspec.Struct, frozen=True, kw_only=True):
    """The generation that the change became, and how it will travel."""

    generation: int
    rings: tuple[tuple[str, ...], ...]
    ring_names: tuple[str, ...]


class AppliedReply(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/fleet`: the last applied fleet; generation 0 and no fleet before the first."""

    generation: int
    fleet: Fleet | None
    policy_sha256: str = ""
    applied_by: str = ""
    at_unix_s: float = 0.0


class RolloutStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/rollout`: the rollout under way, or the last one.

    `phase` is `none`, `running`, `paused`, `done`, `reverting`, `reverted` or `held`.
    """

    generation: int
    phase: str
    ring: int
    """The ring being changed, from 0; equal to the number of rings when all are."""
    ring_names: tuple[str, ...]
    rings: tuple[tuple[str, ...], ...]
    started_unix_s: float
    since_unix_s: float
    """When the present ring or phase began."""
    reason: str = ""
    previous_generation: int = 0


class RolloutRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/rollout/pause`, `/resume`, `/revert` and `/approve`: why; kept in the events."""

    reason: str = ""
    any_time: bool = False
    """With `approve`: waive the windows for the rest of this rollout."""


# --- looking (operator to central) ----------------------------------------------------


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One node: its last report, how old that is, and what it should have."""

    node: str
    site: str
    region: str
    state: State
    """The node's own word, or `stale` where the last report is too old, or `unknown`."""
    in_sync: bool
    age_s: float | None
    desired_generation: int
    banned: bool
    inference_url: str
    observed: Observed | None
    attestation: Stands = Stands()


class FleetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/status`: everything central knows of the fleet right now."""

    fleet: str
    domain: str
    generation: int
    at_unix_s: float
    nodes: tuple[NodeStatus, ...]
    regions: tuple[RegionStatus, ...]
    rollout: RolloutStatus | None
    records: int
    marker: str = ""
    alarms: tuple[Alarm, ...] = ()
    """What a person should look at soon, nearest first: what ends, and has not been renewed."""
    anchors_version: int = 0
    """Which version of the fleet's trust roots central has taken."""
    issuers: tuple[str, ...] = ()
    """Key ids of the authorities above central's certificate, the root's last."""


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event with its place in central's order; ask for those after `n`."""

    n: int
    key: str
    event: Event


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/events?after=N&site=S&kind=K&limit=L`: oldest first. `next` goes into `after`."""

    events: tuple[StoredEvent, ...]
    next: int


class SummaryPage(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/records/summary?from_unix_ms=A&to_unix_ms=B&after=N&limit=L`.

    Summaries that overlap the span, in the order central stored them; `next` goes into
    `after`, and `more` says whether to ask again.
    """

    summaries: tuple[Summary, ...]
    next: int
    more: bool


class DesiredReply(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/desired/<site>`: the last document sealed for a site."""

    desired: Desired | None


class DrillPage(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/drills`: graded drills, newest first."""

    drills: tuple[DrillRecord, ...]


class Nudge(msgspec.Struct, frozen=True, kw_only=True):
    """A core message on `cmd.<region>.<site>`: look now. It says when, never what."""

    generation: int
    role: str = "desired"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/health`: whether the process is ready, and the age of what it rests on."""

    ready: bool
    role: Literal["region", "central"]
    name: str
    central_reached_unix_s: float | None = None
    """When the region last got an answer from central; empty at central itself."""
    mirror_refreshed_unix_s: float | None = None
    nats_ready: bool = True
