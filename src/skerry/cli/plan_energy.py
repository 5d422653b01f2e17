"""`skerry plan energy`: solar power, a battery and a load."""

from datetime import UTC, datetime
from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.numbers import Finite, Share
from skerry.cli.plan_show import assumption_options, plan_options, show


@click.command("energy")
@click.option(
    "--pv-profile",
    "profile_path",
    type=click.Path(path_type=Path),
    help="Solar output: time (s), then a column of kW per kW peak for each place.",
)
@click.option("--pv-column", help="The one place to look at, where the profile has several.")
@click.option("--place", metavar="LAT,LON", help="Compute the solar output here, in place of one.")
@click.option(
    "--tilt", "tilt_deg", type=Finite(0, 90), default=30.0, show_default=True, help="Degrees."
)
@click.option(
    "--azimuth", "azimuth_deg", type=Finite(0, 360), help="180 is south.  [default: the equator]"
)
@click.option("--year", type=click.IntRange(1970, 2100), default=2024, show_default=True)
@click.option(
    "--weather",
    "weather_path",
    type=click.Path(path_type=Path),
    help="With --place: hour_utc, ghi_w_m2, air_c, wind_m_s.  [default: a clear sky]",
)
@click.option("--load-kw", type=Finite(), default=1.0, show_default=True)
@click.option("--pv-kwp", type=Finite(), default=1.0, show_default=True)
@click.option("--battery-kwh", type=Finite(), default=0.0, show_default=True)
@click.option("--battery-kw", type=Finite(), help="The most it takes or gives.")
@click.option(
    "--battery-efficiency",
    type=Share(),
    default="100%",
    show_default=True,
    help="What comes back of what went in.",
)
@click.option("--battery-start", type=Share(), default="0%", show_default=True, help="How full.")
@click.option("--feed-kw", type=Finite(), help="What the grid's feed can give.")
@assumption_options
@plan_options
def command(
    profile_path: Path | None,
    pv_column: str | None,
    place: str | None,
    tilt_deg: float,
    azimuth_deg: float | None,
    year: int,
    weather_path: Path | None,
    load_kw: float,
    pv_kwp: float,
    battery_kwh: float,
    battery_kw: float | None,
    battery_efficiency: float,
    battery_start: float,
    feed_kw: float | None,
    settings: tuple[str, ...],
    assume_path: Path | None,
    as_json: bool,
    page_path: Path | None,
) -> None:
    """Balance solar power, a battery and a load: import, export, autarky."""
    import math

    import numpy as np

    from skerry.energy.battery import Battery
    from skerry.plan.assumptions import assumptions
    from skerry.plan.energy.balance import Profile, read_profiles, read_weather
    from skerry.plan.energy.balance_report import energy_report, places_report

    if (profile_path is None) == (place is None):
        raise UsageError("give --pv-profile or --place")
    if weather_path is not None and place is None:
        raise UsageError("--weather needs --place")
    notes: tuple[str, ...] = ()
    if profile_path is not None:
        profiles = read_profiles(profile_path, column=pv_column)
    else:
        from skerry.energy.solar import Array, solar_kw_per_kwp

        latitude_deg, longitude_deg = _place(place or "")
        array = Array(
            latitude_deg=latitude_deg,
            longitude_deg=longitude_deg,
            tilt_deg=tilt_deg,
            azimuth_deg=azimuth_deg,
        )
        if weather_path is not None:
            times, weather = read_weather(weather_path)
            source = f"computed from {weather_path} at {place}, tilt {tilt_deg:g}"
        else:
            start_s = datetime(year, 1, 1, tzinfo=UTC).timestamp()
            end_s = datetime(year + 1, 1, 1, tzinfo=UTC).timestamp()
            times, weather = np.arange(start_s, end_s, 3600.0), None
            source = f"computed, clear sky of {year} at {place}, tilt {tilt_deg:g}"
            notes = ("a clear sky all year: an upper bound that no place reaches",)
        output = solar_kw_per_kwp(array, times, weather)
        profiles = [Profile(source=source, place=place or "", step_h=1.0, output=output)]
    battery = Battery(
        capacity_kwh=battery_kwh,
        power_kw=math.inf if battery_kw is None else battery_kw,
        efficiency_ratio=battery_efficiency,
        start_ratio=battery_start,
    )
    inputs = assumptions("energy", path=assume_path, settings=settings)
    found = {
        one.place: energy_report(
            one,
            np.full(len(one.output), load_kw),
            pv_kwp=pv_kwp,
            battery=battery,
            inputs=inputs,
            feed_kw=feed_kw,
            notes=notes,
        )
        for one in profiles
    }
    report = places_report(found) if len(found) > 1 else next(iter(found.values()))
    show(report, as_json=as_json, page_path=page_path)


def _place(text: str) -> tuple[float, float]:
    try:
        latitude, longitude = (float(word) for word in text.split(","))
    except ValueError:
        advice = "write latitude,longitude in degrees, such as 52.5,13.4"
        raise UsageError(f"--place {text!r} is no place", advice) from None
    return latitude, longitude
