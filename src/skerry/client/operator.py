"""What an operator can ask of central and of regions: the HTTP API as typed calls.

Blocking, over mutual TLS with the operator's own identity. Every refusal arrives as an
`OperatorError` with the server's text, hint and exit code.
"""

import http.client
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from skerry.base.errors import Exit, SkerryError
from skerry.base.https import https_call
from skerry.schema import api
from skerry.schema.custody import CustodyChain, CustodyMachines, SignedEntry
from skerry.schema.drill import DrillRecord
from skerry.schema.expiry import ExpiriesReply, Expiry
from skerry.schema.fleet import Fleet
from skerry.schema.records import Summary
from skerry.spine.blobs import BlobStore
from skerry.spine.fetch import fetch_blob
from skerry.trust.identity import Identity
from skerry.trust.tls import client_context

CALL_S_MAX = 10.0
UPLOAD_S_MAX = 600.0
NOT_FOUND = 404
PAGES_MAX = 10_000
Document = TypeVar("Document")


class OperatorError(SkerryError):
    """Central or a region refused a call; the message repeats its reason."""

    code = "E1310"
    exit_code = Exit.REFUSED

    def __init__(self, path: str, refusal: api.ApiError, status: int = 0) -> None:
        super().__init__(path, refusal, status)
        self.path, self.refusal, self.status = path, refusal, status
        known = {int(item) for item in Exit}
        if refusal.exit_code in known:
            self.exit_code = Exit(refusal.exit_code)

    def __str__(self) -> str:
        return f"{self.refusal.text} ({self.refusal.code}, {self.path})"

    @property
    def hint(self) -> str:
        """Repeat what the server advises."""
        return self.refusal.hint


class OperatorUnreachableError(SkerryError):
    """Central or a region did not answer. Sites go on serving without either."""

    code = "E1311"
    exit_code = Exit.UNREACHABLE

    def __init__(self, url: str, why: str) -> None:
        super().__init__(url, why)
        self.url, self.why = url, why

    def __str__(self) -> str:
        return f"{self.url} did not answer: {self.why}"

    @property
    def hint(self) -> str:
        """Say where to look."""
        return "is it running? A local fleet is started with: skerry up"


class Operator:
    """One process (central or a region) as its operator sees it."""

    def __init__(self, url: str, host: str, tls: ssl.SSLContext, *, token: str = "") -> None:
        self._url, self._host, self._tls = url, host, tls
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    @classmethod
    def with_identity(
        cls, url: str, host: str, identity: Path | None, roots: Path, *, token: str = ""
    ) -> Self:
        """Make a caller from an identity file, a token or both, and the fleet's roots."""
        own = Identity.load(identity) if identity is not None else None
        return cls(url, host, client_context(own, roots.read_bytes()), token=token)

    def ask(
        self,
        method: str,
        path: str,
        kind: type[Document],
        body: object = None,
        *,
        timeout_s: float = CALL_S_MAX,
    ) -> Document:
        """Make a call that has no method of its own here, and return its reply."""
        reply = self._call(method, path, _encoded(body), timeout_s=timeout_s)
        return self._decode(path, reply, kind)

    def tell(self, method: str, path: str, body: object = None) -> None:
        """Make a call that answers nothing."""
        self._call(method, path, _encoded(body))

    # --- looking ------------------------------------------------------------------

    def status(self) -> api.FleetStatus:
        """Return everything central knows of the fleet right now."""
        return self._get("/v1/status", api.FleetStatus)

    def expiries(self) -> list[Expiry]:
        """Return what ends, as this process knows it."""
        return list(self._get("/v1/expiries", ExpiriesReply).expiries)

    def applied(self) -> api.AppliedReply:
        """Return the last applied fleet."""
        return self._get("/v1/fleet", api.AppliedReply)

    def rollout(self) -> api.RolloutStatus:
        """Return the rollout under way, or the last one."""
        return self._get("/v1/rollout", api.RolloutStatus)

    def events(self, *, after: int = 0, site: str = "", kind: str = "") -> list[api.StoredEvent]:
        """Return events after a place in central's order, oldest first."""
        found: list[api.StoredEvent] = []
        for _ in range(PAGES_MAX):
            query = {"after": after, "site": site, "kind": kind, "limit": 1000}
            page = self._get(f"/v1/events?{urlencode(query)}", api.EventPage)
            found += page.events
            if not page.events or page.next == after:
                break
            after = page.next
        return found

    def summaries(self, from_unix_s: float, to_unix_s: float) -> list[Summary]:
        """Return the summaries that overlap a span."""
        found: list[Summary] = []
        after = 0
        for _ in range(PAGES_MAX):
            query = {
                "from_unix_ms": int(from_unix_s * 1000),
                "to_unix_ms": int(to_unix_s * 1000),
                "after": after,
            }
            page = self._get(f"/v1/records/summary?{urlencode(query)}", api.SummaryPage)
            found += page.summaries
            after = page.next
            if not page.more:
                break
        return found

    # --- changing -----------------------------------------------------------------

    def role_metadata(self, role: str) -> bytes:
        """Return a TUF role's published metadata: what an offline key extends and signs."""
        return self._call("GET", f"/tuf/metadata/{quote(role)}.json", None)

    def target(self, path: str, sha256: str) -> bytes:
        """Return a published target by its path and digest."""
        folder, _, name = path.rpartition("/")
        return self._call("GET", f"/tuf/targets/{quote(folder)}/{sha256}.{quote(name)}", None)

    def repository_file(self, place: str) -> bytes:
        """Return `metadata/…` or `targets/…`; raises `FileNotFoundError` where it is not there."""
        try:
            return self._call("GET", f"/tuf/{quote(place)}", None)
        except OperatorError as error:
            if error.status == NOT_FOUND:
                raise FileNotFoundError(place) from error
            raise

    def fetch_blob(self, sha256: str, length: int, into: BlobStore) -> Path:
        """Fetch a blob, going on where an earlier try broke off."""
        return fetch_blob(
            f"{self._url}/blob/{sha256}",
            ssl_context=self._tls,
            server_hostname=self._host,
            sha256=sha256,
            length=length,
            into=into,
        )

    def stamp(self, life_s: float) -> api.StampReply:
        """Have the online roles signed for a longer time, for a bundle."""
        return self._post("/v1/stamp", api.StampRequest(life_s=life_s), api.StampReply)

    def put_blob(self, sha256: str, data: bytes) -> None:
        """Upload a blob; central refuses bytes that do not hash to their name."""
        self._call("PUT", f"/blob/{sha256}", data, timeout_s=UPLOAD_S_MAX)

    def put_metadata(self, upload: api.MetadataUpload) -> api.MetadataReply:
        """Hand over what the offline roles signed."""
        return self._post("/v1/metadata", upload, api.MetadataReply)

    def make_successors(self, roles: Sequence[str]) -> dict[str, bytes]:
        """Have central make fresh keys for its online roles; returns their public halves."""
        request = api.SuccessorsRequest(roles=tuple(roles))
        return self._post("/v1/keys/online", request, api.SuccessorsReply).keys

    def apply(
        self, fleet: Fleet, *, expected_generation: int, policy_sha256: str, reason: str
    ) -> api.ApplyReply:
        """Ask for a fleet on top of the generation that its author looked at."""
        request = api.ApplyRequest(
            fleet=fleet,
            expected_generation=expected_generation,
            policy_sha256=policy_sha256,
            reason=reason,
        )
        return self._post("/v1/apply", request, api.ApplyReply)

    def steer_rollout(self, verb: str, reason: str, *, any_time: bool = False) -> api.RolloutStatus:
        """Pause, resume, approve or revert the rollout under way."""
        request = api.RolloutRequest(reason=reason, any_time=any_time)
        return self._post(f"/v1/rollout/{quote(verb)}", request, api.RolloutStatus)

    def ticket(
        self, site: str, number: int, *, life_s: float = 900.0, ek_sha256: str = ""
    ) -> api.JoinTicket:
        """Ask a region for a join ticket; with an EK only that machine may use it."""
        request = api.TokenRequest(
            site=site, number=number, life_s=life_s, ek_sha256=ek_sha256.lower()
        )
        return self._post("/v1/tokens", request, api.JoinTicket)

    def custody_machines(self) -> list[str]:
        """Return every machine that has papers at central."""
        return list(self._get("/v1/custody", CustodyMachines).machines)

    def custody(self, machine: str) -> list[SignedEntry]:
        """Return a machine's chain of custody."""
        return list(self._get(f"/v1/custody/{quote(machine)}", CustodyChain).entries)

    def add_custody(self, machine: str, signed: SignedEntry) -> None:
        """Keep an entry on top of a machine's chain."""
        self._call("POST", f"/v1/custody/{quote(machine)}", msgspec.json.encode(signed))

    def put_drill(self, drill: DrillRecord) -> None:
        """Keep a graded drill at central."""
        self._call("POST", "/v1/drills", msgspec.json.encode(drill))

    # --- whom to trust ------------------------------------------------------------

    def anchors(self) -> bytes:
        """Return the signed chain of whom the fleet trusts."""
        return self._get("/v1/anchors", api.AnchorsDocument).anchors

    def put_anchors(self, chain: bytes) -> None:
        """Hand central a longer chain."""
        self._post("/v1/anchors", api.AnchorsDocument(anchors=chain), api.AnchorsDocument)

    def ask_authority(self, *, new_key: bool) -> api.AuthorityRequest:
        """Ask a process for a request for its authority's next certificate."""
        ask = api.AuthorityAsk(new_key=new_key)
        return self._post("/v1/authority/request", ask, api.AuthorityRequest)

    def grant_authority(self, grant: api.AuthorityGrant) -> api.AuthorityStanding:
        """Give a process its authority's next certificate."""
        return self._post("/v1/authority", grant, api.AuthorityStanding)

    def ban(
        self, node: str, *, banned: bool, reason: str, forget: bool = False
    ) -> api.Registration:
        """Have a region cut a node off, or take it back; `forget` takes it off the roster too."""
        request = api.BanRequest(node=node, banned=banned, reason=reason, forget=forget)
        return self._post("/v1/bans", request, api.Registration)

    # --- the wire -----------------------------------------------------------------

    def _get(self, path: str, kind: type[Document]) -> Document:
        return self._decode(path, self._call("GET", path, None), kind)

    def _post(self, path: str, body: object, kind: type[Document]) -> Document:
        return self._decode(path, self._call("POST", path, msgspec.json.encode(body)), kind)

    def _decode(self, path: str, body: bytes, kind: type[Document]) -> Document:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise OperatorUnreachableError(self._url, f"unreadable reply on {path}") from error

    def _call(
        self, method: str, path: str, body: bytes | None, *, timeout_s: float = CALL_S_MAX
    ) -> bytes:
        try:
            reply = https_call(
                method,
                self._url,
                path,
                tls=self._tls,
                name=self._host,
                body=body,
                headers=self._headers,
                timeout_s=timeout_s,
            )
        except (OSError, http.client.HTTPException) as error:
            raise OperatorUnreachableError(self._url, str(error) or repr(error)) from error
        if reply.status >= 400:
            try:
                refusal = msgspec.json.decode(reply.body, type=api.ErrorReply).error
            except msgspec.DecodeError:
                refusal = api.ApiError(
                    code="E1310",
                    kind="HttpError",
                    text=f"status {reply.status}",
                    hint="",
                    exit_code=int(Exit.BAD_OUTCOME),
                )
            raise OperatorError(path, refusal, reply.status)
        return reply.body


def _encoded(body: object) -> bytes | None:
    return None if body is None else msgspec.json.encode(body)
