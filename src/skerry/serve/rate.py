"""A model's rate limit: a token bucket that is filled by the clock.

    tokens grow by rate_per_s up to burst; a request takes one, or hears when one is there

Units:   seconds on the clock's monotonic scale, requests.
"""


class TokenBucket:
    """Admits `rate_per_s` requests in the long run and `burst` of them at once."""

    __slots__ = ("_at_s", "_burst", "_rate_per_s", "_tokens")

    def __init__(self, rate_per_s: float, burst: int, now_s: float) -> None:
        self._rate_per_s, self._burst = rate_per_s, float(burst)
        self._tokens, self._at_s = float(burst), now_s

    def wait_s(self, now_s: float) -> float:
        """Take a token and return 0; where there is none, return when there will be one."""
        tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s
        if tokens >= 1:
            self._tokens = tokens - 1
            return 0.0
        self._tokens = tokens
        return (1 - tokens) / self._rate_per_s
