"""How a node's worker opens its inference doors, as its fleet's policy says.

Under `token` and `certificate` they speak TLS with the node's own identity, so a client checks
the node's name against the fleet's roots. The worker's Unix socket and the peers' door are not
meant by the policy: one is this user's alone, the other has rules of its own.

Errors:  KeyFileError and NotJoinedError, where the policy wants TLS and there is no identity.
"""

from skerry.node.identity import IdentityFiles
from skerry.schema.clients import ClientPolicy, Who
from skerry.serve.client_gate import Clients, TokenGate
from skerry.trust.tls import LiveServerContext


class ClientDoors:
    """The terms in force, and the TLS contexts that they need."""

    def __init__(self, files: IdentityFiles) -> None:
        self._files = files
        self._live: list[LiveServerContext] = []
        self.policy = ClientPolicy()

    def terms(self, policy: ClientPolicy) -> Clients:
        """Return how to open the doors under a policy."""
        live: list[LiveServerContext] = []
        if policy.who in (Who.TOKEN, Who.CERTIFICATE):
            live = [self._context(policy, protocol) for protocol in ("http/1.1", "h2")]
        self._live, self.policy = live, policy
        return Clients(
            http_tls=live[0].context if live else None,
            grpc_tls=live[1].context if live else None,
            gate=TokenGate(policy.tokens) if policy.who is Who.TOKEN else None,
            loopback_only=policy.who is Who.LOOPBACK,
        )

    def renew(self) -> None:
        """Show the identity that now lies on the disk."""
        for one in self._live:
            one.renew(self._files.load(), self._roots(self.policy))

    def _context(self, policy: ClientPolicy, protocol: str) -> LiveServerContext:
        return LiveServerContext(
            self._files.load(),
            self._roots(policy),
            require_client=policy.who is Who.CERTIFICATE,
            protocol=protocol,
        )

    def _roots(self, policy: ClientPolicy) -> bytes:
        return policy.roots_pem.encode() or self._files.trusted_pem()
