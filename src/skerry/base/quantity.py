"""Quantities as people write them: `1.8 kW`, `50 ms`, `95 %`, `0.25 USD`.

Files that people write carry the unit in the value; everything inside carries it in
the field's name. `parse_quantity(text, unit)` turns the first into the second, and
refuses a unit of another kind, so that a power can never be read as an energy and a
bare number never gets a unit by guess.

Units:   each table below is one kind; a value converts only within its kind. Factors
         are exact decimals, so `50 ms` in `ms` is exactly 50.0.
Errors:  QuantityError, for text without a number, without a unit, or of another kind.
Source:  SI prefixes (powers of 1000 for W, Wh, bit and B; `KiB`, `MiB`, `GiB` are
         powers of 1024, IEC 80000-13).
"""

import math
import re
from decimal import Decimal, localcontext
from difflib import get_close_matches

from skerry.base.errors import Exit, SkerryError

KINDS: dict[str, dict[str, Decimal]] = {
    "power": {"mW": Decimal("0.001"), "W": Decimal(1), "kW": Decimal(1000), "MW": Decimal(10**6)},
    "energy": {"Wh": Decimal(1), "kWh": Decimal(1000), "MWh": Decimal(10**6)},
    "time": {
        "us": Decimal("0.000001"),
        "ms": Decimal("0.001"),
        "s": Decimal(1),
        "min": Decimal(60),
        "h": Decimal(3600),
        "d": Decimal(86_400),
    },
    "share": {"%": Decimal("0.01"), "1": Decimal(1)},
    "bandwidth": {
        "bit/s": Decimal(1),
        "kbit/s": Decimal(1000),
        "Mbit/s": Decimal(10**6),
        "Gbit/s": Decimal(10**9),
    },
    "size": {
        "B": Decimal(1),
        "kB": Decimal(1000),
        "MB": Decimal(10**6),
        "GB": Decimal(10**9),
        "KiB": Decimal(1024),
        "MiB": Decimal(1024**2),
        "GiB": Decimal(1024**3),
    },
    "money": {"USD": Decimal(1)},
    "energy price": {"USD/kWh": Decimal(1)},
    "mass": {"mg": Decimal("0.001"), "g": Decimal(1), "kg": Decimal(1000), "t": Decimal(10**6)},
    "carbon intensity": {"g/kWh": Decimal(1), "kg/kWh": Decimal(1000)},
    "temperature": {"C": Decimal(1)},
    "ratio": {"": Decimal(1)},
}
"""Kind to its units; each factor is the unit's size in the kind's own unit."""

EXAMPLES: dict[str, str] = {
    "power": "1.8 kW",
    "energy": "3 Wh",
    "time": "50 ms",
    "share": "95 %",
    "bandwidth": "20 Mbit/s",
    "size": "64 kB",
    "money": "0.25 USD",
    "energy price": "0.30 USD/kWh",
    "mass": "2 g",
    "carbon intensity": "400 g/kWh",
    "temperature": "35 C",
    "ratio": "1.2",
}
"""One quantity of each kind, as an error shows it."""

_KIND_OF = {unit: kind for kind, units in KINDS.items() for unit in units}
_TEXT = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?) ?([^\s\d.+-][^\s]{0,15})?")
_TEXT_LEN_MAX = 64


class QuantityError(SkerryError):
    """A quantity that cannot be read as the kind that was wanted.

    Write the number, a space and the unit: `1.8 kW`, `50 ms`, `95 %`, `20 Mbit/s`,
    `15 min`, `0.25 USD`, `400 g/kWh`, `64 kB`. Units are case-sensitive, because
    `mW` and `MW` differ by a factor of a thousand million.
    """

    code = "E0011"
    exit_code = Exit.FILE_INVALID

    def __init__(self, text: str, kind: str, reason: str, advice: str = "") -> None:
        super().__init__(text, kind, reason, advice)
        self.text, self.kind, self.reason, self.advice = text, kind, reason, advice

    def __str__(self) -> str:
        return f"`{self.text}` {self.reason}, wanted a {self.kind} such as `{EXAMPLES[self.kind]}`"

    @property
    def hint(self) -> str:
        """The nearest unit, where one is near."""
        return self.advice


def parse_quantity(text: str | float, unit: str) -> float:
    """Return the quantity in the given unit; `unit` must be one of `KINDS`.

    A bare number is taken only where the kind has no unit (a ratio such as a PUE).
    """
    kind = _KIND_OF[unit]
    written = str(text).strip()
    match = _TEXT.fullmatch(written) if len(written) <= _TEXT_LEN_MAX else None
    if match is None:
        shown = written if len(written) <= _TEXT_LEN_MAX else written[:_TEXT_LEN_MAX] + "..."
        raise QuantityError(shown, kind, "is not a quantity")
    number, found = Decimal(match[1]), match[2] or ""
    factor = KINDS[kind].get(found)
    if factor is None:
        raise _unit_error(written, match[1], found, kind)
    with localcontext() as context:
        context.prec = 40
        value = float(number * factor / KINDS[kind][unit])
    if not math.isfinite(value):
        raise QuantityError(written, kind, "is too large a number")
    return value


def _unit_error(written: str, number: str, found: str, kind: str) -> QuantityError:
    """Say what is wrong with a unit: none, of another kind, or misspelt."""
    if not found:
        return QuantityError(written, kind, "has no unit")
    other = _KIND_OF.get(found)
    if other is not None:
        return QuantityError(written, kind, f"measures {other}")
    by_case = [unit for unit in KINDS[kind] if unit.casefold() == found.casefold()]
    near = by_case or get_close_matches(found, KINDS[kind], n=1, cutoff=0.5)
    # With `mw` both mW and MW are near: naming one would be a guess of a factor of 1e9.
    advice = " or ".join(f"`{number} {unit}`" for unit in near if unit)
    return QuantityError(
        written,
        kind,
        f"has the unknown unit `{found}`",
        f"did you mean {advice}?" if advice else "",
    )


def format_quantity(value: float, unit: str) -> str:
    """Write a value of a unit as people would: `format_quantity(1800.0, "W")` is `1.8 kW`.

    Reading the text back gives exactly the same value. The largest unit of the kind
    that keeps the number at 1 or above and at most six digits long is taken.
    """
    if not unit:
        return _plain(Decimal(repr(value)))
    units = KINDS[_KIND_OF[unit]]
    exact = Decimal(repr(value)) * units[unit]
    best = "%" if unit == "1" else unit
    for name, factor in sorted(units.items(), key=lambda pair: pair[1]):
        short = exact / factor
        if (
            name != "1"
            and abs(short) >= 1
            and len(_plain(short)) <= 7
            and _reads_back(short, name, unit, value)
        ):
            best = name
    return f"{_plain(exact / units[best])} {best}"


def _reads_back(number: Decimal, name: str, unit: str, value: float) -> bool:
    """Tell whether a number in one unit reads back as exactly this value in another."""
    return parse_quantity(f"{_plain(number)} {name}", unit) == value


def _plain(number: Decimal) -> str:
    """Write a decimal with no trailing zeros, and no exponent while it stays short."""
    short = number.normalize()
    text = f"{short:f}"
    return text if len(text) <= 24 else f"{short:e}"
