"""`skerry plan carbon`: what a load emits, by every method."""

from pathlib import Path

import click

from skerry.base.errors import UsageError
from skerry.cli.numbers import PUE_MAX, Finite
from skerry.cli.plan_show import assumption_options, plan_options, show, write_option
from skerry.cli.plan_signal import UNITS, Amounts

FACTORS = ("direct", "life-cycle")
SOURCES = (
    "coal",
    "petroleum",
    "natural_gas",
    "geothermal",
    "hydroelectricity",
    "nuclear",
    "solar",
    "wind",
)


@click.command("carbon")
@click.option(
    "--signal",
    "signal_path",
    type=click.Path(path_type=Path),
    help="Hourly carbon intensity (CSV, Parquet or JSON).",
)
@click.option("--zone", help="The zone, where the signal has several.")
@click.option(
    "--factor",
    type=click.Choice(FACTORS),
    help="What the one factor of a wide signal is.  [default: life-cycle, with a flag]",
)
@click.option("--time-zone", help="The zone of a column `hour` whose times carry no offset.")
@click.option("--unit", type=click.Choice(UNITS), help="What factors are in.  [default: g/kWh]")
@click.option(
    "--place", help="Use a yearly factor in place of a signal: a country (DEU) or state (US-CA)."
)
@click.option(
    "--mix",
    type=Amounts(SOURCES),
    help="Use a mix of sources in place of a signal: wind=0.6,natural_gas=0.4.",
)
@click.option(
    "--cpu",
    type=Amounts(("tdp_w", "utilisation", "vcpus", "vcpus_total")),
    help="A share of a processor as the load: tdp_w=100,utilisation=0.5,vcpus=1,vcpus_total=8.",
)
@click.option("--load-kw", type=Finite(), help="A constant load.  [default: 1]")
@click.option(
    "--load",
    "load_path",
    type=click.Path(path_type=Path),
    help="A load in place of --load-kw: hour_utc,load_kw over the signal's hours.",
)
@click.option(
    "--pue",
    type=Finite(1, PUE_MAX),
    default=1.0,
    show_default=True,
    help="Times the load; leave 1 where the load is what the meter of the site reads.",
)
@click.option(
    "--instruments",
    "instruments_path",
    type=click.Path(path_type=Path),
    help="Contracts for electricity: instrument, kwh or share, g_per_kwh; kind.",
)
@click.option("--residual-g-per-kwh", type=Finite(), help="The residual mix.")
@click.option("--servers", type=click.IntRange(0), help="Machines whose embodied carbon counts.")
@click.option(
    "--products",
    "products_path",
    type=click.Path(path_type=Path),
    help="Makers' carbon figures; the median server, or --product, replaces the shipped one.",
)
@click.option("--product", help="The name of one product in --products.")
@click.option(
    "--parts",
    type=Amounts(("memory_gb", "ssd_tb", "gpus", "racks")),
    help="What each server is made of, and racks for all: memory_gb=256,ssd_tb=4,gpus=1,racks=0.2.",
)
@click.option("--requests", type=Finite(above=True), help="Inferences in the span.")
@click.option("--traffic-gb", type=Finite(), default=0.0, help="Sent over networks in the span.")
@click.option(
    "--from-run",
    "run_path",
    type=click.Path(path_type=Path),
    help="Measured figures (JSON): energy per 1,000 requests replaces the load.",
)
@click.option("--site", help="With --write: the site of the fleet file that this grid feeds.")
@write_option
@assumption_options
@plan_options
def command(
    signal_path: Path | None,
    zone: str | None,
    factor: str | None,
    time_zone: str | None,
    unit: str | None,
    place: str | None,
    mix: dict[str, float] | None,
    cpu: dict[str, float] | None,
    load_kw: float | None,
    load_path: Path | None,
    pue: float,
    instruments_path: Path | None,
    residual_g_per_kwh: float | None,
    servers: int | None,
    products_path: Path | None,
    product: str | None,
    parts: dict[str, float] | None,
    requests: float | None,
    traffic_gb: float,
    run_path: Path | None,
    site: str | None,
    fleet_path: Path,
    write: bool,
    settings: tuple[str, ...],
    assume_path: Path | None,
    as_json: bool,
    page_path: Path | None,
) -> None:
    """Print a load's emissions: scope 2 twice, scope 3 category 3, embodied, SCI."""
    from skerry.plan.energy.carbon_inputs import CarbonInputs, carbon

    if sum(one is not None for one in (signal_path, place, mix)) != 1:
        raise UsageError("give one of --signal, --place and --mix")
    if sum(one is not None for one in (load_kw, load_path, cpu)) > 1:
        raise UsageError("give one of --load-kw, --load and --cpu")
    if load_path is not None and signal_path is None:
        raise UsageError("--load needs --signal, whose hours it is over")
    if mix is not None and abs(sum(mix.values()) - 1) > 1e-6:
        raise UsageError(
            f"shares of --mix add up to {sum(mix.values()):g}", "they are of one whole"
        )
    if cpu is not None and not {"tdp_w", "utilisation"} <= set(cpu):
        raise UsageError("--cpu needs tdp_w and utilisation")
    if parts is not None and not servers:
        raise UsageError("--parts needs --servers")
    if product and products_path is None:
        raise UsageError("--product needs --products")
    if run_path is not None and requests is None:
        raise UsageError("--from-run needs --requests, as it holds energy per 1,000 of them")
    if write and not site:
        raise UsageError("--write needs --site")
    if write:
        from skerry.fleet.load import load_fleet

        sites = [one.name for one in load_fleet(fleet_path).sites]
        if site not in sites:
            raise UsageError(f"no site is called {site!r}", f"sites: {', '.join(sites)}")
    report = carbon(
        CarbonInputs(
            signal_path=signal_path,
            zone=zone,
            factor=factor,
            time_zone=time_zone,
            unit=unit,
            place=place,
            load_kw=load_kw,
            load_path=load_path,
            pue_ratio=pue,
            instruments_path=instruments_path,
            residual_g_per_kwh=residual_g_per_kwh,
            servers=servers,
            products_path=products_path,
            product=product,
            parts=parts,
            cpu=cpu,
            mix=mix,
            requests=requests,
            traffic_gb=traffic_gb,
            run_path=run_path,
            site=site,
            settings=settings,
            assume_path=assume_path,
        )
    )
    show(report, as_json=as_json, page_path=page_path, write_path=fleet_path if write else None)
