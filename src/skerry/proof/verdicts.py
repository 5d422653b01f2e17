"""From a goal and a figure to a verdict, and what a figure rests on.

The interval decides, not the value: a goal is met where the whole interval is on its
good side and missed where none of it is. In between, the verdict is *unknown* and the
reason says so. A figure that stands on anything emulated gets the emulated word.
"""

from skerry.schema.goal import AT_LEAST, Figure, GoalName, GoalRecord, Level, Verdict


def verdict_of(
    name: GoalName, goal: float | None, judged: Figure | None, *, emulated: bool
) -> tuple[Verdict, str]:
    """Return the verdict on a figure, and its reason in a few words.

    `emulated` says that something behind the figure or behind what it is compared
    with was emulated; a figure of that level says so by itself.
    """
    if judged is None:
        return Verdict.UNKNOWN, "not measured"
    if goal is None:
        return Verdict.UNKNOWN, "the fleet file states no goal"
    good, bad = (
        (judged.low >= goal, judged.high < goal)
        if name in AT_LEAST
        else (judged.high <= goal, judged.low > goal)
    )
    if not good and not bad:
        return Verdict.UNKNOWN, "the interval reaches to both sides of the goal"
    if emulated or judged.level is Level.EMULATED:
        return (Verdict.MET_EMULATED if good else Verdict.MISSED_EMULATED), "emulated links"
    reason = "" if judged.level is Level.MEASURED else f"the figure is {judged.level.value}"
    return (Verdict.MET if good else Verdict.MISSED), reason


def judged_record(
    name: GoalName,
    goal: float | None,
    *,
    measured: Figure | None,
    baseline: Figure | None = None,
    predicted: Figure | None = None,
    emulated: bool = False,
) -> GoalRecord:
    """Return a goal record with its verdict, emulated if either figure or `emulated` is."""
    beside = baseline is not None and baseline.level is Level.EMULATED
    verdict, reason = verdict_of(name, goal, measured, emulated=emulated or beside)
    return GoalRecord(
        name=name,
        goal=goal,
        predicted=predicted,
        measured=measured,
        baseline=baseline,
        verdict=verdict,
        reason=reason,
    )
