"""Batching servers: progress shared as the curve says, held against two simulations."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.cli.main import run
from skerry.plan.capacity.batch import Batching
from skerry.plan.capacity.kernels_batch import Series, run_batched
from skerry.plan.capacity.kernels_fifo import waits_s
from skerry.plan.capacity.target import Target
from skerry.plan.energy.batching import read_curve

EXAMPLE = Path(__file__).parents[2] / "examples" / "plan" / "capacity" / "requests.csv"


def batched(
    arrival_s: Series, steps: Series, servers: int, step_s: Series
) -> tuple[Series, Series, float, float]:
    begins_s, sojourn_s = np.empty(len(steps)), np.empty(len(steps))
    joules, batch = run_batched(
        arrival_s, steps, servers, step_s, np.ones(len(step_s)), begins_s, sojourn_s
    )
    return begins_s, sojourn_s, joules, batch


def by_events(arrival_s: Series, steps: Series, servers: int, step_s: Series) -> list[float]:
    """The same, remembering what each request still has to do: slow and plain."""
    left: list[dict[int, float]] = [{} for _ in range(servers)]
    line, out, now, coming = list[int](), [0.0] * len(steps), 0.0, 0
    limit = len(step_s) - 1
    while coming < len(steps) or line or any(left):
        ends = [
            (now + min(one.values()) * step_s[len(one)], k) for k, one in enumerate(left) if one
        ]
        end, k = min(ends, default=(math.inf, -1))
        at = arrival_s[coming] if coming < len(steps) else math.inf
        then = min(end, at)
        for one in left:
            for i in one:
                one[i] -= (then - now) / step_s[len(one)]
        now = then
        if end <= at:
            i = min(left[k], key=lambda i: left[k][i])
            del left[k][i]
            out[i] = now - arrival_s[i]
        else:
            line.append(coming)
            coming += 1
        while line:
            k = min(range(servers), key=lambda k: len(left[k]))
            if len(left[k]) == limit:
                break
            i = line.pop(0)
            left[k][i] = float(steps[i])
    return out


def by_steps(arrival_s: Series, steps: Series, step_s: Series) -> Series:
    """One real server: requests join between steps, and each step is whole."""
    under_way: dict[int, float] = {}
    out, now, coming = np.zeros(len(steps)), 0.0, 0
    while coming < len(steps) or under_way:
        while coming < len(steps) and arrival_s[coming] <= now:
            if len(under_way) == len(step_s) - 1:
                break
            under_way[coming] = steps[coming]
            coming += 1
        if not under_way:
            now = arrival_s[coming]
            continue
        now += step_s[len(under_way)]
        for i in list(under_way):
            under_way[i] -= 1
            if under_way[i] <= 0:
                out[i] = now - arrival_s[i]
                del under_way[i]
    return out


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.floats(0.001, 2), min_size=1, max_size=40),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(0, 2**31),
)
def test_sojourns_are_those_of_the_plain_simulation(
    gap: list[float], servers: int, limit: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    arrival_s, steps = np.cumsum(gap), rng.exponential(5.0, len(gap)) + 0.1
    step_s = np.concatenate([[0.0], np.cumsum(rng.uniform(0.05, 0.3, limit))])
    begins_s, sojourn_s, joules, batch = batched(arrival_s, steps, servers, step_s)
    assert sojourn_s == pytest.approx(by_events(arrival_s, steps, servers, step_s), rel=1e-6)
    assert (np.diff(begins_s) >= 0).all()
    assert (begins_s >= arrival_s).all()
    assert joules == pytest.approx(steps.sum())  # one joule a token: each is counted once
    assert 1 <= batch <= limit


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=40), st.integers(1, 4))
def test_batches_of_one_are_the_plain_queue(gap: list[float], servers: int) -> None:
    arrival_s = np.cumsum(gap)
    steps = np.random.default_rng(3).exponential(4.0, len(gap))
    step_s = np.array([0.0, 0.25])
    _, sojourn_s, _, batch = batched(arrival_s, steps, servers, step_s)
    wanted = waits_s(arrival_s, steps * 0.25, servers) + steps * 0.25
    assert sojourn_s == pytest.approx(wanted, abs=1e-9)
    assert batch == pytest.approx(1.0)


def test_a_server_of_whole_steps_answers_within_a_step() -> None:
    rng = np.random.default_rng(8)
    arrival_s = np.cumsum(rng.exponential(0.2, 400))
    steps = rng.integers(5, 80, 400).astype(np.float64)
    step_s = np.array([0.0, *np.linspace(0.007, 0.02, 32)])
    _, sojourn_s, _, _ = batched(arrival_s, steps, 1, step_s)
    later_s = by_steps(arrival_s, steps, step_s) - sojourn_s
    assert 0 <= later_s.mean() <= step_s[-1]
    assert np.quantile(np.abs(later_s), 0.95) <= 3 * step_s[-1]


def test_two_requests_share_a_server_by_hand() -> None:
    """Alone a step takes 1 s, in twos 1.5 s: 2 steps alone, then 2 in twos, then the rest alone."""
    _, sojourn_s, joules, _ = batched(
        np.array([0.0, 2.0]), np.array([4.0, 3.0]), 1, np.array([0.0, 1.0, 1.5])
    )
    assert sojourn_s == pytest.approx([2 + 3, 3 + 1])
    assert joules == 7


@pytest.mark.parametrize("limit_s", [3.0, 3.8, 6.0])
def test_the_least_servers_hold_and_one_less_does_not(limit_s: float) -> None:
    rng = np.random.default_rng(2)
    case = Batching(
        arrival_s=np.cumsum(rng.exponential(0.02, 3000)),
        steps=rng.integers(100, 300, 3000).astype(np.float64),
        curve=read_curve(None, "H100"),
        limit=32,
    )
    target = Target(metric="p95", limit_s=limit_s)
    found = case.size(target)
    assert found.servers_least is not None
    assert target.holds(case.run(found.servers_least)[0])
    assert found.servers_least == 1 or not target.holds(case.run(found.servers_least - 1)[0])


def batch(*words: str) -> int:
    return run(["plan", "capacity", "--trace", str(EXAMPLE), "--steps", "generated_tokens", *words])


def test_the_verb_tells_servers_waits_and_energy(capsys: pytest.CaptureFixture[str]) -> None:
    assert batch("--target", "p99=8s", "--servers", "1..2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["servers_least"] == 1
    one, two = found["servers"]
    assert one["batch_mean"] > two["batch_mean"]
    assert one["sojourn_s_p99"] > two["sojourn_s_p99"]
    assert found["advice"][0]["regret"]["ratio"] == 0.0
    assert "faster" in found["advice"][0]["flip"]
    assert one["energy_wh_per_1k"] < two["energy_wh_per_1k"]  # a fuller batch is thriftier


def test_a_target_that_a_lone_request_breaks_is_impossible(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert batch("--target", "p99=1s") == 0
    assert capsys.readouterr().out.startswith("no: ")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--batch-limit", "600"), 2, "ends at a batch of 512"),
        (("--batch", "B200"), 2, "no complete curve"),
        (("--service", "1"), 2, "drop one"),
        (("--autoscale",), 2, "one plain queue"),
    ],
)
def test_what_a_batch_cannot_have_is_refused(
    words: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch("--target", "p99=8s", *words) == code
    assert said in capsys.readouterr().err
