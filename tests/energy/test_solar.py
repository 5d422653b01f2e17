"""The solar chain: published losses, reference yields of four places, bad places refused."""

from datetime import UTC, datetime

import numpy as np
import pytest

from skerry.energy.solar import Array, SolarError, Weather, losses_ratio, solar_kw_per_kwp

YEAR = np.arange(
    datetime(2024, 1, 1, tzinfo=UTC).timestamp(),
    datetime(2025, 1, 1, tzinfo=UTC).timestamp(),
    3600.0,
)


def test_losses_are_those_of_pvwatts() -> None:
    assert losses_ratio() * 100 == pytest.approx(14.075660688, rel=1e-9)


@pytest.mark.parametrize(
    ("latitude", "longitude", "tilt", "kwh"),
    [
        (52.52, 13.405, 35, 1646.9),
        (33.45, -112.07, 30, 1918.7),
        (1.35, 103.82, 5, 2037.9),
        (-33.87, 151.21, 30, 1920.9),
    ],
)
def test_a_clear_year_gives_the_reference_yield(
    latitude: float, longitude: float, tilt: float, kwh: float
) -> None:
    """Berlin, Phoenix, Singapore, Sydney; the array faces the equator by itself."""
    array = Array(latitude_deg=latitude, longitude_deg=longitude, tilt_deg=tilt)
    assert solar_kw_per_kwp(array, YEAR).sum() == pytest.approx(kwh, rel=5e-3)


def test_clouds_and_nights_give_nothing_and_cold_gives_more() -> None:
    array = Array(latitude_deg=50, longitude_deg=0, tilt_deg=30)
    noon = np.array([datetime(2024, 6, 21, 12, tzinfo=UTC).timestamp()])

    def at(ghi: float, air_c: float) -> float:
        weather = Weather(
            ghi_w_m2=np.array([ghi]), air_c=np.array([air_c]), wind_m_s=np.array([1.0])
        )
        return float(solar_kw_per_kwp(array, noon, weather)[0])

    assert at(0, 20) == 0
    assert at(800, 0) > at(800, 35) > 0
    assert solar_kw_per_kwp(array, noon - 43_200)[0] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("latitude_deg", 91.0), ("longitude_deg", -181.0), ("tilt_deg", 95.0), ("azimuth_deg", 400.0)],
)
def test_an_impossible_array_is_refused_by_name(name: str, value: float) -> None:
    fields = {"latitude_deg": 50.0, "longitude_deg": 0.0, "tilt_deg": 30.0, name: value}
    with pytest.raises(SolarError, match=f"{name} is {value:g}"):
        Array(**fields)
