"""The node's way to its witnesses: its checkpoints go to the region, which passes them on.

Errors:  CheckpointError where the region refuses one; OSError where it is away.
"""

import msgspec

from skerry.base.https import HttpReply, https_call
from skerry.node.identity import IdentityFiles
from skerry.node.settings import NodeSettings
from skerry.node.upstream import region_address
from skerry.schema.api import ErrorReply
from skerry.schema.audit_api import CheckpointPush, CheckpointReply
from skerry.trust.ledger_errors import CheckpointError

PATH = "/v1/audit/checkpoints"
OK = 200


class AuditLink:
    """Calls the region as this node. Reads the identity afresh at every call. Blocking."""

    def __init__(self, settings: NodeSettings, files: IdentityFiles) -> None:
        self._url, self._host, self._files = region_address(settings), settings.region_host, files

    def bring(self, push: CheckpointPush) -> CheckpointReply:
        """Bring a checkpoint of this node's ledger to the region."""
        body = msgspec.json.encode(push)
        tls = self._files.client_tls()
        reply = https_call("POST", self._url, PATH, tls=tls, name=self._host, body=body)
        if reply.status != OK:
            raise CheckpointError("the newest checkpoint", f"{self._url} answers {_said(reply)}")
        return msgspec.json.decode(reply.body, type=CheckpointReply)


def _said(reply: HttpReply) -> str:
    try:
        error = msgspec.json.decode(reply.body, type=ErrorReply).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"status {reply.status}"
    return f"{error.text} [{error.code}]"
