"""Tables that ship with skerry: grid carbon by country, machine types, country codes.

Every figure is *stated*, with its source in the table's own head. A fleet file may
override any of them.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from skerry.schema.fleet import Machine


@dataclass(frozen=True, slots=True)
class GridZone:
    """The yearly mean carbon intensity of one country's electricity, life cycle."""

    zone: str
    year: int
    g_per_kwh: float

    @property
    def source(self) -> str:
        """Where the figure comes from, as reports print it."""
        return f"stated: Our World in Data / Ember {self.year} via CodeCarbon"


def _rows(name: str) -> list[dict[str, str]]:
    text = files("skerry.fleet").joinpath("tables", name).read_text("utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@cache
def grid_zones() -> dict[str, GridZone]:
    """Return the built-in grid table, by zone (ISO 3166-1 alpha-2)."""
    return {
        row["zone"]: GridZone(row["zone"], int(row["year"]), float(row["g_per_kwh"]))
        for row in _rows("grid.csv")
    }


@cache
def machine_types() -> dict[str, Machine]:
    """Return the built-in machine types, by name."""
    return {
        row["name"]: Machine(
            name=row["name"],
            idle_w=float(row["idle_w"]),
            busy_w=float(row["busy_w"]),
            price_usd=float(row["price_usd"]),
            life_years=float(row["life_years"]),
            source=row["source"],
        )
        for row in _rows("machines.csv")
    }


COUNTRIES: frozenset[str] = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR
    BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ
    EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW
    GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY
    KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV
    MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY
    QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG
    TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM
    ZW
    """.split()
)
"""ISO 3166-1 alpha-2 codes in use."""
