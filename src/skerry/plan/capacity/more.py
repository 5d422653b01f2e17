"""What is asked of capacity beyond the least number: failures, hours, an autoscaler."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from skerry.plan.assumptions import Assumptions
from skerry.plan.capacity.errors import CapacityError
from skerry.plan.capacity.headroom import Headroom, Loss, headroom
from skerry.plan.capacity.least import Simulator
from skerry.plan.capacity.scaling import Autoscaled, Profile, autoscale, profile
from skerry.plan.capacity.target import Target
from skerry.schema.plan_report import Bars, Section, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is asked beyond the least number of servers."""

    loss: Loss | None = None
    sites: int = 1
    """Places that the servers stand at, for the loss of one."""
    hourly: bool = False
    autoscaled: bool = False
    zone: str | None = None


NOTHING_MORE = Wishes()


@dataclass(frozen=True, slots=True, kw_only=True)
class More:
    """What was found beyond the least number of servers."""

    headroom: Headroom | None = None
    profile: Profile | None = None
    autoscaled: Autoscaled | None = None


def more_of(
    simulator: Simulator,
    targets: Sequence[Target],
    least: int,
    wishes: Wishes,
    inputs: Assumptions,
) -> More:
    """Answer the wishes; `targets` are those that `least` servers keep."""
    if not simulator.work.span_s and (wishes.hourly or wishes.autoscaled):
        raise CapacityError("all requests arrive at once: no time for servers to come and go")
    return More(
        headroom=(
            headroom(simulator, targets, least, wishes.loss, sites=wishes.sites, inputs=inputs)
            if wishes.loss is not None
            else None
        ),
        profile=(
            profile(simulator, targets, least, zone=wishes.zone, inputs=inputs)
            if wishes.hourly
            else None
        ),
        autoscaled=autoscale(simulator, targets, least, inputs) if wishes.autoscaled else None,
    )


def more_sections(more: More) -> Iterable[Section]:
    """Return a section for each wish."""
    if more.headroom is not None:
        found = more.headroom
        yield Section(
            title="Headroom for failures",
            text=found.reason,
            blocks=(
                Table(
                    title=f"When servers fail: {found.loss}",
                    heads=("servers", "away", "from s", "to s", "p99 s", "p99 s without headroom"),
                    rows=(
                        (
                            found.servers,
                            found.lost,
                            found.lost_at_s,
                            found.back_at_s,
                            found.sojourn_s_p99,
                            found.sojourn_s_p99_without,
                        ),
                    ),
                ),
            ),
        )
    if more.profile is not None:
        hours = more.profile.hours
        saved = more.profile.saved_ratio
        yield Section(
            title="A number for each hour",
            text=(
                f"{more.profile.server_hours:.1f} server-hours, against "
                f"{more.profile.server_hours_fixed:.1f} with a fixed number: {saved:.1%} saved. "
                "Every hour keeps every target."
            ),
            blocks=(
                Table(
                    title=f"Servers by the hour ({saved:.1%} of server-hours saved)",
                    heads=("hour", "servers", "requests", "erlang", "p99 s"),
                    rows=tuple(msgspec.structs.astuple(row) for row in hours),
                ),
                Bars(
                    title="Servers by the hour",
                    unit="servers",
                    rows=tuple((row.hour, float(row.servers)) for row in hours),
                ),
            ),
        )
    if more.autoscaled is not None:
        auto = more.autoscaled
        yield Section(
            title="An autoscaler instead",
            text=auto.reason,
            blocks=(
                Table(
                    title=f"An autoscaler whose servers start in {auto.startup_s:g} s",
                    heads=(
                        "aims at use",
                        "servers mean",
                        "most",
                        "changes",
                        "saved %",
                        "p99 s",
                    ),
                    rows=(
                        (
                            auto.used_ratio,
                            auto.servers_mean,
                            auto.servers_most,
                            auto.changes,
                            None if auto.saved_ratio is None else 100 * auto.saved_ratio,
                            auto.sojourn_s_p99,
                        ),
                    ),
                    note=auto.reason,
                ),
            ),
        )
