"""What ends at central: signed roles, roots, its own chain and logins."""

from collections.abc import Callable

from skerry.schema.expiry import Expiry
from skerry.spine.nats_jwt import ServerKit
from skerry.trust import expiries


def central_ends(
    kit: ServerKit, role_bytes: Callable[[str], bytes], *, roots_pem: bytes, chain_pem: bytes
) -> list[Expiry]:
    """Return it, the nearest end first."""
    return expiries.unique(
        [
            *expiries.of_roles(role_bytes),
            *expiries.of_certificates(roots_pem),
            *expiries.of_certificates(chain_pem, renews_itself=True),
            expiries.of_login(kit.operator_jwt, "NATS operator"),
            expiries.of_login(kit.account_jwt, "NATS account central"),
            expiries.of_login(kit.process.jwt, "NATS login central"),
            expiries.of_login(kit.system.jwt, "NATS system login central"),
        ]
    )
