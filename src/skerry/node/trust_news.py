"""What a node asks its region about trust: new roots, and whom the region has shut out.

Roots come from whoever answers, for the signed chain proves itself, also to a node that was away
while its region got another root. Whom to refuse comes from the region itself, over mutual TLS.

Blocking. Errors: RenewalError, AnchorsRefused; the node then goes on with what it has.
"""

import http.client

import msgspec

from skerry.base.https import HttpReply, https_call
from skerry.node.errors import RenewalError
from skerry.node.identity import IdentityFiles
from skerry.schema.api import Refused, TrustReply
from skerry.trust.anchors import CHAIN_BYTES_MAX
from skerry.trust.tls import unchecked_context

NOT_FOUND = 404


def take_roots(files: IdentityFiles, *, url: str) -> bool:
    """Take newer roots where there are any; say whether anything changed."""
    try:
        reply = https_call(
            "GET",
            url,
            "/v1/trust",
            tls=unchecked_context(),
            name="",
            reply_bytes_max=2 * CHAIN_BYTES_MAX,
        )
        offered = msgspec.json.decode(_whole(reply, url), type=TrustReply)
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        raise RenewalError(url, str(error) or type(error).__name__) from error
    return files.anchors.take(offered.anchors, files.load().id.domain)


def take_refused(files: IdentityFiles, *, url: str, host: str) -> bool:
    """Take the region's list of whom to refuse; say whether it changed."""
    try:
        reply = https_call("GET", url, "/v1/refused", tls=files.client_tls(), name=host)
        if reply.status == NOT_FOUND:  # a region one version older, which bans by itself only
            return False
        refused = msgspec.json.decode(_whole(reply, url), type=Refused)
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        raise RenewalError(url, str(error) or type(error).__name__) from error
    if refused == files.refused():
        return False
    files.keep_refused(refused)
    return True


def _whole(reply: HttpReply, url: str) -> bytes:
    if reply.status >= 400:
        raise RenewalError(url, f"status {reply.status}")
    return reply.body
