"""Placement: rules first, then money; and a stated flip is applied to the file and flips."""

import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.cli.main import run
from skerry.fleet.desired import policy_of
from skerry.fleet.load import load_fleet
from skerry.plan.assumptions import Assumptions, assumptions
from skerry.plan.errors import ColumnError
from skerry.plan.from_run import read_run
from skerry.plan.services import services_s
from skerry.plan.tiers import place as place_module
from skerry.plan.tiers.place import (
    Candidate,
    Decision,
    Tried,
    cost_usd_per_1k,
    decide,
    next_best,
    try_all,
)
from skerry.plan.tiers.place_advice import advice_on
from skerry.plan.tiers.place_facts import Facts, ModelFacts, read_facts
from skerry.plan.tiers.place_flip import flip_of
from skerry.plan.tiers.trial import Level
from skerry.plan.trace import Trace, read_trace
from skerry.schema.fleet import Fleet
from skerry.schema.fleet_edit import with_values
from skerry.schema.goal import GoalName
from skerry.schema.policy import Residency, Stays
from skerry.trust.residency import ResidencyTable

EXAMPLE = Path(__file__).parents[2] / "examples" / "plan" / "place"
MODELS = ("camera", "assistant", "forecast")


@pytest.fixture(scope="module")
def shops() -> Fleet:
    return load_fleet(EXAMPLE / "fleet.yaml")


@pytest.fixture(scope="module")
def trace(shops: Fleet) -> Trace:
    return read_trace(EXAMPLE / "trace.csv", shops)


@pytest.fixture(scope="module")
def facts(shops: Fleet) -> Facts:
    return read_facts(shops, EXAMPLE / "models.csv", ())


@pytest.fixture(scope="module")
def table() -> Assumptions:
    return assumptions("place")


@pytest.fixture(scope="module")
def tried(shops: Fleet, trace: Trace) -> Tried:
    times = services_s(shops, read_run(EXAMPLE / "run.json").service_ms)
    return try_all(shops, trace, services_s=times, seed=7)


@pytest.fixture(scope="module")
def decision(shops: Fleet, tried: Tried, facts: Facts, table: Assumptions) -> Decision:
    return decide(shops, tried, facts, table)


def misses_of(decision: Decision, model: str, name: str) -> str:
    return "; ".join(next(o for o in decision.candidates[model] if o.name == name).misses)


def test_each_model_goes_where_its_rule_or_its_cost_sends_it(decision: Decision) -> None:
    chosen = {model: one.name for model, one in decision.chosen.items()}
    assert chosen == {"camera": "on site", "assistant": "regional", "forecast": "on site"}
    assert "residency keeps till" in misses_of(decision, "camera", "regional")
    assert "memory" in misses_of(decision, "assistant", "on site")
    assert "residency keeps staff" in misses_of(decision, "assistant", "cloud")


def test_residency_is_productions_own_answer(
    shops: Fleet, trace: Trace, decision: Decision
) -> None:
    """Every request of every model, asked one by one of the production table."""
    destinations = ResidencyTable(policy_of(shops, generation=0)).destinations
    server = {"regional": "region-eu", "cloud": "cloud"}
    for model, some in decision.candidates.items():
        index = trace.models.index(model)
        rows = [i for i in range(len(trace)) if trace.model[i] == index]
        for one in some:
            allowed = sum(
                server.get(one.level, trace.sites[trace.site[i]])
                in destinations(trace.data_classes[trace.data_class[i]], trace.sites[trace.site[i]])
                for i in rows
            )
            assert one.journeys.allowed == allowed
            assert bool(one.journeys.barred) == (allowed < len(rows))


def test_the_choice_is_the_cheapest_of_all_assignments(
    shops: Fleet, decision: Decision, table: Assumptions
) -> None:
    able = [[o for o in some if not o.misses] for some in decision.candidates.values()]
    costs = [cost_usd_per_1k(shops, some, table) for some in itertools.product(*able)]
    assert decision.usd_per_1k == pytest.approx(min(costs))
    assert len(costs) == 3


@pytest.mark.parametrize("model", MODELS)
def test_the_flip_flips_when_it_is_applied_to_the_file(
    tmp_path: Path,
    shops: Fleet,
    tried: Tried,
    facts: Facts,
    table: Assumptions,
    decision: Decision,
    model: str,
) -> None:
    """The values go into the file's text, and everything is done again from the file."""
    other, change = flip_of(shops, decision, model, tried, facts, table)
    assert other is not None
    assert change is not None
    path = tmp_path / "fleet.yaml"
    path.write_text(with_values((EXAMPLE / "fleet.yaml").read_text(), change.values))
    after = load_fleet(path)
    memory = [f"{machine}={gib}" for machine, gib in change.memory_gib.items()]
    again = try_all(
        after,
        read_trace(EXAMPLE / "trace.csv", after),
        services_s=services_s(after, read_run(EXAMPLE / "run.json").service_ms),
        seed=7,
    )
    known = read_facts(after, EXAMPLE / "models.csv", memory)
    flipped = decide(after, again, known, table).chosen[model].name
    assert flipped == other.name != decision.chosen[model].name


def test_a_price_flip_just_short_of_its_value_does_not_flip(
    shops: Fleet, tried: Tried, facts: Facts, table: Assumptions, decision: Decision
) -> None:
    _, change = flip_of(shops, decision, "forecast", tried, facts, table)
    assert change is not None
    ((path, value),) = change.values.items()
    assert path == "tiers.closet.energy"
    short = float(value.split()[0]) - 0.0001
    assert short > shops.tiers["closet"].energy_usd_per_kwh
    tier = msgspec.structs.replace(shops.tiers["closet"], energy_usd_per_kwh=short)
    near = msgspec.structs.replace(shops, tiers={**shops.tiers, "closet": tier})
    assert decide(near, tried, facts, table).chosen["forecast"].level is Level.LOCAL


def test_models_that_fit_alone_have_to_fit_together(
    shops: Fleet, tried: Tried, table: Assumptions
) -> None:
    """Two of 4,000 MiB need 15.6 GiB of the 15 that a mini PC has left; one of them moves."""
    sizes = {"camera": 4000.0, "forecast": 4000.0, "assistant": 100.0}
    facts = read_facts(shops, None, ())
    heavy = replace(facts, models={m: ModelFacts(size_mib=s) for m, s in sizes.items()})
    chosen = decide(shops, tried, heavy, table).chosen
    assert chosen["camera"].level is Level.LOCAL
    assert chosen["forecast"].level is not Level.LOCAL
    assert all(one.memory_ratio < 1 for one in chosen.values())


def test_the_largest_of_models_that_fit_nowhere_together_is_left_out(
    shops: Fleet, tried: Tried, table: Assumptions
) -> None:
    """All must stay on site, where two of 4,000 MiB are too much; the smaller two fit."""
    stays = {name: Residency(stays=Stays.SITE) for name in shops.data_classes}
    strict = msgspec.structs.replace(shops, data_classes=stays)
    sizes = {"camera": 4000.0, "forecast": 4100.0, "assistant": 100.0}
    facts = read_facts(shops, None, ())
    heavy = replace(facts, models={m: ModelFacts(size_mib=s) for m, s in sizes.items()})
    found = decide(strict, tried, heavy, table)
    assert found.nowhere == ("forecast",)
    assert {model: one.level for model, one in found.chosen.items()} == {
        "camera": Level.LOCAL,
        "assistant": Level.LOCAL,
    }
    advice = advice_on(strict, _trace_of(tried), found, "forecast", tried, heavy, table, None)
    assert "on site: no room beside the other models" in advice.reason
    assert advice.flip == "orders data may go anywhere"


def _trace_of(tried: Tried) -> Trace:
    return tried["camera"][0][1].trace


def test_updates_that_crowd_the_link_bar_a_site(
    shops: Fleet, tried: Tried, table: Assumptions
) -> None:
    """100 updates of 500 MiB over 50 Mbit/s: 8389 s, 0.32 % of a month; 10,000 are 32 %."""
    facts = read_facts(shops, None, ())
    for updates, barred in ((100.0, False), (10_000.0, True)):
        busy = replace(
            facts, models={"forecast": ModelFacts(size_mib=500.0, updates_per_month=updates)}
        )
        one = decide(shops, tried, busy, table).candidates["forecast"][0]
        bits = 500 * 2**20 * 8 * updates
        assert one.link_share == pytest.approx(bits / 50e6 / (365.25 / 12 * 86_400))
        assert any("updates hold" in text for text in one.misses) == barred


def test_a_slow_model_gives_way_to_its_stand_in_where_that_is_accurate_enough(
    fleet: Fleet, table: Assumptions
) -> None:
    """A run of 80 ms breaks the goal of 50 ms; the stand-in's 1 ms does not."""
    from skerry.plan.trace import story_trace

    trace = story_trace(fleet, requests=300, seed=3)
    times = {"magika": 0.08, "magika-small": 0.001}
    tried = try_all(fleet, trace, services_s=times, seed=3)
    facts = read_facts(fleet, None, ())
    assert decide(fleet, tried, facts, table).nowhere == ("magika",)
    for least, chosen in ((0.9, "magika-small"), (0.95, None)):
        known = replace(
            facts,
            models={
                "magika": ModelFacts(accuracy_ratio=0.99, accuracy_least_ratio=least),
                "magika-small": ModelFacts(accuracy_ratio=0.93),
            },
        )
        found = decide(fleet, tried, known, table).chosen
        assert (found["magika"].variant if found else None) == chosen


def test_a_node_that_cannot_keep_up_is_barred(fleet: Fleet, table: Assumptions) -> None:
    from skerry.plan.trace import story_trace

    trace = story_trace(fleet, requests=20_000, seed=3)
    tried = try_all(fleet, trace, services_s={"magika": 4.0, "magika-small": 4.0}, seed=3)
    facts = read_facts(fleet, None, ())
    for one in decide(fleet, tried, facts, table).candidates["magika"]:
        assert any("it answers" in text for text in one.misses)
        busy = any("are busy" in text for text in one.misses)
        assert busy == (one.level is not Level.LOCAL)  # four nodes on site, one elsewhere


def test_carbon_counts_when_it_has_a_price(shops: Fleet, tried: Tried, decision: Decision) -> None:
    dear = assumptions("place", settings=("carbon_usd_per_kg=10",))
    facts = read_facts(shops, EXAMPLE / "models.csv", ())
    assert decide(shops, tried, facts, dear).usd_per_1k > decision.usd_per_1k


def test_a_wider_rule_never_costs_more(
    shops: Fleet, tried: Tried, facts: Facts, table: Assumptions, decision: Decision
) -> None:
    goals = {**shops.goals, GoalName.LATENCY_MS_P95: 1e6}
    wide = msgspec.structs.replace(shops, goals=goals)
    strict = decision.usd_per_1k
    assert decide(wide, tried, facts, table).usd_per_1k <= strict * (1 + 1e-9)


def test_the_others_come_in_the_order_of_their_cost_barred_ones_last(
    shops: Fleet, decision: Decision, table: Assumptions
) -> None:
    def key(one: Candidate) -> tuple[bool, float]:
        rest = [o for m, o in decision.chosen.items() if m != one.model]
        return bool(one.misses), cost_usd_per_1k(shops, [*rest, one], table)

    for model in MODELS:
        keys = [key(one) for one in next_best(shops, decision, model, table)]
        assert keys == sorted(keys)
        assert len(keys) == 2


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("model,size_mib\ncamera,-1\n", "models.csv:2: column size_mib"),
        ("model,accuracy_ratio\ncamera,97\n", "models.csv:2: column accuracy_ratio"),
        ("model\nvision\n", "models.csv:2: column model"),
        ("model\ncamera\ncamera\n", "models.csv:3: column model"),
        ("name\ncamera\n", "column model"),
        ("", "an empty file"),
    ],
)
def test_bad_facts_are_named_by_row_and_column(
    tmp_path: Path, shops: Fleet, text: str, what: str
) -> None:
    path = tmp_path / "models.csv"
    path.write_text(text)
    with pytest.raises(ColumnError) as caught:
        read_facts(shops, path, ())
    assert what in str(caught.value)


def place(*more: str) -> int:
    files = ["-f", str(EXAMPLE / "fleet.yaml"), "--trace", str(EXAMPLE / "trace.csv")]
    given = ["--models", str(EXAMPLE / "models.csv"), "--from-run", str(EXAMPLE / "run.json")]
    return run(["plan", "place", *files, *given, *more])


def test_json_has_every_option_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert place("--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["models"]["assistant"]["choice"] == "regional"
    options = found["models"]["camera"]["options"]
    assert set(options) == {"on site", "regional", "cloud"}
    assert options["cloud"]["misses"]
    assert all(math.isfinite(one["latency_ms_p95"]) for one in options.values())
    assert [one["regret"]["ratio"] for one in found["advice"]] == [0, 0, 0]
    assert found["changes"]["models.assistant.place"] == "[room]"
    goals = {one["name"]: one for one in found["goals"]}
    assert goals["availability_ratio"]["baseline"]["value"] == 1  # the cloud has every model


def test_write_sets_every_models_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(shutil.copy(EXAMPLE / "fleet.yaml", tmp_path))
    assert place("-f", str(path), "--write") == 0
    err = capsys.readouterr().err
    assert "+  - {name: camera, version: v1, place: [closet], data: [till]}" in err
    placed = {model.name: model.tiers for model in load_fleet(path).models}
    assert placed == {
        "camera": ("closet",),
        "assistant": ("room",),
        "forecast": ("closet", "room", "cloud"),
    }


def test_a_model_that_belongs_nowhere_ends_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fleet.yaml"
    text = (EXAMPLE / "fleet.yaml").read_text()
    path.write_text(with_values(text, {"goals.latency_p95": "10 ms"}))
    assert place("-f", str(path)) == 1
    out, err = capsys.readouterr()
    assert "camera nowhere" in out
    assert "it wins if the latency goal is 24 ms" in err
    assert place("--memory", "abacus=3") == 2
    assert "a machine (cloud-vm-4, mini-pc, rack-server)" in capsys.readouterr().err


STAYS = st.sampled_from([Stays.SITE, Stays.REGION, Stays.ANYWHERE])


@settings(max_examples=40, deadline=None)
@given(st.tuples(STAYS, STAYS, STAYS), st.floats(5, 200), st.integers(1, 64), st.floats(0, 500))
def test_nothing_is_ever_placed_against_a_rule_and_nothing_is_left_out_that_may(
    shops: Fleet,
    tried: Tried,
    facts: Facts,
    table: Assumptions,
    stays: tuple[Stays, Stays, Stays],
    limit_ms: float,
    memory_gib: int,
    rent_usd: float,
) -> None:
    """Any rules, goal, memory and rent: judged again from the same replays."""
    classes = zip(shops.data_classes, stays, strict=True)
    room = msgspec.structs.replace(shops.tiers["room"], usd_per_month=rent_usd)
    fleet = msgspec.structs.replace(
        shops,
        data_classes={name: Residency(stays=one) for name, one in classes},
        goals={**shops.goals, GoalName.LATENCY_MS_P95: limit_ms},
        tiers={**shops.tiers, "room": room},
    )
    known = replace(facts, memory_gib={**facts.memory_gib, "mini-pc": float(memory_gib)})
    found = decide(fleet, tried, known, table)
    for model, some in found.candidates.items():
        able = [one for one in some if not one.misses]
        if model in found.nowhere:  # it may go nowhere, or nowhere beside the others
            others = [
                [one for one in found.candidates[name] if not one.misses] for name in found.chosen
            ]
            together = itertools.product(able, *others)
            assert not any(place_module._fits(fleet, some, table) for some in together)
        else:
            chosen = found.chosen[model]
            assert chosen in able
            assert chosen.journeys.allowed == chosen.trial.sent
            assert chosen.trial.latency_ms(95) <= limit_ms
    alone = [one for one in found.chosen.values() if one.level is Level.LOCAL]
    assert sum(one.memory_ratio for one in alone) <= 1
