"""Contracts for electricity, read from a file: what the market-based method counts first.

One row per instrument: its energy in `kwh`, or as `share` of what is used; its factor in
`g_per_kwh`. A row whose `kind` is `residual` holds the residual mix instead: the factor of
whatever no contract covers.

Errors:  ColumnError with row and column.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skerry.energy.account import Contract
from skerry.plan.columns import Number, Text, read_columns
from skerry.plan.energy.signals import FACTOR_MAX

CONTRACT, RESIDUAL = "contract", "residual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruments:
    """Contracts in the order of the file, and the residual mix where it is known."""

    contracts: tuple[Contract, ...] = ()
    residual_g_per_kwh: float | None = None


def read_instruments(path: Path, *, used_kwh: float) -> Instruments:
    """Read instruments; shares are of `used_kwh`."""
    amount = Number(low=0, may_be_empty=True)
    read = read_columns(
        path,
        {"instrument": Text(), "g_per_kwh": Number(low=0, high=FACTOR_MAX)},
        optional={
            "kind": Text(one_of=frozenset({CONTRACT, RESIDUAL}), may_be_empty=True),
            "kwh": amount,
            "share": Number(low=0, high=1, may_be_empty=True),
        },
    )
    none = np.full(len(read), np.nan)
    kwh, share = read.numbers.get("kwh", none), read.numbers.get("share", none)
    kinds = read.texts.get("kind", [CONTRACT] * len(read))
    contracts: list[Contract] = []
    seen: set[str] = set()
    residual: float | None = None
    for row, name in enumerate(read.texts["instrument"]):
        factor = float(read.numbers["g_per_kwh"][row])
        has_kwh, has_share = not np.isnan(kwh[row]), not np.isnan(share[row])
        if kinds[row] == RESIDUAL:
            if residual is not None:
                raise read.error(row, "kind", "a second residual mix", "one for the whole file")
            residual = factor
            continue
        if has_kwh == has_share:
            found = "both" if has_kwh else "neither"
            raise read.error(row, "kwh", f"{found} of kwh and share", "one of the two")
        if name in seen:
            raise read.error(row, "instrument", f"{name!r} again", "a name used once")
        seen.add(name)
        energy = float(kwh[row]) if has_kwh else float(share[row]) * used_kwh
        contracts.append(Contract(name=name, kwh=energy, g_per_kwh=factor))
    return Instruments(contracts=tuple(contracts), residual_g_per_kwh=residual)
