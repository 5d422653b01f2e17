"""Decision regret: none where hindsight agrees, never negative, always against the best."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.plan.regret import regret

costs = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.floats(0.01, 1e6), st.floats(0.01, 1e6)), min_size=1
)


def test_the_choice_is_made_on_what_was_seen() -> None:
    found = regret({"edge": 1.0, "cloud": 2.0}, {"edge": 6.0, "cloud": 5.0}, unit="USD", on="July")
    assert (found.chosen, found.best, found.unseen) == ("edge", "cloud", "July")
    assert found.ratio == pytest.approx(0.2)


@given(costs)
def test_regret_is_never_negative_and_zero_for_the_best(pairs: dict[str, tuple]) -> None:
    seen = {name: pair[0] for name, pair in pairs.items()}
    unseen = {name: pair[1] for name, pair in pairs.items()}
    found = regret(seen, unseen, unit="g", on="rest")
    assert found.ratio >= 0
    assert (found.ratio == 0) == (found.chosen == found.best)
    assert found.best_cost == min(unseen.values())


def test_other_options_are_refused() -> None:
    for seen, unseen in (({}, {}), ({"a": 1.0}, {"b": 1.0})):
        with pytest.raises(ValueError, match="same options"):
            regret(seen, unseen, unit="g", on="rest")
