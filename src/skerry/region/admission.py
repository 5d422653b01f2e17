"""Joining and renewing, as the region decides them: certificate and NATS login, one end.

Needs nothing but the region's own folder, so it works while central is away.

Units:   unix seconds.
Errors:  those of `skerry.trust.enrol`; OtherRegionError, NatsKeyError.
"""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from skerry.base.clock import Clock
from skerry.region.errors import OtherRegionError
from skerry.region.roster import Roster
from skerry.region.settings import RegionSettings
from skerry.schema.api import IdentityReply, IdentityRequest, JoinTicket, TokenRequest
from skerry.schema.attestation import AttestationState
from skerry.schema.audit import AuditEvent, AuditKind, AuditOutcome
from skerry.schema.clients import SITE_LIFE_S
from skerry.spine.https_server import CallInvalidError
from skerry.spine.nats_jwt import ServerKit, check_user_public, issue_node
from skerry.trust.anchors import AnchorStore
from skerry.trust.attest.desk import Desk
from skerry.trust.authority import Authority
from skerry.trust.enrol import EnrolRequest, admit_join, admit_renewal, new_token
from skerry.trust.registry import Registry
from skerry.trust.spiffe import SpiffeId, node_id, region_id

TOKEN_LIFE_S_MAX = 7 * 86_400.0
URL_CHARS_MAX = 256


class Admission:
    """Admits nodes and issues for them. Blocking: call it in worker threads."""

    def __init__(
        self,
        settings: RegionSettings,
        *,
        authority: Callable[[], Authority],
        kit: Callable[[], ServerKit],
        registry: Registry,
        roster: Roster,
        anchors: AnchorStore,
        tuf_root: bytes,
        clock: Clock,
        region_url: str,
        nats_url: str,
        desk: Desk,
        note: Callable[[AuditEvent], object] = lambda _: None,
        site_life_s: Callable[[], float] = lambda: SITE_LIFE_S,
    ) -> None:
        self._settings, self._authority, self._kit = settings, authority, kit
        self._registry, self._roster, self._clock = registry, roster, clock
        self._anchors, self._tuf_root = anchors, tuf_root
        self._region_url, self._nats_url = region_url, nats_url
        self._desk, self._note = desk, note
        self._site_life_s = site_life_s
        self._host = region_id(settings.domain, settings.region).host

    def ticket(self, request: TokenRequest, by: str = "") -> JoinTicket:
        """Make a one-time ticket for a node of this region, on behalf of `by`."""
        if not 1.0 <= request.life_s <= TOKEN_LIFE_S_MAX:
            raise CallInvalidError(
                "a token", f"life_s is {request.life_s:g}, wanted 1 to {TOKEN_LIFE_S_MAX:g}"
            )
        domain, region = self._settings.domain, self._settings.region
        number = request.number
        if number is None:
            taken = self._roster.numbers(node_id(domain, region, request.site, 1).host)
            number = next(n for n in range(1, len(taken) + 2) if n not in taken)
        spiffe_id = node_id(domain, region, request.site, number)
        now_unix_s = self._clock.unix_s()
        self._note(
            AuditEvent(
                kind=AuditKind.KEY,
                outcome=AuditOutcome.DONE,
                actor=by,
                target=str(spiffe_id),
                text=f"a join token for {spiffe_id.node}, good for {request.life_s:g} s",
            )
        )
        token = new_token(self._registry, spiffe_id, now_unix_s=now_unix_s, life_s=request.life_s)
        if request.ek_sha256:
            self._desk.bind_token(token, request.ek_sha256)
        return JoinTicket(
            region_url=self._region_url,
            region_host=self._host,
            roots_sha256=hashlib.sha256(self._anchors.roots_pem).hexdigest(),
            token=token,
            spiffe_id=str(spiffe_id),
            ends_unix_s=now_unix_s + request.life_s,
        )

    def admit(self, request: IdentityRequest, *, joining: bool) -> tuple[IdentityReply, bool]:
        """Issue for a node that joins or renews; also say whether central should hear of it."""
        asked = SpiffeId.parse(request.spiffe_id)
        region = region_id(self._settings.domain, self._settings.region)
        if not asked.host.endswith(f".{region.host}"):
            raise OtherRegionError(str(asked), self._settings.region)
        check_user_public(request.nats_public_key)
        url = request.inference_url
        if len(url) > URL_CHARS_MAX or not (url == "" or url.startswith("https://")):
            raise CallInvalidError("an identity request", f"inference_url is {url[:80]!r}")
        names = EnrolRequest.__struct_fields__
        proof = EnrolRequest(**{name: getattr(request, name) for name in names})
        now_unix_s = self._clock.unix_s()
        decide = admit_join if joining else admit_renewal
        token = request.token if joining else ""
        self._desk.demand(request.spiffe_id, request.csr_pem, token)
        spiffe_id = decide(self._registry, proof, now_unix_s=now_unix_s)
        self._desk.admitted(request.spiffe_id, request.csr_pem, token)
        ends_unix_s = min(
            now_unix_s + self._settings.certificate_life_s, self._authority().ends_unix_s
        )
        self._note(
            AuditEvent(
                kind=AuditKind.JOIN if joining else AuditKind.RENEW,
                outcome=AuditOutcome.DONE,
                actor=str(spiffe_id),
                target=str(region),
                text=f"{spiffe_id.node} gets a certificate and a login",
                fields={"ends_unix_s": str(int(ends_unix_s)), "login": request.nats_public_key},
            )
        )
        # Noted first: a login that is out must be known, or it could not be revoked.
        changed = self._roster.admitted(
            spiffe_id,
            inference_url=url,
            login=request.nats_public_key,
            ends_unix_s=ends_unix_s,
            now_unix_s=now_unix_s,
        )
        chain_pem = self._authority().issue_leaf(
            request.csr_pem,
            spiffe_id,
            now_unix_s=now_unix_s,
            life_s=ends_unix_s - now_unix_s,
        )
        login = issue_node(
            self._kit(),
            site=spiffe_id.site,
            number=spiffe_id.number,
            public=request.nats_public_key,
            ends_unix_s=int(ends_unix_s),
            now_unix_s=int(now_unix_s),
        )
        reply = IdentityReply(
            node=spiffe_id.node,
            site=spiffe_id.site,
            region=spiffe_id.region,
            domain=spiffe_id.domain,
            spiffe_id=str(spiffe_id),
            chain_pem=chain_pem,
            roots_pem=self._anchors.roots_pem,
            anchors=self._anchors.chain_bytes,
            ends_unix_s=float(int(ends_unix_s)),
            nats_jwt=login,
            nats_url=self._nats_url,
            nats_host=self._host,
            site_authority_pem=(
                self._site_authority(spiffe_id, now_unix_s)
                if request.want_site_authority and self._is_sound(spiffe_id)
                else b""
            ),
            tuf_root=self._tuf_root if joining else b"",
        )
        return reply, changed

    def _is_sound(self, node: SpiffeId) -> bool:
        """Tell whether a node may hold what lets it issue: not while its machine is in doubt."""
        return self._desk.stands(str(node)).state is not AttestationState.QUARANTINE

    def _site_authority(self, node: SpiffeId, now_unix_s: float) -> bytes:
        """Make an authority for a node's site: each node's own, so that a ban shuts it out alone.

        Noted first: one that is out must be known, or it could not be shut out.
        """
        authority = self._authority().issue_site(
            node.site, now_unix_s=now_unix_s, life_s=self._site_life_s()
        )
        self._roster.gave_site_authority(
            node, authority.certificate_pem, authority.ends_unix_s, now_unix_s
        )
        with tempfile.TemporaryDirectory() as folder:  # private to this user, gone at once
            path = Path(folder) / "site.pem"
            authority.save(path)
            return path.read_bytes()
