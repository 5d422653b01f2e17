"""What is decided about a tier, beside its inputs: how it is paid for, and how long it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from skerry.plan.finance.cash_flow import MONTHS_PER_YEAR, Value
from skerry.schema.fleet import Tier


class Financing(StrEnum):
    """How machines are paid for."""

    BUY = "buy"
    LEASE = "lease"
    MANAGED = "managed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is decided about a tier, beside its inputs."""

    months: int
    financing: Financing = Financing.BUY
    refresh_months: int | None = None
    """Months that a machine is kept; None takes its life from the fleet file."""
    egress: str = "aws"
    itemise: bool = False
    second_life: bool = False
    """Machines are bought used, and kept for what is left of their life."""

    def kept_months(self, tier: Tier, inputs: Mapping[str, Value]) -> int:
        """Return how long each machine is kept."""
        life = self.refresh_months or round(tier.machine.life_years * MONTHS_PER_YEAR)
        if self.second_life:
            used = float(np.mean(inputs["second_life_age_years"])) * MONTHS_PER_YEAR
            life = round(life - used)
        return max(life, MONTHS_PER_YEAR)
