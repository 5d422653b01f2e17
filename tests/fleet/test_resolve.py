"""Resolving: what the file leaves out is filled in one place, and by stated rules."""

from collections.abc import Callable

import pytest

from skerry.fleet.links import computed_round_trip_ms, distance_km, link_between
from skerry.fleet.place import fallbacks_of, models_at, sites_of, standin_at, tier_order
from skerry.schema.desired import DesiredRule
from skerry.schema.file_errors import FleetFileError
from skerry.schema.fleet import Fleet
from skerry.schema.goal import GoalName
from skerry.schema.policy import Residency, Stays

Load = Callable[..., Fleet]


def test_quantities_become_numbers_in_the_unit_of_their_field(clinic: Fleet) -> None:
    closet = clinic.tiers["closet"]
    assert (closet.feed_w, closet.ups_s, closet.uplink_bit_per_s) == (600.0, 720.0, 50e6)
    assert (closet.machine.idle_w, closet.machine.busy_w) == (8.0, 45.0)
    assert clinic.goals[GoalName.LATENCY_MS_P95] == 50.0
    assert clinic.goals[GoalName.LOCAL_RATIO] == 0.95
    assert clinic.goals[GoalName.UPSTREAM_BYTES_PER_1K] == 0.0
    assert clinic.rollout.gate.hold_s == 20.0
    assert clinic.rollout.gate.errors_ratio == 0.001


def test_a_site_takes_from_its_tier_what_it_does_not_state(clinic: Fleet) -> None:
    assert [clinic.site(name).nodes for name in ("oslo", "bergen")] == [2, 1]
    assert clinic.site("oslo").feed_w == 600.0


def test_grid_carbon_comes_from_the_table_or_from_the_file(clinic_with: Load) -> None:
    fleet = clinic_with(
        ("    grid: NO\n    hours", "    grid: NO\n    grid_carbon: 0.012 kg/kWh\n    hours")
    )
    oslo, bergen = fleet.site("oslo"), fleet.site("bergen")
    assert (oslo.grid_g_per_kwh, bergen.grid_g_per_kwh) == (30.0, 12.0)
    assert bergen.grid_source == "stated: the fleet file"
    assert "CodeCarbon" in oslo.grid_source


def test_a_version_is_a_number_with_or_without_its_v(clinic_with: Load) -> None:
    assert clinic_with(("version: v1 ", "version: 2 ")).models[0].version == 2
    assert clinic_with(("version: v1 ", 'version: "v2" ')).models[0].version == 2


def test_the_lock_gives_a_version_its_digest(clinic_with: Load) -> None:
    assert clinic_with().models[0].manifest_sha256.startswith("magika-1")
    assert clinic_with(("version: v1 ", "version: v7 ")).models[0].manifest_sha256 == ""


def test_rules_are_decoded_into_signal_operator_and_number(clinic: Fleet) -> None:
    assert clinic.rules == (
        DesiredRule(
            signal="power.source", op="==", value="ups", do="prefer", what=("magika-small",)
        ),
        DesiredRule(
            signal="grid.carbon_g_per_kwh",
            op=">",
            value=400.0,
            do="defer",
            what=("retraining", "uploads"),
        ),
    )


def test_data_classes_say_where_they_may_go(clinic: Fleet) -> None:
    assert clinic.data_classes["health"] == Residency(stays=Stays.SITE)
    assert clinic.data_classes["internal"].jurisdictions == ("NO", "DE")
    assert clinic.data_classes["public"].stays is Stays.ANYWHERE


def test_every_site_is_in_exactly_one_ring(clinic: Fleet) -> None:
    assert clinic.rollout.rings == (("bergen",), ("oslo", "hamburg"), ("region-eu", "cloud"))
    listed = [site for ring in clinic.rollout.rings for site in ring]
    assert sorted(listed) == sorted(site.name for site in clinic.sites)


def test_a_share_that_adds_no_site_makes_no_ring(clinic_with: Load) -> None:
    fleet = clinic_with(("[ring=pilot, 50 %, 100 %]", "[ring=pilot, 10 %, 100 %]"))
    assert fleet.rollout.ring_names == ("ring=pilot", "100 %")


def test_a_window_is_each_sites_own(clinic_with: Load) -> None:
    outside = clinic_with(("window: always", "window: outside hours")).rollout.windows
    assert {name for name, span in outside.items() if span.outside} == set(outside)
    assert outside["bergen"].zone == "Europe/Oslo"
    night = clinic_with(("window: always", 'window: "22:00-05:00"')).rollout.windows
    assert (night["bergen"].zone, night["cloud"].zone) == ("Europe/Oslo", "UTC")
    assert clinic_with().rollout.windows == {}


def test_what_a_ring_waits_for_is_read(clinic_with: Load) -> None:
    rollout = clinic_with(
        (
            "window: always",
            "soak: 1 d\n  approve: [100 %]\n  check: {url: https://changes.example/gate}",
        )
    ).rollout
    assert (rollout.soak_s, rollout.approve) == (86_400.0, ("100 %",))
    assert rollout.check is not None
    assert (rollout.check.url, rollout.check.timeout_s) == ("https://changes.example/gate", 10.0)


def test_a_stated_link_wins_and_the_others_are_computed(clinic: Fleet) -> None:
    links = {(link.a, link.b): link for link in clinic.links}
    assert links["oslo", "region-eu"].stated
    assert links["oslo", "region-eu"].round_trip_ms == 28.0
    assert not links["bergen", "region-eu"].stated
    assert links["bergen", "region-eu"].bandwidth_bit_per_s == 50e6
    assert len(links) == 7  # each site to its region and the cloud, the region to the cloud
    assert link_between(clinic, "region-eu", "oslo") is links["oslo", "region-eu"]
    assert not link_between(clinic, "oslo", "bergen").stated


def test_distances_and_round_trips_follow_the_stated_formula() -> None:
    """Paris to New York is 5,837 km on the sphere; 9.5 + 2.3 * 2 * 5837 / 204.19 by hand."""
    between = distance_km((48.8566, 2.3522), (40.7128, -74.0060))
    assert between == pytest.approx(5837, rel=1e-3)
    assert computed_round_trip_ms(5837.0) == pytest.approx(141.0, abs=0.1)
    assert distance_km((10.0, 20.0), (10.0, 20.0)) == 0.0


def test_who_answers_for_a_site_is_its_region_then_the_cloud(clinic: Fleet) -> None:
    oslo = clinic.site("oslo")
    assert [site.name for site in fallbacks_of(clinic, oslo)] == ["region-eu", "cloud"]
    assert tier_order(clinic, oslo) == ("closet", "room", "cloud")
    assert tier_order(clinic, clinic.site("cloud")) == ("cloud",)


def test_a_stand_in_counts_only_where_it_runs(clinic_with: Load) -> None:
    edit = (
        "    version: v1\n    place: [closet, room, cloud]",
        "    version: v1\n    place: [closet]",
    )
    fleet = clinic_with(edit)
    magika = fleet.models[0]
    assert standin_at(fleet, fleet.site("oslo"), magika) == "magika-small"
    assert standin_at(fleet, fleet.site("cloud"), magika) is None
    assert [site.name for site in sites_of(fleet, fleet.models[1])] == ["oslo", "bergen", "hamburg"]
    assert [model.name for model in models_at(fleet, fleet.site("cloud"))] == ["magika"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: oslo", "name: central", "`central` is a reserved name"),
        ("pue: 1.1 ", "pue: 0.9 ", "is 0.9, wanted 1 to 5"),
        ("local_answers: 95 %", "local_answers: 950 %", "is out of bounds, wanted more than 0 %"),
        ("idle: 8 W", "idle: 80 W", "idles at 80 W, above busy 45 W"),
        ("nodes: 1 x intake-pc", "nodes: intake-pc", "is not a count of machines"),
        ("1 x rack-server", "1 x rack-sever", "no machine type `rack-sever`"),
        ("kind: regional", "kind: region", "no kind of tier `region`"),
        ("    uplink: 50 Mbit/s\n", "", "has no `uplink`"),
        ("07:00-19:00 Europe/Oslo", "7-19", "is not a span of a day"),
        ("07:00-19:00 Europe/Oslo", "07:00-19:00 Europe/Olso", "no time zone `Europe/Olso`"),
        ("[oslo, region-eu], round", "[oslo, oslo], round", "links `oslo` with itself"),
        ("[oslo, region-eu], round", "[osl, region-eu], round", "no site `osl`"),
        ("tier: room\n", "tier: room\n    region: cloud\n", "a regional site is its own region"),
        ("window: always", "window: at night", "is not a span of a day"),
        ("window: always", "approve: [half]", "no ring `half`"),
        ("window: always", "check: {}", "no way to ask"),
        ("window: always", "check: {url: ftp://x}", "not an http or https URL"),
        ("on_fail: revert", "on_fail: panic", "no answer to a failure `panic`"),
        ("do: defer", "do: wait", "`wait` is not an action"),
        ("what: [retraining, uploads]", "what: []", "defers nothing"),
        ("power.source == ups", "power.source > ups", "`>` does not order words"),
        ("power.source == ups", "power.source == usp", "no value of power.source `usp`"),
        ("> 400 g/kWh", "> 400 kWh", "measures energy"),
        ("domain: clinic.example ", "domain: Clinic_1 ", "is not a domain name"),
        ("rings: [ring=pilot, 50 %", "rings: [ring=pilot, half", "`half` is not a ring"),
        ("stays: [NO, DE]", "stays: [NO, GERMANY]", "is not an ISO 3166-1 country code"),
        ("place: [closet, room, cloud]", "place: [closet, rom]", "no tier `rom`"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    clinic_with: Load, old: str, new: str, message: str
) -> None:
    with pytest.raises(FleetFileError) as caught:
        clinic_with((old, new))
    assert message in str(caught.value)
    assert "fleet.yaml:" in str(caught.value)
