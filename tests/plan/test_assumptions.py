"""Assumptions: shipped rows are sound, the user's replace them, and use is remembered."""

import datetime
from importlib.resources import files
from pathlib import Path

import pytest

from skerry.base.errors import Exit
from skerry.plan import assumptions as module
from skerry.plan.assumptions import COLUMNS, Assumptions, assumptions, shipped
from skerry.plan.errors import AssumptionError
from skerry.schema.assumption import Assumption
from skerry.schema.goal import Level

HEAD = ",".join(COLUMNS)
TABLES = [
    path.name.removesuffix(".csv")
    for path in files("skerry.plan").joinpath("tables").iterdir()
    if path.name.endswith(".csv") and HEAD in path.read_text("utf-8")
]


def row(name: str, value: float) -> Assumption:
    return Assumption(
        name=name,
        value=value,
        low=value,
        high=value,
        unit="USD",
        level=Level.STATED,
        source="a quote",
        as_of="2026-01-01",
    )


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row("server_price_usd", 600.0), row("power_usd_per_kwh", 0.2)]
    monkeypatch.setattr(module, "shipped", lambda *tables: rows)


def test_every_shipped_row_has_a_unit_a_source_and_a_date() -> None:
    for table in TABLES:
        rows = shipped(table)
        assert rows, table
        assert len({one.name for one in rows}) == len(rows), table
    for one in shipped(*TABLES):
        assert one.unit, one.name
        assert len(one.source) > 5, one.name
        assert datetime.date.fromisoformat((one.as_of + "-01-01")[:10]), one.name


def test_use_is_remembered_in_order() -> None:
    rows = Assumptions([row("a_usd", 1.0), row("b_usd", 2.0), row("c_usd", 3.0)])
    assert rows["c_usd"] + rows["a_usd"] == 4.0
    assert [one.name for one in rows.used()] == ["c_usd", "a_usd"]


@pytest.mark.usefixtures("two")
def test_the_users_values_replace_the_shipped_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"{HEAD}\npower_usd_per_kwh,0.3,0.2,0.4,USD,measured,invoice,2026-05-01\n")
    rows = assumptions("any", path=path, settings=["server_price_usd=400..500..900"])
    assert rows["power_usd_per_kwh"] == 0.3
    price = rows.row("server_price_usd")
    assert (price.low, price.value, price.high, price.source) == (400, 500, 900, "--set")
    assert assumptions("any", settings=["server_price_usd=5"]).row("server_price_usd").low == 5


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("setting", "said", "hint"),
    [
        ("server_prise_usd=1", "server_prise_usd is not an input", "mean: server_price_usd"),
        ("server_price_usd=cheap", "cannot be 'cheap', wanted NAME=VALUE", "every input"),
        ("server_price_usd=3..2..1", "cannot be '3..2..1'", ""),
        ("server_price_usd=nan", "cannot be 'nan'", ""),
        ("server_price_usd", "cannot be ''", ""),
    ],
)
def test_a_setting_that_cannot_be_is_named(setting: str, said: str, hint: str) -> None:
    with pytest.raises(AssumptionError) as raised:
        assumptions("any", settings=[setting])
    assert said in str(raised.value)
    assert hint in raised.value.hint
    assert raised.value.exit_code == Exit.WRONG_USE


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,value\nx,1\n", "has the columns 'name,value'"),
        (f"{HEAD}\nserver_price_usd,5,6,7,USD,stated,s,2026\n", "wanted low <= value <= high"),
        (f"{HEAD}\nserver_price_usd,many,,,USD,stated,s,2026\n", "could not convert"),
        (f"{HEAD}\nserver_price_usd,1,,,USD,guessed,s,2026\n", "'guessed' is not a valid Level"),
        (f"{HEAD}\nother_usd,1,,,USD,stated,s,2026\n", "other_usd is not an input"),
    ],
)
def test_a_file_of_assumptions_is_checked(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(AssumptionError, match=said):
        assumptions("any", path=path)


@pytest.mark.usefixtures("two")
def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssumptionError, match=r"none\.csv .*No such file"):
        assumptions("any", path=tmp_path / "none.csv")
