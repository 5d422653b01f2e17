"""What a log, a trace or a bill asks of machines: mean work, its peak, bytes going out.

    busy servers = requests per second * seconds of work per request      (Little's law)
    peak         = the busiest minute's work over the mean work of a minute

A bill names no requests: what it paid for compute, over the price of a vCPU hour, is how
many vCPU it kept; the busy share of those is the work.

Units:   seconds, bytes, tokens, USD a month. Rates are those of the file; what months to
         come bring is an input (`traffic_ratio`).
Errors:  WorthError, where there is no rate.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from skerry.base.units import SECONDS_PER_MINUTE
from skerry.plan.worth.cloud_bill import Kind
from skerry.plan.worth.errors import WorthError
from skerry.plan.worth.usage import Usage

Series = NDArray[np.float64]
MINUTES_MAX: Final = 20_000_000  # 38 years; a log beyond has a time that is wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is asked, on average over the file's span. NaN where the file does not say."""

    span_s: float
    requests_per_s: float = math.nan
    took_s: float = math.nan
    """Mean duration of a request; work alone where `took_is_work`."""
    took_is_work: bool = False
    context_tokens: float = math.nan
    generated_tokens: float = math.nan
    sent_bytes: float = math.nan
    peak_ratio: float = math.nan
    billed_usd: dict[Kind, float] | None = None
    """USD a month that the cloud asks for what could move, by kind."""

    @property
    def on_accelerators(self) -> bool:
        """Whether the work is a language model's."""
        return not math.isnan(self.generated_tokens)


def demand_of(usage: Usage) -> Demand:
    """Return what a whole file asks."""
    if usage.bill is not None:
        spent = usage.bill.usd_per_month
        return Demand(span_s=math.nan, billed_usd={kind: max(spent[kind], 0.0) for kind in Kind})
    return _requests(usage, 0, None)


def halves_of(usage: Usage) -> tuple[Demand, Demand, str] | None:
    """Return what the first and the second half ask, and what the second is in words.

    None where a half says too little: under two months of a bill, or under a minute.
    """
    if usage.bill is not None:
        months = usage.bill.by_month
        if len(months) < 2:
            return None
        cut = len(months) // 2
        parts = (months[:cut], months[cut:])
        first, second = (
            Demand(
                span_s=math.nan,
                billed_usd={
                    kind: max(sum(spent[kind] for _, spent in part) / len(part), 0.0)
                    for kind in Kind
                },
            )
            for part in parts
        )
        return first, second, f"{months[cut][0]} to {months[-1][0]} of {usage.path}"
    if usage.requests is None:
        return None
    at_s = usage.requests.at_s
    middle = int(np.searchsorted(at_s, (at_s[0] + at_s[-1]) / 2))
    if at_s[-1] - at_s[0] < 2 * SECONDS_PER_MINUTE or min(middle, len(at_s) - middle) < 2:
        return None
    return (
        _requests(usage, 0, middle),
        _requests(usage, middle, None),
        f"the second half of {usage.path} ({_span_text(float(at_s[-1] - at_s[middle]))})",
    )


def _requests(usage: Usage, first: int, last: int | None) -> Demand:
    assert usage.requests is not None  # noqa: S101 - a bill has gone another way
    part = slice(first, last)
    at_s = usage.requests.at_s[part]
    # The mean gap is added, as the last request stands for the time until the next.
    span_s = float(at_s[-1] - at_s[0]) * len(at_s) / max(len(at_s) - 1, 1)
    if span_s <= 0:
        advice = "give a log of at least some minutes; of four weeks, better"
        raise WorthError(usage.path, f"{len(at_s)} request(s) at one time give no rate", advice)
    took_s = usage.requests.took_s[part]
    tokens = [
        None if one is None else one[part] for one in (usage.context_tokens, usage.generated_tokens)
    ]
    context, generated = tokens
    weight = generated if generated is not None else took_s
    return Demand(
        span_s=span_s,
        requests_per_s=len(at_s) / span_s,
        took_s=_mean(took_s),
        took_is_work=usage.times_are_service,
        context_tokens=0.0 if context is None else _mean(context),
        generated_tokens=math.nan if generated is None else _mean(generated),
        sent_bytes=_mean(usage.requests.sent_bytes[part]),
        peak_ratio=_peak_ratio(usage.path, at_s, weight),
    )


def _peak_ratio(path: str, at_s: Series, weight: Series) -> float:
    """Return the busiest minute's work over the mean of all minutes, 1 or more."""
    minutes = (at_s - at_s[0]) / SECONDS_PER_MINUTE
    if minutes[-1] > MINUTES_MAX:
        why = f"the times span {_span_text(float(at_s[-1] - at_s[0]))}"
        raise WorthError(path, why, "look for a line whose year is wrong")
    weight = weight if np.isfinite(weight).all() and weight.sum() > 0 else np.ones(len(at_s))
    work = np.bincount(minutes.astype(np.int64), weights=weight)
    # A last minute that has just begun would pull the mean down.
    return float(work.max() / (work.sum() / max(minutes[-1], 1.0))) if minutes[-1] > 1 else 1.0


def _mean(values: Series) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _span_text(span_s: float) -> str:
    for unit, size_s in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if span_s >= 2 * size_s:
            return f"{span_s / size_s:.3g} {unit}"
    return f"{span_s:.3g} s"
