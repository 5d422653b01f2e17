"""What `skerry plan carbon` is asked, read from files and options, and answered.

Errors:  those of the readers; ProductError for a machine that the table of makers lacks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from skerry.base.errors import Exit
from skerry.base.units import SECONDS_PER_HOUR, WH_PER_KWH
from skerry.energy.cpu_curve import cpu_energy_kwh
from skerry.energy.site_cost import SECONDS_PER_YEAR
from skerry.plan.assumptions import Assumptions, assumptions
from skerry.plan.energy.carbon import Embodied, Grid, account, read_load
from skerry.plan.energy.carbon_report import REQUESTS_PER_1K, Span, carbon_report
from skerry.plan.energy.embodied import RACKS, Product, built_kg, housing_kg, read_products, spread
from skerry.plan.energy.grid_factors import DIRECT_BASIS, yearly_factor
from skerry.plan.energy.instruments import Instruments, read_instruments
from skerry.plan.energy.signals import Series, Signal, read_signal
from skerry.plan.errors import PlanError, RunFileError
from skerry.plan.from_run import measured, read_run
from skerry.schema.goal import GoalName
from skerry.schema.plan_report import PlanReport

YEAR_H: Final = 8760


class ProductError(PlanError):
    """A product that the table of makers' figures lacks, or that comes without a split by stage."""

    code = "E0973"
    exit_code = Exit.WRONG_USE

    def __init__(self, path: str, name: str, why: str, known: Sequence[str]) -> None:
        super().__init__(path, name, why, tuple(known))
        self.path, self.name, self.why, self.known = path, name, why, tuple(known)

    def __str__(self) -> str:
        return f"{self.path}: {self.name!r} {self.why}"

    @property
    def hint(self) -> str:
        """Name the nearest product."""
        near = get_close_matches(self.name, self.known, n=1, cutoff=0.3)
        return f"did you mean: {near[0]}" if near else "leave --product out for the median"


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonInputs:
    """The options of the verb, as given; None where left out."""

    signal_path: Path | None = None
    zone: str | None = None
    factor: str | None = None
    time_zone: str | None = None
    unit: str | None = None
    place: str | None = None
    load_kw: float | None = None
    load_path: Path | None = None
    pue_ratio: float = 1.0
    instruments_path: Path | None = None
    residual_g_per_kwh: float | None = None
    servers: int | None = None
    products_path: Path | None = None
    product: str | None = None
    parts: Mapping[str, float] | None = None
    """What a server and its housing are made of: keys of `embodied.PARTS`, and `racks`."""
    cpu: Mapping[str, float] | None = None
    """A share of a processor as the load: the arguments of `cpu_energy_kwh` for an hour."""
    mix: Mapping[str, float] | None = None
    """Source of electricity to its share: a grid of one's own."""
    requests: float | None = None
    traffic_gb: float = 0.0
    run_path: Path | None = None
    site: str | None = None
    settings: tuple[str, ...] = ()
    assume_path: Path | None = None


def carbon(asked: CarbonInputs) -> PlanReport:
    """Answer the question."""
    inputs = assumptions(
        "embodied", "network", "generation", path=asked.assume_path, settings=asked.settings
    )
    grid, span, signal, notes = _grid(asked, inputs)
    kwh = _kwh(asked, signal, span.hours)
    errors: dict[str, float] = {}
    if asked.run_path is not None and asked.requests is not None:
        kwh, errors = _measured(asked.run_path, asked.requests, kwh)
        notes.append(f"energy per 1,000 requests measured: {asked.run_path}")
    instruments = Instruments()
    if asked.instruments_path is not None:
        instruments = read_instruments(asked.instruments_path, used_kwh=float(kwh.sum()))
    if asked.residual_g_per_kwh is not None:
        instruments = Instruments(
            contracts=instruments.contracts, residual_g_per_kwh=asked.residual_g_per_kwh
        )
    found = account(
        kwh,
        grid,
        instruments=instruments,
        grid_loss_ratio=inputs["grid_loss_ratio"],
        network_kwh=asked.traffic_gb * inputs["network_kwh_per_gb"] if asked.traffic_gb else 0.0,
        embodied=_embodied(asked, inputs, notes, hours=span.hours),
        requests=asked.requests,
    )
    report = carbon_report(
        found, grid, span, requests=asked.requests, assumptions=inputs.used(), notes=notes
    )
    changes = {}
    if asked.site:
        mean = float(grid.whole.mean())
        changes = {
            f"sites.{asked.site}.grid_carbon": f"{mean:.4g} g/kWh",
            f"sites.{asked.site}.grid_source": f'"{span.source}, {span.dates}"',
        }
    return msgspec.structs.replace(report, prediction_error_ratio=errors, changes=changes)


def _grid(asked: CarbonInputs, inputs: Assumptions) -> tuple[Grid, Span, Signal | None, list[str]]:
    if asked.mix is not None:
        mixed = sum(share * inputs[f"{name}_g_per_kwh"] for name, share in asked.mix.items())
        grid = Grid(name="the mix", direct=None, life_cycle=np.full(YEAR_H, mixed))
        source = "CodeCarbon's life-cycle factors by source"
        span = Span(source=source, dates="any year", start_unix_s=0.0, hours=YEAR_H)
        return grid, span, None, [f"{mixed:.4g} g/kWh from shares by source, life cycle"]
    if asked.signal_path is None:
        yearly = yearly_factor(asked.place or "")
        series = np.full(YEAR_H, yearly.g_per_kwh)
        direct = yearly.basis == DIRECT_BASIS
        grid = Grid(
            name=yearly.place,
            direct=series if direct else None,
            life_cycle=None if direct else series,
        )
        span = Span(source=yearly.source, dates="a yearly mean", start_unix_s=0.0, hours=YEAR_H)
        return grid, span, None, ["a yearly mean: no hour of it is known"]
    zones = [asked.zone] if asked.zone else []
    signal = read_signal(asked.signal_path, zones=zones, time_zone=asked.time_zone, unit=asked.unit)
    zone = signal.one_zone(asked.zone)
    factor = signal.factor[zone]
    notes = []
    if signal.direct is not None:
        grid = Grid(name=zone, direct=signal.direct[zone], life_cycle=factor)
    elif asked.factor == "direct":
        grid = Grid(name=zone, direct=factor, life_cycle=None)
    else:
        grid = Grid(name=zone, direct=None, life_cycle=factor)
        if asked.factor is None:
            notes.append("the signal does not say what its factors are; --factor does")
    span = Span(
        source=signal.path,
        dates=signal.span(),
        start_unix_s=signal.start_unix_s,
        hours=signal.hours,
    )
    return grid, span, signal, notes


def _kwh(asked: CarbonInputs, signal: Signal | None, hours: int) -> Series:
    if asked.load_path is not None and signal is not None:
        return read_load(asked.load_path, signal) * asked.pue_ratio
    if asked.cpu is not None:
        hour_kwh = cpu_energy_kwh(seconds=SECONDS_PER_HOUR, **asked.cpu)
        return np.full(hours, hour_kwh * asked.pue_ratio)
    load_kw = 1.0 if asked.load_kw is None else asked.load_kw
    return np.full(hours, load_kw * asked.pue_ratio)


def _measured(path: Path, requests: float, kwh: Series) -> tuple[Series, dict[str, float]]:
    """Return the load scaled to the measured energy, and how far the estimate was off."""
    wh_per_1k = measured(read_run(path), GoalName.ENERGY_WH_PER_1K)
    if not wh_per_1k or not kwh.sum():
        raise RunFileError(str(path), "no measured energy_wh_per_1k above 0")
    wanted_kwh = wh_per_1k / WH_PER_KWH * requests / REQUESTS_PER_1K
    guessed_kwh = float(kwh.sum())
    error = guessed_kwh / wanted_kwh - 1
    return kwh * (wanted_kwh / guessed_kwh), {GoalName.ENERGY_WH_PER_1K.value: error}


def _embodied(
    asked: CarbonInputs, inputs: Assumptions, notes: list[str], *, hours: int
) -> Embodied | None:
    if not asked.servers:
        return None
    life_years = inputs["server_life_years"]
    if asked.parts is not None:
        years = hours * SECONDS_PER_HOUR / SECONDS_PER_YEAR
        racks = asked.parts.get(RACKS, 0.0)
        return Embodied(
            machines=asked.servers,
            machine_kg=built_kg(asked.parts, inputs),
            life_years=life_years,
            housing_kg=housing_kg(racks, inputs, years=years) if racks else 0.0,
        )
    if asked.products_path is None:
        machine_kg = inputs["server_embodied_kg"]
    else:
        products = read_products(asked.products_path, kind=None if asked.product else "Server")
        if asked.product:
            one = _product(asked.products_path, products, asked.product)
            machine_kg = one.embodied_kg or 0.0
            life_years = one.life_years or life_years
            notes.append(f"embodied carbon of {one.maker} {one.name}: {one.source}")
        else:
            found = spread(products)
            machine_kg = found.embodied_kg_median
            notes.append(
                f"median of {found.with_split} servers in {asked.products_path}: {machine_kg:.0f} "
                f"kg each, {found.embodied_kg_low:.0f} to {found.embodied_kg_high:.0f} for 8 in 10"
            )
    return Embodied(machines=asked.servers, machine_kg=machine_kg, life_years=life_years)


def _product(path: Path, products: Sequence[Product], name: str) -> Product:
    names = [one.name for one in products]
    one = next((one for one in products if one.name == name), None)
    if one is None:
        raise ProductError(str(path), name, "is not in the table", names)
    if one.embodied_kg is None:
        raise ProductError(str(path), name, "has no split by stage, so use is not apart", names)
    return one
