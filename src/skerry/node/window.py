"""What a node served lately: the numbers behind its status and behind the gate of a swap.

Keeps the last minute of requests, at most `REQUESTS_MAX` of them; exact quantiles, since
a minute of one node fits in memory.

Units: milliseconds for latencies, unix milliseconds for times.
"""

from collections import deque
from collections.abc import Iterable

from skerry.base.units import MS_PER_SECOND, SECONDS_PER_MINUTE, US_PER_SECOND
from skerry.schema.observed import Window
from skerry.schema.records import Outcome, RequestRecord

SPAN_MS = SECONDS_PER_MINUTE * MS_PER_SECOND
REQUESTS_MAX = 20_000
_US_PER_MS = US_PER_SECOND // MS_PER_SECOND


class RecentRequests:
    """The last minute of one node's requests."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._records: deque[RequestRecord] = deque(maxlen=REQUESTS_MAX)

    def add(self, records: Iterable[RequestRecord]) -> None:
        """Take newer records in, let old ones go."""
        self._records.extend(records)
        if not self._records:
            return
        oldest_ms = self._records[-1].at_unix_ms - SPAN_MS
        while self._records[0].at_unix_ms < oldest_ms:
            self._records.popleft()

    def window(self, *, from_unix_ms: int, to_unix_ms: int, slow_ms: float | None = None) -> Window:
        """Summarise a span; `slow_ms` is the limit beyond which an answer counts as slow.

        Refused requests are neither errors nor latencies: the client was told why at once.
        """
        first_ms = max(from_unix_ms, to_unix_ms - SPAN_MS)
        chosen = [record for record in self._records if first_ms <= record.at_unix_ms <= to_unix_ms]
        answered = sorted(r.latency_us for r in chosen if r.outcome is Outcome.OK)
        return Window(
            duration_s=(to_unix_ms - first_ms) / MS_PER_SECOND,
            requests=len(chosen),
            errors=sum(record.outcome is Outcome.FAILED for record in chosen),
            local=sum(record.served_site == self._site for record in chosen),
            latency_ms_p50=_quantile_ms(answered, 0.50),
            latency_ms_p95=_quantile_ms(answered, 0.95),
            slow=None if slow_ms is None else sum(us > slow_ms * _US_PER_MS for us in answered),
        )


def _quantile_ms(sorted_us: list[int], q: float) -> float | None:
    if not sorted_us:
        return None
    return sorted_us[min(len(sorted_us) - 1, int(q * len(sorted_us)))] / _US_PER_MS
