"""What ends at a region: roots, its own chain and logins, and what its nodes hold."""

from skerry.region.roster import Roster
from skerry.region.settings import RegionSettings
from skerry.schema.expiry import Expiry
from skerry.spine.nats_jwt import ServerKit
from skerry.trust import expiries
from skerry.trust.authority import SITE_LIFE_S


def region_ends(
    settings: RegionSettings,
    kit: ServerKit,
    roster: Roster,
    *,
    roots_pem: bytes,
    chain_pem: bytes,
) -> list[Expiry]:
    """Return it, the nearest end first; a node's login ends with its certificate."""
    name = settings.region
    found = [
        *expiries.of_certificates(roots_pem),
        *expiries.of_certificates(chain_pem, renews_itself=True),
        expiries.of_login(kit.account_jwt, f"NATS account {name}"),
        expiries.of_login(kit.process.jwt, f"NATS login {name}"),
        expiries.of_login(kit.system.jwt, f"NATS system login {name}"),
    ]
    if kit.leaf is not None:
        found.append(expiries.of_login(kit.leaf.jwt, f"NATS leaf login {name}"))
    lives_s = {"certificate": settings.certificate_life_s, "authority": SITE_LIFE_S}
    found += [
        Expiry(
            kind=kind,
            name=who,
            ends_unix_s=ends_unix_s,
            life_s=lives_s[kind],
            renews_itself=True,
            text="for its site" if kind == "authority" else "",
        )
        for kind, who, ends_unix_s in roster.ends()
    ]
    return expiries.unique(found)
