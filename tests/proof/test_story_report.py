"""The story's page: whole, self-contained, honest about emulation, and made again from itself."""

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import click.testing
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.cli.report import command
from skerry.proof import charts
from skerry.proof.drills import ClientOutcome, DrillSeen, grade
from skerry.proof.errors import ReportInputError
from skerry.proof.story_report import plain_text, read_story, story_html
from skerry.proof.verdicts import judged_record
from skerry.schema.drill import DrillKind, DrillRecord
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.pilot import Comparison
from skerry.schema.story import (
    LatencyPoint,
    Mark,
    ReleaseNote,
    StoryRecord,
    StoryStep,
    TierRow,
)

AT = 1_763_900_000.0


def figure(value: float, low: float, high: float, level: Level) -> Figure:
    return Figure(value=value, low=low, high=high, level=level, source="sample", at_unix_s=AT)


def goal(
    name: GoalName, wanted: float | None, predicted: float, measured: float, baseline: float
) -> GoalRecord:
    level = (
        Level.ESTIMATE
        if name in (GoalName.ENERGY_WH_PER_1K, GoalName.CARBON_G_PER_1K, GoalName.COST_USD_PER_1K)
        else Level.EMULATED
    )
    most = 1.0 if name.value.endswith("_ratio") else math.inf
    return judged_record(
        name,
        wanted,
        measured=figure(
            measured, measured * 0.96, measured * 1.05 if measured < 1 else 1.04 * measured, level
        )
        if not name.value.endswith("_ratio")
        else figure(measured, measured - 0.004, min(1.0, measured + 0.003), level),
        baseline=figure(baseline, baseline * 0.95, min(baseline * 1.06, most), level),
        predicted=figure(predicted, predicted * 0.92, min(predicted * 1.08, most), Level.ESTIMATE),
        emulated=True,
    )


def drill(kind: DrillKind, target: str, **more: object) -> DrillRecord:
    outcomes = tuple(
        ClientOutcome(client=f"c{i % 4}", latency_ms=8 + 6 * abs(math.sin(i)), ok=True, local=True)
        for i in range(312)
    )
    fields: dict[str, object] = {
        "kind": kind,
        "target": target,
        "started_unix_s": AT,
        "duration_s": 8.4,
        "outcomes": outcomes,
        "healthy_ms": tuple(one.latency_ms for one in outcomes),
        "lost": 0,
        "twice": 0,
        "leaked": 0,
        "reverted": True,
        "rings_reached": 1,
        "refused": True,
        "changed": 0,
        "first_answer_s": 1.31,
        "others_alive": 0,
        "followed": 6,
        "nodes": 6,
        "timeline": (
            "0.0 s  fault on",
            "0.4 s  first answer under the fault, by the site itself",
            "8.4 s  fault off; 312 records arrived",
        ),
        **more,
    }
    return grade(DrillSeen(**fields))  # type: ignore[arg-type]


def sample(*, broken: bool = False, fleet: str = "clinic") -> StoryRecord:
    goals = (
        goal(GoalName.LATENCY_MS_P95, 50.0, 12.1, 13.4, 96.3),
        goal(GoalName.LOCAL_RATIO, 0.95, 1.0, 0.994, 0.0),
        goal(GoalName.COST_USD_PER_1K, 0.25, 0.19, 0.197, 0.41),
        goal(GoalName.ENERGY_WH_PER_1K, None, 3.4, 3.52, 4.0),
        goal(GoalName.CARBON_G_PER_1K, 2.0, 0.9, 0.94, 1.6),
        goal(GoalName.AVAILABILITY_RATIO, 0.999, 1.0, 0.9995, 1.0),
        goal(GoalName.UPSTREAM_BYTES_PER_1K, 1_000_000.0, 0.0, 50_400.0, 8_400_000.0),
    )
    kinds = list(
        zip(
            DrillKind,
            (
                "oslo",
                "hamburg",
                "oslo/2",
                "region-eu",
                "cloud",
                "oslo",
                "bergen",
                "bergen",
                "central",
            ),
            strict=True,
        )
    )
    return StoryRecord(
        fleet=fleet,
        at_unix_s=AT,
        duration_s=171.4,
        machine="2 cores, AMD EPYC, 23 GB, Linux 6.1, Python 3.11",
        version="0.1.0",
        seed=7,
        steps=(
            StoryStep(name="init", duration_s=0.4, text="fleet.yaml: 5 sites, 2 models"),
            StoryStep(name="model add", duration_s=6.2, text="magika 14, magika-small 3, checked"),
            StoryStep(name="check", duration_s=0.3, text="ok, 1 note"),
            StoryStep(name="plan", duration_s=2.1, text="20,000 requests, 5 seeds"),
            StoryStep(name="up", duration_s=14.8, text="8 processes answered a test input"),
            StoryStep(name="traffic", duration_s=41.0, text="2,400 files"),
            StoryStep(name="drills", duration_s=63.9, text="8 of 8 passed"),
            StoryStep(
                name="change",
                duration_s=18.3,
                text="committed; the bad one reverted",
                ok=not broken,
            ),
            StoryStep(name="pilot", duration_s=22.0, text="2 x 1,000 requests"),
            StoryStep(name="verdict", duration_s=2.4),
        ),
        tiers=(
            TierRow(
                tier="closet",
                requests=2210,
                failed=0,
                local_ratio=0.994,
                latency_ms_p50=8.4,
                latency_ms_p95=13.4,
                latency_ms_p99=18.9,
                offered_per_s=52.0,
                accuracy_ratio=0.973,
            ),
            TierRow(
                tier="room",
                requests=160,
                failed=0,
                local_ratio=1.0,
                latency_ms_p50=9.1,
                latency_ms_p95=31.2,
                latency_ms_p99=38.0,
                offered_per_s=4.0,
                accuracy_ratio=0.969,
            ),
            TierRow(
                tier="cloud",
                requests=30,
                failed=0,
                local_ratio=None,
                latency_ms_p50=88.0,
                latency_ms_p95=96.3,
                latency_ms_p99=101.0,
                offered_per_s=0.7,
                accuracy_ratio=None,
            ),
        ),
        goals=goals,
        comparisons=(
            Comparison(
                name=GoalName.LATENCY_MS_P95,
                difference=-82.9,
                low=-85.0,
                high=-80.1,
                confidence=0.95,
                word="lower",
            ),
            Comparison(
                name=GoalName.ENERGY_WH_PER_1K,
                difference=-0.48,
                low=-0.9,
                high=0.1,
                confidence=None,
                word="no difference",
            ),
        ),
        drills=tuple(
            drill(kind, target, **({"lost": 2} if broken and kind is DrillKind.NODE_KILL else {}))
            for kind, target in kinds
        ),
        releases=(
            ReleaseNote(
                change="magika 14 to 15",
                outcome="committed",
                duration_s=9.1,
                text="two rings, gate held",
                rings_reached=2,
            ),
            ReleaseNote(
                change="magika 15 to 16",
                outcome="reverted",
                duration_s=6.2,
                text="errors 31 % above the gate's 1 % in the first ring",
                rings_reached=1,
            ),
        ),
        latency=tuple(
            LatencyPoint(
                at_s=float(i), latency_ms_p95=12 + 3 * math.sin(i / 5) + (14 if 40 < i < 46 else 0)
            )
            for i in range(0, 120, 2)
        ),
        marks=(
            Mark(at_s=42, text="node-kill oslo/2"),
            Mark(at_s=70, text="wan-cut oslo"),
            Mark(at_s=96, text="release reverted"),
        ),
        facts={
            "Agent memory": "48 MB (measured)",
            "Worker memory": "112 MB (measured)",
            "Raw bytes upstream": "0 B (measured)",
        },
        limits=("Round trips between sites were emulated.",),
        processes_left=0,
        verdict="5 of 6 goals met; 1 unknown (emulated: no verdict here is a measured one).",
        exit_code=1 if broken else 0,
        exit_reason="drill node-kill lost 2 records" if broken else "every promise held",
    )


@pytest.fixture(scope="module")
def page() -> str:
    return story_html(sample())


def test_nothing_is_fetched_and_no_script_runs(page: str) -> None:
    assert len(page.encode()) < 1_000_000
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", page)
    assert not re.search(r"url\(|@import|https?://", page)
    scripts = re.findall(r"<script[^>]*>", page)
    assert scripts == ['<script type="application/json" id="record">']
    assert not re.search(r"\son[a-z]+\s*=", page)


def test_the_page_holds_every_figure_with_unit_and_level(page: str) -> None:
    words = plain_text(page)
    for wanted in (
        "Every promise held.",
        "13.4",
        "p95, ms",
        "2,210",
        "97.3 %",
        "wan cut",
        "forged update",
        "magika 15 to 16",
        "48 MB (measured)",
        "met (emulated)",
        "estimate",
        "Emulated: links between sites were emulated",
    ):
        assert wanted in words, wanted


def test_every_chart_has_its_words_and_its_table(page: str) -> None:
    assert page.count("<svg") == page.count("</svg>") == page.count('role="img"')
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(svg)
        assert re.search(r'aria-label="[^"]+"', svg)
    assert "The same as a table" in page


def test_a_broken_promise_is_the_first_thing_said() -> None:
    words = plain_text(story_html(sample(broken=True)))
    assert "A promise was broken." in words
    assert "Every promise held." not in words
    assert "drill node-kill lost 2 records" in words
    assert "8 / 9" in words


def test_words_from_outside_cannot_become_markup() -> None:
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(1)">'
    story = msgspec.structs.replace(
        sample(fleet=evil), marks=(Mark(at_s=1.0, text=evil),), facts={evil: evil}
    )
    story = msgspec.structs.replace(
        story, tiers=(msgspec.structs.replace(story.tiers[0], tier=evil),)
    )
    page = story_html(story)
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("</script>") == 1


def test_the_page_is_made_again_from_its_json_and_from_itself(tmp_path: Path) -> None:
    record, page, again = tmp_path / "story.json", tmp_path / "a.html", tmp_path / "b.html"
    record.write_bytes(msgspec.json.encode(sample()))
    runner = click.testing.CliRunner()
    for source, out in ((record, page), (page, again)):
        done = runner.invoke(
            command, ["story", "--from", str(source), "--out", str(out)], catch_exceptions=False
        )
        assert done.exit_code == 0
    assert page.read_bytes() == again.read_bytes()
    assert read_story(again) == sample()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "malformed|truncated"),
        ('{"schema": "skerry.story/1"}', "missing required field"),
        ("<html><body>another page</body></html>", "malformed"),
    ],
)
def test_a_file_that_is_no_story_is_refused_with_the_way_out(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "story.json"
    path.write_text(text)
    with pytest.raises(ReportInputError, match=message) as caught:
        read_story(path)
    assert "skerry demo" in caught.value.hint


def test_a_record_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "story.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(sample(), schema="other/1")))
    with pytest.raises(ReportInputError, match=r"wanted 'skerry\.story/1'"):
        read_story(path)
    with pytest.raises(ReportInputError, match="No such file"):
        read_story(tmp_path / "absent.json")


def test_an_empty_story_still_makes_a_page() -> None:
    empty = msgspec.structs.replace(
        sample(),
        steps=(),
        tiers=(),
        goals=(),
        comparisons=(),
        drills=(),
        releases=(),
        latency=(),
        marks=(),
        facts={},
    )
    assert "0 / 0" in plain_text(story_html(empty))


@given(st.floats(1e-6, 1e9), st.integers(2, 9))
def test_ticks_start_at_0_cover_the_most_and_are_evenly_spaced(most: float, wanted: int) -> None:
    ticks = charts.nice_ticks(most, wanted)
    assert ticks[0] == 0
    assert ticks[-1] >= most * (1 - 1e-6)
    assert 2 <= len(ticks) <= wanted + 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (13.44, "13.4"),
        (8_400_000, "8,400,000"),
        (0.19712, "0.197"),
        (-82.9, "-82.9"),
        (50, "50"),
        (1e-9, "0"),
    ],
)
def test_numbers_keep_three_digits_that_matter(value: float, text: str) -> None:
    assert charts.number(value) == text


def test_a_chart_without_values_draws_nothing() -> None:
    assert charts.line_chart([], title="t", x_unit="s", y_unit="ms") == ""
    assert charts.bar_chart([("a", None)], title="t", unit="ms") == ""
    assert charts.dot_strip([], title="t", goal=1.0, at_least=False) == ""
