"""Money: by hand where it can be, over requests in time only, and silent where there are none."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.energy.site_cost import SECONDS_PER_MONTH
from skerry.plan.bill import bill, cost_usd_per_1k
from skerry.schema.fleet import Fleet, Kind
from skerry.schema.goal import Level

ALL = frozenset(Kind)


def loads(fleet: Fleet, load: float) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {site.name: np.full(24, load) for site in fleet.sites}


def test_an_idle_cloud_costs_its_machine_its_idle_energy_and_its_room(fleet: Fleet) -> None:
    """A month: 600 / 5 / 12 = 10 USD; 10 W x 1.5 x 730.5 h x 0.2 = 2.1915 USD; 10 USD."""
    found = bill(fleet, loads(fleet, 0.0), span_s=SECONDS_PER_MONTH, kinds=frozenset({Kind.CLOUD}))
    usd = {line.name: line.usd for line in found.lines}
    assert usd["machines"] == pytest.approx(10.0)
    assert usd["energy"] == pytest.approx(2.1915)
    assert usd["room, link, hands"] == pytest.approx(10.0)
    assert found.carbon_g == pytest.approx(found.energy_wh / 1000 * 100)


def test_every_line_says_what_it_rests_on(fleet: Fleet) -> None:
    for line in bill(fleet, loads(fleet, 0.5), span_s=60.0, kinds=ALL).lines:
        assert line.level in (Level.STATED, Level.ESTIMATE)
        assert line.source


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1), st.floats(0, 1))
def test_more_load_never_costs_less(fleet: Fleet, one: float, other: float) -> None:
    low, high = sorted((one, other))
    less, more = (bill(fleet, loads(fleet, load), span_s=3600.0, kinds=ALL) for load in (low, high))
    assert less.energy_wh <= more.energy_wh + 1e-9
    assert less.total_usd <= more.total_usd + 1e-12


def test_cost_is_shared_by_requests_in_time_and_by_nobody_if_there_are_none(fleet: Fleet) -> None:
    found = bill(fleet, loads(fleet, 0.0), span_s=3600.0, kinds=ALL)
    assert cost_usd_per_1k(found, 0) is None
    assert cost_usd_per_1k(found, 2000) == pytest.approx(found.total_usd / 2)
