"""Central as a region calls it: small files, the registry, blobs.

Plain blocking calls, made in worker threads. The certificate is asked for at every call,
so that a renewed one is shown.

Errors:  CentralAwayError; FileNotFoundError where central has no such file.
"""

import http.client
import ssl
from collections.abc import Callable

import msgspec

from skerry.base.https import https_call
from skerry.region.errors import CentralAwayError
from skerry.schema.api import AnchorsDocument, ErrorReply, RegistryPush, RegistryReply
from skerry.schema.audit_api import CheckpointPush, CheckpointReply
from skerry.schema.custody import CustodyChain
from skerry.spine.blobs import BlobStore
from skerry.spine.fetch import fetch_blob
from skerry.trust.anchors import CHAIN_BYTES_MAX
from skerry.trust.tls import unchecked_context

FILE_BYTES_MAX = 5_000_000
NOT_FOUND = 404


class Upstream:
    """Central's API."""

    def __init__(self, url: str, host: str, tls: Callable[[], ssl.SSLContext]) -> None:
        self._url, self._host, self._tls = url.rstrip("/"), host, tls

    def file(self, path: str) -> bytes:
        """Fetch `metadata/<file>` or `targets/<file>`."""
        return self._call("GET", f"/tuf/{path}", None)

    def push(self, push: RegistryPush) -> RegistryReply:
        """Tell central every node of this region."""
        answer = self._call("PUT", "/v1/registry", msgspec.json.encode(push))
        return msgspec.json.decode(answer, type=RegistryReply)

    def checkpoint(self, push: CheckpointPush) -> CheckpointReply:
        """Bring a checkpoint of this region's ledger to central."""
        answer = self._call("POST", "/v1/audit/checkpoints", msgspec.json.encode(push))
        return msgspec.json.decode(answer, type=CheckpointReply)

    def papers(self, site: str, number: int) -> CustodyChain:
        """Return the custody entries that name a node."""
        try:
            answer = self._call("GET", f"/v1/papers/{site}/{number}", None)
            return msgspec.json.decode(answer, type=CustodyChain)
        except (FileNotFoundError, msgspec.DecodeError) as error:  # a central of another version
            raise CentralAwayError("GET /v1/papers", str(error)) from error

    def blob(self, sha256: str, length: int, into: BlobStore) -> None:
        """Fetch a blob, going on where an earlier try broke off. Raises `BlobFetchError`."""
        fetch_blob(
            f"{self._url}/blob/{sha256}",
            ssl_context=self._tls(),
            server_hostname=self._host,
            sha256=sha256,
            length=length,
            into=into,
        )

    def anchors(self) -> bytes:
        """Return what central trusts, from whoever answers there: the chain proves itself."""
        path = "/v1/anchors"
        try:
            reply = https_call(
                "GET",
                self._url,
                path,
                tls=unchecked_context(),
                name="",
                reply_bytes_max=2 * CHAIN_BYTES_MAX,
            )
        except (OSError, http.client.HTTPException) as error:
            raise CentralAwayError(f"GET {path}", str(error) or type(error).__name__) from error
        return msgspec.json.decode(reply.body, type=AnchorsDocument).anchors

    def _call(self, method: str, path: str, body: bytes | None) -> bytes:
        call = f"{method} {path}"
        try:
            reply = https_call(
                method,
                self._url,
                path,
                tls=self._tls(),
                name=self._host,
                body=body,
                reply_bytes_max=FILE_BYTES_MAX + 1,
            )
        except (OSError, http.client.HTTPException) as error:
            raise CentralAwayError(call, str(error) or type(error).__name__) from error
        if reply.status == NOT_FOUND:
            raise FileNotFoundError(path)
        if reply.status >= 400:
            raise CentralAwayError(call, _said(reply.status, reply.body))
        if len(reply.body) > FILE_BYTES_MAX:
            raise CentralAwayError(call, f"the reply is over {FILE_BYTES_MAX} bytes")
        return reply.body


def _said(status: int, body: bytes) -> str:
    try:
        error = msgspec.json.decode(body, type=ErrorReply).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"status {status}"
    return f"{error.text} [{error.code}]"
