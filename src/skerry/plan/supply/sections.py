"""The parts of a supply report that are made of rows alone: heads, words, pictures."""

from collections.abc import Mapping, Sequence

import msgspec

from skerry.plan.supply.risk import PARTS_OF_SCORE, Score
from skerry.schema.plan_report import Bars, Cell, Section, Table


def score_row(score: Score) -> dict[str, object]:
    """Return a score as `--json` prints it."""
    return {
        "name": score.name,
        "vendor": score.vendor,
        "score": score.total,
        "worst": score.worst,
        "source": score.source,
        **{f"{name}_score": value for name, value in score.parts.items()},
    }


def score_section(parts: Sequence[Score], vendors: Sequence[Score]) -> Section:
    """Show parts and vendors, the worst first."""

    def table(title: str, scores: Sequence[Score]) -> Table:
        return Table(
            title=title,
            heads=("name", "vendor", "score", *PARTS_OF_SCORE, "source"),
            rows=tuple(
                (s.name, s.vendor, s.total, *(s.parts[name] for name in PARTS_OF_SCORE), s.source)
                for s in scores
            ),
        )

    return Section(
        title="Scores",
        text="0 is nothing to fear, 1 the worst on every count. A score orders worries; it is"
        " no probability.",
        blocks=(
            Bars(
                title="Parts by risk",
                unit="of 1",
                rows=tuple((score.name, score.total) for score in parts[:20]),
            ),
            table("Parts", parts),
            table("Vendors", vendors),
        ),
    )


def moved_section(moved: Sequence[tuple[str, float, float]]) -> Section:
    """Show the scores that moved since the facts given as earlier ones."""
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, old, new, f"{new - old:+.2f}") for name, old, new in moved
    )
    return Section(
        title="What changed",
        blocks=(Table(title="Scores that moved", heads=("name", "was", "is", "by"), rows=rows),),
    )


def spares_section(rows: Sequence[Mapping[str, object]], service_level: float) -> Section:
    """Show the stock of each part."""
    return Section(
        title="Spares",
        text=f"The least stock that runs out in at most {1 - service_level:.1%} of"
        " moments, while replacements are on their way.",
        blocks=(table_of("Stock", rows, ("part", "mean demand, units", "stock, units", "USD")),),
    )


def redundancy_section(rows: Sequence[Mapping[str, object]]) -> Section:
    """Show how likely it is that enough units are up."""
    return Section(
        title="Redundancy",
        text="How likely it is that enough units are up, where they fail independently.",
        blocks=(
            Table(
                title="k of n",
                heads=("what", "needed", "units", "each", "together", "down, hours a year"),
                rows=tuple(
                    (
                        str(row["what"]),
                        str(row["needed"]),
                        str(row["units"]),
                        f"{row['each_ratio']:.6%}",
                        f"{row['availability_ratio']:.6%}",
                        float(str(row["down_hours_per_year"])),
                    )
                    for row in rows
                ),
            ),
        ),
    )


def table_of(title: str, rows: Sequence[Mapping[str, object]], heads: tuple[str, ...]) -> Table:
    """Return rows of equal keys as a table under these heads."""
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        msgspec.convert(tuple(row.values()), tuple[str | float | int | None, ...]) for row in rows
    )
    return Table(title=title, heads=heads, rows=cells)
