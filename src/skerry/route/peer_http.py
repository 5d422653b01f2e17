"""Peers over HTTP: the router's `call_peer` and `probe_peer`, in the words of the OIP.

Requests travel with the binary tensor extension and skerry's facts as headers. The
node behind an https address must show a certificate with its own site's name.

Errors:  PeerUnreachableError, PeerAnsweredError, PeerBrokenError, TimeoutError.
"""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from skerry.base.errors import UsageError
from skerry.base.http_client import Address, Answer, HttpClient
from skerry.base.http_errors import PeerBrokenError
from skerry.route.errors import PeerAnsweredError
from skerry.route.health import PROBE_S_MAX
from skerry.schema.desired import Peer
from skerry.schema.oip import HEADER_SERVED_BY, InferReply, InferRequest
from skerry.schema.oip_errors import OipError
from skerry.schema.oip_facts import parse_served_by, write_facts
from skerry.schema.oip_http import (
    HEADER_JSON_LENGTH,
    decode_reply,
    encode_request,
    parse_json_length,
)

ERROR_CHARS_MAX: Final = 400
READY_PATH: Final = "/v2/health/ready"


def address_of(url: str, server_name: str = "") -> Address:
    """Read `http(s)://host[:port]`; raises `UsageError` for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise UsageError(f"{url!r} is not an inference address", "write http(s)://host:port")
    tls = parts.scheme == "https"
    return Address(parts.hostname, port or (443 if tls else 80), tls, server_name)


class HttpPeers:
    """Calls peers by their URL, or by `dial` (node to host:port) where one is given.

    `server_name` gives the name that a peer's certificate must carry.
    """

    def __init__(
        self,
        client: HttpClient,
        *,
        server_name: Callable[[Peer], str] = lambda peer: "",
        dial: Mapping[str, str] | None = None,
    ) -> None:
        self._client, self._server_name = client, server_name
        self._dial = dict(dial or {})
        self._addresses: dict[tuple[str, str], Address] = {}

    async def call(self, peer: Peer, request: InferRequest, deadline_s: float) -> InferReply:
        """Send one inference request; see `route.router.CallPeer`."""
        json_length, body = encode_request(request)
        headers = [("content-type", "application/octet-stream")]
        if json_length is not None:
            headers.append((HEADER_JSON_LENGTH, str(json_length)))
        headers += write_facts(request, deadline_s).items()
        version = f"/versions/{quote(request.version, safe='')}" if request.version else ""
        answer = await self._client.call(
            self._address(peer),
            "POST",
            f"/v2/models/{quote(request.model, safe='')}{version}/infer",
            headers=headers,
            body=body,
            deadline_s=deadline_s,
        )
        if answer.status != 200:
            raise _error_of(peer.url, answer)
        try:
            reply = decode_reply(
                answer.body, parse_json_length(answer.headers.get(HEADER_JSON_LENGTH))
            )
            served = answer.headers.get(HEADER_SERVED_BY)
            reply.served_by = parse_served_by(served) if served else None
        except OipError as error:
            raise PeerBrokenError(peer.url, str(error)) from error
        return reply

    async def probe(self, peer: Peer) -> None:
        """Ask whether a peer is ready."""
        answer = await self._client.call(
            self._address(peer), "GET", READY_PATH, deadline_s=PROBE_S_MAX
        )
        if answer.status != 200:
            raise _error_of(peer.url, answer)

    def _address(self, peer: Peer) -> Address:
        key = (peer.node, peer.url)
        address = self._addresses.get(key)
        if address is None:
            address = address_of(peer.url, self._server_name(peer))
            if peer.node in self._dial:
                host, _, port = self._dial[peer.node].rpartition(":")
                name = address.server_name or address.host
                address = Address(host.strip("[]"), int(port), address.tls, name)
            self._addresses[key] = address
        return address


class _ErrorBody(msgspec.Struct):
    error: str


def _error_of(url: str, answer: Answer) -> PeerAnsweredError:
    try:
        text = msgspec.json.decode(answer.body, type=_ErrorBody).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = bytes(answer.body[:ERROR_CHARS_MAX]).decode("utf-8", "replace")
    after = answer.headers.get("retry-after", "")
    after_s = float(after) if after.isascii() and after.isdigit() and len(after) < 6 else None
    return PeerAnsweredError(url, answer.status, text[:ERROR_CHARS_MAX], after_s)
