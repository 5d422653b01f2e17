"""The door to pvlib: what a solar array gives, hour by hour, from place, tilt and weather.

    sun position -> horizontal irradiance -> diffuse part (Erbs) -> the array's plane
    (isotropic sky) -> cell temperature (Faiman) -> DC (PVWatts, -0.4 %/K) -> losses
    (PVWatts) -> inverter (PVWatts, 1 kW per kW peak)

Without weather the sky is clear (Haurwitz) all year, at 20 C and 1 m/s: an upper bound.

Units:   W/m2, degrees, degrees Celsius, m/s; the result is kW per kW peak.
Shapes:  every series is (steps,).
Errors:  SolarError, for a place, a tilt or a weather value that cannot be.
Source:  pvlib-python and the models named above; losses are NREL PVWatts version 5.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.base.errors import Exit
from skerry.energy.errors import EnergyError

Series = NDArray[np.float64]

PEAK_W: Final = 1000.0
DC_PER_K: Final = -0.004
AIR_C: Final = 20.0
WIND_M_S: Final = 1.0


class SolarError(EnergyError):
    """A place, a tilt or a weather value that no array can have."""

    code = "E1511"
    exit_code = Exit.WRONG_USE

    def __init__(self, name: str, value: float, wanted: str) -> None:
        super().__init__(name, value, wanted)
        self.name, self.value, self.wanted = name, value, wanted

    def __str__(self) -> str:
        return f"{self.name} is {self.value:g}, wanted {self.wanted}"

    @property
    def hint(self) -> str:
        """Say how a place and a plane are written."""
        return "a place is latitude,longitude in degrees; tilt 0 lies flat; azimuth 180 faces south"


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """Where panels stand and how they face; azimuth None faces the equator."""

    latitude_deg: float
    longitude_deg: float
    tilt_deg: float
    azimuth_deg: float | None = None

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("latitude_deg", self.latitude_deg, -90.0, 90.0),
            ("longitude_deg", self.longitude_deg, -180.0, 180.0),
            ("tilt_deg", self.tilt_deg, 0.0, 90.0),
            ("azimuth_deg", self.facing_deg, 0.0, 360.0),
        ):
            if not low <= value <= high:
                raise SolarError(name, value, f"{low:g} to {high:g}")

    @property
    def facing_deg(self) -> float:
        """The azimuth, 180 in the north and 0 in the south where none is given."""
        if self.azimuth_deg is not None:
            return self.azimuth_deg
        return 180.0 if self.latitude_deg >= 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weather:
    """Global horizontal irradiance, air temperature and wind, one value per step."""

    ghi_w_m2: Series
    air_c: Series
    wind_m_s: Series


def losses_ratio() -> float:
    """Return the PVWatts default losses: soiling, shading, wiring and the like."""
    import pvlib

    return float(pvlib.pvsystem.pvwatts_losses()) / 100


def solar_kw_per_kwp(array: Array, unix_s: Series, weather: Weather | None = None) -> Series:
    """Return the array's output at each time; without weather under a clear sky."""
    import pandas  # a second to import: only a plan that computes sunshine pays for it
    import pvlib

    if not len(unix_s):
        raise SolarError("steps", 0, "at least one")
    times = pandas.to_datetime(unix_s, unit="s", utc=True)
    sun = pvlib.solarposition.get_solarposition(times, array.latitude_deg, array.longitude_deg)
    if weather is None:
        ghi = pvlib.clearsky.haurwitz(sun["apparent_zenith"])["ghi"]
        air_c, wind_m_s = np.full(len(unix_s), AIR_C), np.full(len(unix_s), WIND_M_S)
    else:
        ghi = pandas.Series(weather.ghi_w_m2, index=times)
        air_c, wind_m_s = weather.air_c, weather.wind_m_s
    split = pvlib.irradiance.erbs(ghi, sun["zenith"], times)
    plane = pvlib.irradiance.get_total_irradiance(
        array.tilt_deg,
        array.facing_deg,
        sun["apparent_zenith"],
        sun["azimuth"],
        split["dni"],
        ghi,
        split["dhi"],
        model="isotropic",
    )["poa_global"].fillna(0.0)
    cell_c = pvlib.temperature.faiman(plane, air_c, wind_m_s)
    dc_w = pvlib.pvsystem.pvwatts_dc(plane, cell_c, PEAK_W, DC_PER_K) * (1 - losses_ratio())
    ac_w = pvlib.inverter.pvwatts(dc_w, PEAK_W)
    output = np.clip(np.asarray(ac_w, dtype=np.float64) / PEAK_W, 0.0, None)
    if not np.isfinite(output).all():
        step = int((~np.isfinite(output)).argmax())
        raise SolarError(f"output[{step}]", math.nan, "weather values that the models can use")
    return output
