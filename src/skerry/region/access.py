"""Who may do what at a region: the policy from the mirror, verified here, and the gate it rules.

The mirror itself verifies nothing; this process does for its own part what every node does.

Errors:  none from `take_policy`: on any fault the policy before stays in force.
"""

import logging
from pathlib import Path

import msgspec

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.region.settings import RegionFolder
from skerry.schema.audit import Note
from skerry.schema.clients import SITE_LIFE_S
from skerry.schema.desired import Desired, desired_target
from skerry.schema.policy import Policy, policy_target
from skerry.spine.access_api import AccessApi
from skerry.trust.access_channel import AccessChannel, fetch_from
from skerry.trust.access_gate import Gate
from skerry.trust.access_store import AccessStore
from skerry.trust.update_client import UpdateClient

log = logging.getLogger(__name__)


class RegionAccess:
    """The gate of one region process, with what it rests on."""

    def __init__(
        self, place: RegionFolder, fleet: str, mirror: Path, *, note: Note, clock: Clock
    ) -> None:
        self._fleet = fleet
        self._store = AccessStore(place.access)
        self.gate = Gate(fleet, self._store, note=note, clock=clock)
        self._channel = AccessChannel(place.access_policy, fleet)
        self._adopt()
        self.verified = UpdateClient(
            place.verified, place.tuf_root.read_bytes(), fetch_from(mirror), clock
        )
        self._looked = False
        self.api = AccessApi(
            self.gate,
            self._store,
            clock=clock,
            policy=self._residency,
            tokens=False,
            audit=place.audit,
        )

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def take_policy(self, *, changed: bool) -> bool:
        """Take the policy from the mirror where it changed, or was not looked at yet. Blocking.

        Says whether `verified` was brought up to date.
        """
        if not changed and self._looked:
            return False
        try:
            self.verified.refresh()
            if self._channel.accept(self.verified):
                self._adopt()
            self._looked = True
        except SkerryError as error:
            log.error("access policy: %s", error)
            return False
        return True

    def site_life_s(self, region: str) -> float:
        """Return how long authorities of sites live, as this region's own document says."""
        try:
            data = self.verified.target_bytes(desired_target(region))
            return msgspec.json.decode(data, type=Desired).site_life_s
        except (SkerryError, msgspec.DecodeError):  # nothing was applied yet
            return SITE_LIFE_S

    def _adopt(self) -> None:
        if self._channel.document is not None:
            self.gate.adopt(self._channel.document)

    def _residency(self) -> Policy | None:
        """Return the residency policy, verified; None where there is none."""
        try:
            data = self.verified.target_bytes(policy_target(self._fleet))
            return msgspec.json.decode(data, type=Policy)
        except (SkerryError, msgspec.DecodeError):
            return None
