"""What `skerry plan site` was asked: a problem with the names and rules behind it.

Units:   USD a year for our JSON; OR-Library's files have no unit.
Errors:  SiteFileError; UsageError for a capacity that no file asks for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from skerry.base.errors import UsageError
from skerry.plan.assumptions import Assumptions
from skerry.plan.site.check import Checked, check_instance, check_problem
from skerry.plan.site.instance import Instance, Name, read_instance
from skerry.plan.site.orlib import read_cap, read_pmed
from skerry.plan.site.problem import Problem, Siting
from skerry.plan.site.rules import Ruled, ruled

FORMATS = ("json", "orlib-cap", "orlib-pmed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A problem, what its rows and columns are called, and where they come from."""

    path: str
    problem: Problem
    sites: tuple[Name, ...]
    demands: tuple[Name, ...]
    inputs: Assumptions
    instance: Instance | None = None
    rules: Ruled | None = None

    @property
    def unit(self) -> str:
        """Return the unit of costs, in words."""
        return "USD a year" if self.instance is not None else "units of cost"

    @property
    def months(self) -> int:
        """Return how many months of demand there are; 0 for one figure a year."""
        first = None if self.instance is None else self.instance.demands[0].demand_by_month
        return len(first or ())

    def site_text(self, site: int) -> str:
        """Return a site's id, with its city where the instance names one."""
        city = self.instance.candidates[site].city if self.instance is not None else ""
        return f"{self.sites[site]} {city}".strip()

    def check(self, siting: Siting) -> Checked:
        """Check a plan by code that shares nothing with the solvers."""
        opened = {int(site) for site in np.flatnonzero(siting.open)}
        serves: dict[int, list[tuple[int, float]]] = {}
        for demand, site in zip(*np.nonzero(siting.share.T), strict=True):
            part = float(siting.share[site, demand])
            serves.setdefault(int(demand), []).append((int(site), part))
        if self.instance is None:
            return check_problem(self.problem, opened, serves)
        split = self.problem.split
        return check_instance(self.instance, self.inputs, opened, serves, split=split)

    def in_months(self, months: Iterable[int]) -> "Case":
        """Return the same case with the demand of some months only."""
        assert self.instance is not None  # noqa: S101 - only instances have months
        kept = tuple(months)
        demands = tuple(
            msgspec.structs.replace(
                one, demand_by_month=tuple((one.demand_by_month or ())[month] for month in kept)
            )
            for one in self.instance.demands
        )
        instance = msgspec.structs.replace(self.instance, demands=demands)
        rules = ruled(instance, self.inputs, split=self.problem.split)
        return replace(self, instance=instance, rules=rules, problem=rules.problem)


def read_case(
    path: Path, kind: str, inputs: Assumptions, *, split: bool, capacity: float | None
) -> Case:
    """Read an instance in one of `FORMATS`."""
    if capacity is not None and kind != "orlib-cap":
        raise UsageError(f"--capacity means nothing with --format {kind}", "leave it out")
    if kind == "json":
        instance = read_instance(path)
        rules = ruled(instance, inputs, split=split)
        return Case(
            path=str(path),
            problem=rules.problem,
            sites=tuple(one.id for one in instance.candidates),
            demands=tuple(one.id for one in instance.demands),
            inputs=inputs,
            instance=instance,
            rules=rules,
        )
    if kind == "orlib-cap":
        problem = read_cap(path, capacity=capacity, split=split)
    else:
        problem = read_pmed(path, split=split)
    sites, demands = problem.shape
    return Case(
        path=str(path),
        problem=problem,
        sites=tuple(range(1, sites + 1)),
        demands=tuple(range(1, demands + 1)),
        inputs=inputs,
    )
