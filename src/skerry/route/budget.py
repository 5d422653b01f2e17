"""The budget that all further attempts of a router share: retries and hedges alike."""

from skerry.route import decide


class RetryBudget:
    """A token bucket: each request that is sent away earns a share, each attempt more costs one."""

    __slots__ = ("_at_s", "_burst", "_per_s", "_ratio", "tokens")

    def __init__(self, *, ratio: float, per_s: float, burst: float) -> None:
        self._ratio, self._per_s, self._burst = ratio, per_s, burst
        self.tokens = burst
        self._at_s = 0.0

    def earn(self, now_s: float) -> None:
        """Count one request."""
        self.tokens = decide.budget_earned(
            self.tokens, now_s - self._at_s, self._ratio, self._per_s, self._burst
        )
        self._at_s = now_s

    def spend(self) -> bool:
        """Take a token for one more attempt; False if there is none."""
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
