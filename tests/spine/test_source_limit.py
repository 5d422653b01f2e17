"""An address that is wrong too often waits; one that is right never does."""

import pytest

from skerry.spine import source_limit
from skerry.spine.source_limit import SourceLimit, TooManyRefusedError
from skerry.testing.clock import ManualClock


def test_wrong_calls_fill_a_bucket_that_drains_with_time() -> None:
    clock = ManualClock()
    limit = SourceLimit(clock)
    for _ in range(int(source_limit.WRONG_MAX)):
        limit.check("10.0.0.1")
        limit.count("10.0.0.1")
    with pytest.raises(TooManyRefusedError, match="TOO_MANY_REFUSED"):
        limit.check("10.0.0.1")
    limit.check("10.0.0.2")
    clock.advance(1)
    limit.check("10.0.0.1")


def test_the_table_is_bounded_and_forgets_who_was_quiet_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source_limit, "SOURCES_MAX", 3)
    limit = SourceLimit(ManualClock())
    for number in (1, 2, 1, 3, 4):
        limit.count(f"10.0.0.{number}")
    assert list(limit._wrong) == ["10.0.0.1", "10.0.0.3", "10.0.0.4"]
