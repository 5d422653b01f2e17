"""Joining a fleet and staying in it: the node's half of enrolment.

A join ticket says where the region is, whom to trust there (a digest) and holds a
one-time token. After that the enrolment key alone renews certificate and NATS login.
Plain blocking calls; the agent makes them in a thread.
"""

import hashlib
import hmac
import http.client
import ssl
from typing import TypeVar

import msgspec

from skerry.base.clock import Clock
from skerry.base.https import https_call
from skerry.node.attester import Attester, Post
from skerry.node.errors import JoinRefusedError, RenewalError
from skerry.node.identity import IdentityFiles
from skerry.schema.api import ErrorReply, IdentityReply, IdentityRequest, JoinTicket, TrustReply
from skerry.schema.attestation import Verdict
from skerry.spine.nats_jwt import new_user_key
from skerry.trust.anchors import CHAIN_BYTES_MAX
from skerry.trust.attest.errors import TpmError
from skerry.trust.enrol import enrol_request, load_or_create_enrolment_key
from skerry.trust.identity import create_csr, key_to_pem, new_key
from skerry.trust.spiffe import SpiffeId
from skerry.trust.tls import client_context, unchecked_context

REPLY_BYTES_MAX = 2 * CHAIN_BYTES_MAX
Document = TypeVar("Document")


def join(
    files: IdentityFiles,
    ticket: JoinTicket,
    *,
    inference_url: str,
    clock: Clock,
    attester: Attester | None = None,
) -> None:
    """Enrol this machine with a ticket. Safe to repeat after a crash, with the same ticket.

    With an attester the machine shows first, by its TPM, what it is and what it booted.

    Raises `JoinRefusedError` where the region is not the one that the ticket names, or
    refuses; the state folder is then as it was.
    """
    try:
        trust = _call(
            ticket.region_url, "", unchecked_context(), "GET", "/v1/trust", None, TrustReply
        )
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        raise JoinRefusedError(ticket.region_url, f"it could not be asked: {error}") from error
    found = hashlib.sha256(trust.roots_pem).hexdigest()
    if not hmac.compare_digest(found, ticket.roots_sha256):
        raise JoinRefusedError(
            ticket.region_url,
            f"its root is {found[:12]}, the ticket wants {ticket.roots_sha256[:12]}",
        )
    try:
        _ask_identity(
            files,
            SpiffeId.parse(ticket.spiffe_id),
            url=ticket.region_url,
            host=ticket.region_host,
            roots_pem=trust.roots_pem,
            inference_url=inference_url,
            token=ticket.token,
            clock=clock,
            attester=attester,
        )
    except (OSError, http.client.HTTPException, msgspec.DecodeError, _RefusedError) as error:
        raise JoinRefusedError(ticket.region_url, str(error)) from error


def renew(
    files: IdentityFiles,
    *,
    url: str,
    host: str,
    inference_url: str,
    clock: Clock,
    name: SpiffeId | None = None,
    attester: Attester | None = None,
) -> None:
    """Fetch the next certificate and login from the region; raises `RenewalError`.

    A node whose identity is gone says by `name` who it is.
    """
    try:
        _ask_identity(
            files,
            name or files.load().id,
            url=url,
            host=host,
            roots_pem=files.roots.read_bytes(),
            inference_url=inference_url,
            token="",
            clock=clock,
            attester=attester,
        )
    except (OSError, http.client.HTTPException, msgspec.DecodeError, _RefusedError) as error:
        raise RenewalError(url, str(error) or type(error).__name__) from error


def report(attester: Attester, files: IdentityFiles, *, url: str, host: str) -> Verdict:
    """Show the region what this machine is now; raises `RenewalError`, `TpmError`."""
    try:
        tls = client_context(None, files.roots.read_bytes())
        return attester.show(str(files.load().id), _post(url, host, tls))
    except (OSError, http.client.HTTPException, msgspec.DecodeError, _RefusedError) as error:
        raise RenewalError(url, str(error) or type(error).__name__) from error


class _RefusedError(Exception):
    """The region answered, and said no."""


def _ask_identity(
    files: IdentityFiles,
    name: SpiffeId,
    *,
    url: str,
    host: str,
    roots_pem: bytes,
    inference_url: str,
    token: str,
    clock: Clock,
    attester: Attester | None,
) -> None:
    key, nats_key = new_key(), new_user_key()
    csr_pem, tls = create_csr(key, name), client_context(None, roots_pem)
    shown = "" if attester is None else _show(attester, name, url, host, tls, csr_pem, token)
    proof = enrol_request(
        load_or_create_enrolment_key(files.enrolment_key),
        name,
        csr_pem,
        now_unix_s=clock.unix_s(),
        token=token,
    )
    request = IdentityRequest(
        **msgspec.structs.asdict(proof),
        nats_public_key=nats_key.public,
        inference_url=inference_url,
        want_site_authority=files.wants_site_authority(now_unix_s=clock.unix_s()),
    )
    path = "/v1/join" if token else "/v1/renew"
    try:
        reply = _call(url, host, tls, "POST", path, request, IdentityReply)
    except _RefusedError as error:
        raise _RefusedError(f"{error}{shown}") from error
    files.keep(
        reply,
        key_pem=key_to_pem(key),
        nats_seed=nats_key.seed,
        now_unix_s=clock.unix_s(),
        joining=bool(token),
    )


def _show(
    attester: Attester,
    name: SpiffeId,
    url: str,
    host: str,
    tls: ssl.SSLContext,
    csr_pem: bytes,
    token: str,
) -> str:
    """Attest for a request; return what went wrong, to be told if the region then says no.

    Whether it must succeed is for the region to say: a fleet may not demand it.
    """
    try:
        verdict = attester.show(str(name), _post(url, host, tls), csr_pem=csr_pem, token=token)
    except (_RefusedError, TpmError) as error:
        return f"; before that: {error}"
    return "" if verdict.passed else f"; its verdict: {verdict.reasons[0]}, {verdict.details[0]}"


def _post(url: str, host: str, tls: ssl.SSLContext) -> Post:
    def post(path: str, body: object, kind: type[Document]) -> Document:
        return _call(url, host, tls, "POST", path, body, kind)

    return post


def _call(
    url: str,
    host: str,
    tls: ssl.SSLContext,
    method: str,
    path: str,
    body: object,
    kind: type[Document],
) -> Document:
    data = None if body is None else msgspec.json.encode(body)
    reply = https_call(
        method, url, path, tls=tls, name=host, body=data, reply_bytes_max=REPLY_BYTES_MAX
    )
    if reply.status >= 400:
        try:
            said = msgspec.json.decode(reply.body, type=ErrorReply).error
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise _RefusedError(f"status {reply.status}") from None
        raise _RefusedError(f"{said.text} ({said.code})")
    return msgspec.json.decode(reply.body, type=kind)
