"""`skerry plan cooling`: air, containment or liquid, by load and by weather."""

from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.numbers import Finite
from skerry.cli.plan_show import assumption_options, plan_options, show, write_option

BUILT = ("air", "containment", "chip")


@click.command("cooling")
@click.option("--it-kw", type=Finite(above=True), required=True, help="Mean load of machines.")
@click.option("--rated-kw", type=Finite(above=True), help="[default: --it-kw]")
@click.option(
    "--weather",
    "weather_path",
    type=click.Path(path_type=Path),
    help="hour_utc, air_c; a column it_kw replaces the constant load.",
)
@click.option("--mean-c", type=Finite(-60, 50), help="Made-up air: its mean.")
@click.option("--day-swing-c", type=Finite(0, 25), default=5.0, show_default=True)
@click.option("--year-swing-c", type=Finite(-30, 30), default=9.0, show_default=True)
@click.option("--feed-kw", type=Finite(above=True), help="What the feed can give.")
@click.option("--built", type=click.Choice(BUILT), help="It stands already: its plant is free.")
@click.option("--tier", help="With --write: the tier of the fleet file that gets the PUE.")
@write_option
@assumption_options
@plan_options
def command(
    it_kw: float,
    rated_kw: float | None,
    weather_path: Path | None,
    mean_c: float | None,
    day_swing_c: float,
    year_swing_c: float,
    feed_kw: float | None,
    built: str | None,
    tier: str | None,
    fleet_path: Path,
    write: bool,
    settings: tuple[str, ...],
    assume_path: Path | None,
    as_json: bool,
    page_path: Path | None,
) -> None:
    """Compare ways of cooling a site: PUE by load and weather, cost, room in the feed."""
    from skerry.plan.assumptions import assumptions
    from skerry.plan.energy.cooling import made_up_hours, read_hours
    from skerry.plan.energy.cooling_report import cooling_report

    if (weather_path is None) == (mean_c is None):
        raise UsageError("give --weather, or --mean-c for made-up air")
    if write and not tier:
        raise UsageError("--write needs --tier")
    if write:
        from skerry.fleet.load import load_fleet

        tiers = load_fleet(fleet_path).tiers
        if tier not in tiers:
            raise UsageError(f"no tier is called {tier!r}", f"tiers: {', '.join(tiers)}")
    hours = (
        read_hours(weather_path, it_kw=it_kw)
        if weather_path is not None
        else made_up_hours(
            mean_c=mean_c or 0.0, day_swing_c=day_swing_c, year_swing_c=year_swing_c, it_kw=it_kw
        )
    )
    report = cooling_report(
        hours,
        assumptions("cooling", path=assume_path, settings=settings),
        rated_kw=rated_kw or max(it_kw, float(hours.it_kw.max())),
        feed_kw=feed_kw,
        tier=tier,
        built=built,
    )
    show(report, as_json=as_json, page_path=page_path, write_path=fleet_path if write else None)
