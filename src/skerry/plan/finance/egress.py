"""What a cloud asks for data that leave it: a price per GB that falls in steps.

Units:   GB as the provider bills it (1 TB in the steps is 1024 GB); USD a month.
Shapes:  any; one price for each amount.
Source:  `tables/egress.csv`, each step with its source and date; list prices of internet
         egress in the US. They move: check them before a quote.
Errors:  EgressError, for a provider that the table does not have.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import Exit
from skerry.plan.errors import PlanError

Series = NDArray[np.float64]


class EgressError(PlanError):
    """A provider whose price of data going out is in no table."""

    code = "E0911"
    exit_code = Exit.WRONG_USE

    def __init__(self, provider: str, known: tuple[str, ...]) -> None:
        super().__init__(provider, known)
        self.provider, self.known = provider, known

    def __str__(self) -> str:
        return f"no egress price is known for {self.provider[:40]!r}"

    @property
    def hint(self) -> str:
        """List the providers."""
        return f"known are {', '.join(self.known)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressStep:
    """The price of each GB between two amounts a month."""

    from_gb: float
    to_gb: float
    usd_per_gb: float
    source: str
    as_of: str


@cache
def egress_steps() -> dict[str, tuple[EgressStep, ...]]:
    """Return the steps of every provider, in order."""
    text = files("skerry.plan").joinpath("tables", "egress.csv").read_text("utf-8")
    found: dict[str, list[EgressStep]] = {}
    for cells in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        found.setdefault(cells["provider"], []).append(
            EgressStep(
                from_gb=float(cells["from_gb_month"]),
                to_gb=float(cells["to_gb_month"] or "inf"),
                usd_per_gb=float(cells["usd_per_gb"]),
                source=cells["source"],
                as_of=cells["as_of"],
            )
        )
    return {provider: tuple(steps) for provider, steps in found.items()}


def egress_usd(gb_per_month: float | Series, provider: str) -> Series:
    """Return what a month's data going out cost, step by step."""
    known = egress_steps()
    if provider not in known:
        raise EgressError(provider, tuple(known))
    amount = np.asarray(gb_per_month, dtype=np.float64)
    return np.asarray(
        sum(
            np.clip(amount - step.from_gb, 0, step.to_gb - step.from_gb) * step.usd_per_gb
            for step in known[provider]
        ),
        dtype=np.float64,
    )
