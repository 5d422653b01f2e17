"""The page of a plan: every figure in it, nothing fetched, words never markup."""

import base64
import re

import msgspec
import pytest

from skerry.proof.plan_page import plan_html
from skerry.proof.story_report import plain_text
from skerry.schema.assumption import Assumption
from skerry.schema.goal import Figure, GoalName, GoalRecord, Level
from skerry.schema.plan_report import (
    Advice,
    Answer,
    Bars,
    Lines,
    Map,
    Place,
    PlanReport,
    Regret,
    Section,
    Stack,
    Table,
    Tornado,
)

TABLE = Table(
    title="Rows of cost",
    heads=("row", "USD a month"),
    rows=(("hardware", 1234.5), ("power", None), ("a <b>bold</b> room", 3.25)),
)


def sample() -> PlanReport:
    figure = Figure(
        value=1.2, low=1.0, high=1.6, level=Level.ESTIMATE, source="replay", at_unix_s=0.0
    )
    return PlanReport(
        verb="cost",
        question="What does an answer cost?",
        lead="an answer at the edge costs 1.20 USD per 1,000",
        answer=Answer.YES,
        figures={"usd_per_1k_p50": 1.2, "tiers": ["edge", "cloud"]},
        advice=(
            Advice(
                choice="edge",
                reason="it is cheapest above 3 million requests a month",
                runner_up="cloud, 1.90 USD per 1,000",
                flip="requests fall below 1.1 million a month",
                regret=Regret(
                    chosen="edge",
                    best="cloud",
                    chosen_cost=12.0,
                    best_cost=10.0,
                    unit="USD",
                    ratio=0.2,
                    unseen="months 7 to 12",
                ),
            ),
        ),
        goals=(GoalRecord(name=GoalName.COST_USD_PER_1K, goal=1.5, predicted=figure),),
        sections=(
            Section(title="Bill", text="One month.", blocks=(TABLE,)),
            Section(
                title="Pictures",
                blocks=(
                    Bars(title="bars", unit="ms", rows=(("edge", 12.0), ("cloud", None)), limit=50),
                    Stack(
                        title="stack",
                        unit="USD",
                        parts=("machines", "resale"),
                        rows=(("edge", (10.0, -2.0)), ("cloud", (0.0, 0.0))),
                    ),
                    Lines(
                        title="lines",
                        x_unit="servers",
                        y_unit="s",
                        series=(
                            ("p50", tuple((float(x), 1000.0 / x) for x in range(1, 3000))),
                            ("p99", ((1.0, -5.0),)),
                        ),
                        limit=15,
                    ),
                    Tornado(
                        title="tornado",
                        unit="USD per 1,000",
                        centre=1.2,
                        rows=(("utilisation", 2.0, 0.9), ("price", 1.2, 1.2)),
                    ),
                    Map(
                        title="map",
                        places=(
                            Place(name="Oslo", latitude_deg=59.9, longitude_deg=10.7, role="open"),
                            Place(name="Bonn", latitude_deg=50.7, longitude_deg=7.1, role="demand"),
                        ),
                        links=((1, 0),),
                    ),
                ),
            ),
        ),
        assumptions=(
            Assumption(
                name="server_price_usd",
                value=600.0,
                low=500.0,
                high=800.0,
                unit="USD",
                level=Level.STATED,
                source="a <script> quote",
                as_of="2026-01-01",
            ),
        ),
        notes=("nothing was measured",),
        command="skerry plan cost",
        version="1",
    )


def test_every_part_of_a_report_is_on_its_page() -> None:
    words = plain_text(plan_html(sample()))
    for wanted in (
        "Yes. an answer at the edge",
        "1.2 USD per 1,000 p50",
        "Choose edge",
        "requests fall below 1.1 million a month",
        "Regret on months 7 to 12 20 %",
        "≤ 1.5",
        "hardware 1,234",
        "server_price_usd 600 500 to 800",
        "nothing was measured",
        "skerry plan cost",
    ):
        assert wanted in words, wanted


def test_each_chart_has_a_picture_a_title_and_its_table() -> None:
    page = plan_html(sample())
    assert page.count("<svg") == 6  # five charts and the goal's strip
    assert page.count("<summary>The same as a table") == 5
    for title in ("bars", "stack", "lines", "tornado", "map"):
        assert f"<title>{title}</title>" in page


def test_a_table_can_be_taken_out_whole() -> None:
    link = re.search(r'data:text/csv;base64,([^"]+)" download="Rows of cost', plan_html(sample()))
    assert link is not None
    text = base64.b64decode(link[1]).decode()
    assert text == "row,USD a month\nhardware,1234.5\npower,\na <b>bold</b> room,3.25\n"


def test_the_report_is_inside_its_page() -> None:
    inside = re.search(
        r'<script type="application/json" id="record">(.*?)</script>',
        plan_html(sample()),
        re.DOTALL,
    )
    assert inside is not None
    assert msgspec.json.decode(inside[1], type=PlanReport) == sample()


def test_words_from_outside_cannot_become_markup() -> None:
    page = plan_html(sample())
    assert "<b>bold" not in page
    assert "a <script>" not in page


def test_nothing_is_fetched() -> None:
    page = plan_html(sample())
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert "default-src 'none'" in page


def test_a_long_line_keeps_its_ends_and_its_peaks() -> None:
    points = tuple((float(x), 9.0 if x == 1234 else 1.0) for x in range(10_000))
    report = msgspec.structs.replace(
        sample(),
        sections=(
            Section(
                title="x",
                blocks=(Lines(title="l", x_unit="h", y_unit="W", series=(("w", points),)),),
            ),
        ),
    )
    page = plan_html(report)
    drawn = re.search(r'<polyline class="series s0" points="([^"]+)"', page)
    assert drawn is not None
    pairs = [tuple(map(float, pair.split(","))) for pair in drawn[1].split()]
    assert len(pairs) <= 900
    assert min(y for _, y in pairs) < 60 < max(y for _, y in pairs)  # the peak is drawn


@pytest.mark.parametrize("empty", [Bars, Stack, Lines, Tornado, Map])
def test_an_empty_chart_is_no_picture(empty: type) -> None:
    blocks = {
        Bars: Bars(title="t", unit="s", rows=()),
        Stack: Stack(title="t", unit="s", parts=(), rows=()),
        Lines: Lines(title="t", x_unit="s", y_unit="s", series=()),
        Tornado: Tornado(title="t", unit="s", centre=1.0, rows=()),
        Map: Map(title="t", places=()),
    }
    report = msgspec.structs.replace(
        sample(), goals=(), sections=(Section(title="x", blocks=(blocks[empty],)),)
    )
    assert "<svg" not in plan_html(report)
