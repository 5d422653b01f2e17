"""What a node in quarantine still answers: data that may go anywhere, and nothing else.

Which data that is comes from the signed residency policy on the node's own disk, so it holds
with the network cut. A class that the policy does not know, or no policy at all, is restricted.

Errors: QuarantinedError.
"""

from skerry.base.errors import Exit
from skerry.schema.policy import Policy, Stays
from skerry.schema.quarantine import Quarantine
from skerry.trust.errors import TrustError
from skerry.trust.residency import Refusal, data_class_of


class QuarantinedError(TrustError):
    """A node in quarantine was asked to answer for data that may not go anywhere.

    Its lid was opened, its boot was not recognised or its papers have a gap. It goes on answering
    for unrestricted data, reports, and takes updates; other nodes answer for the rest.
    """

    code = "E0285"
    exit_code = Exit.REFUSED
    reason = "QUARANTINED"
    http_status = 503
    """So that a router or a client tries another node."""

    def __init__(self, data_class: str, why: str) -> None:
        super().__init__(data_class, why)
        self.data_class, self.why = data_class, why

    def __str__(self) -> str:
        return f"this node is in quarantine and takes no {self.data_class} data: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "ask another node; docs/explanation/custody.md says how a quarantine ends"


def restricted_class(policy: Policy | None, model: str, asked: str | None) -> str:
    """Return the data class of a request that a node in quarantine refuses, else empty."""
    if policy is None:
        return asked or "unknown"
    data_class = data_class_of(policy, model, asked)
    if isinstance(data_class, Refusal):
        return asked or "unknown"
    rule = policy.data_classes.get(data_class)
    return "" if rule is not None and rule.stays is Stays.ANYWHERE else data_class


def check_quarantine(
    quarantine: Quarantine, policy: Policy | None, model: str, asked: str | None
) -> None:
    """Let a request pass, or raise `QuarantinedError`."""
    if quarantine.causes:
        data_class = restricted_class(policy, model, asked)
        if data_class:
            raise QuarantinedError(data_class, quarantine.reason)
