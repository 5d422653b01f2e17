"""When does a reading count, and what is to be done about it?

Two pure steps. `watched` debounces one sensor: readings in, changes of state out; however fast a
contact bounces, one episode is one change. `orders` compares what is wrong now with what was
done about it: level-triggered, so a lid that is still open when its window ends is acted on too.

Units:   monotonic seconds.
Errors:  none; a reading that cannot be had is `None`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from skerry.schema.tamper import Reaction, TamperPolicy, TamperWord

SILENT_PERIODS = 3
"""A sensor that says nothing for so many periods is silent."""
FLAPS_MAX = 6
FLAP_SPAN_S = 60.0
"""A sensor that changes more than `FLAPS_MAX` times in this span flaps."""
CALM_S = 10.0
"""A sensor that was silent or flapped is back once it has been steady for this long."""


@dataclass(frozen=True, slots=True)
class Watch:
    """One sensor as it stands."""

    heard_s: float
    """When it last gave a reading."""
    heard_since_s: float = 0.0
    """Since when it has given readings without a silence between them."""
    raw: bool | None = None
    """Its last reading."""
    raw_since_s: float = 0.0
    """Since when it reads so."""
    flaps_s: tuple[float, ...] = ()
    """When it changed lately."""
    open: bool = False
    """What counts: it has read *open* for long enough."""
    silent: bool = False
    flapping: bool = False

    @property
    def trouble(self) -> TamperWord | None:
        """What is wrong with it now, worst first."""
        if self.open:
            return TamperWord.LID_OPEN
        if self.silent:
            return TamperWord.SENSOR_SILENT
        return TamperWord.SENSOR_FLAPPING if self.flapping else None


def watched(
    watch: Watch, reading: bool | None, now_s: float, *, period_s: float, debounce_s: float
) -> tuple[Watch, tuple[TamperWord, ...]]:
    """Take one reading (None: there was none) and return the new state and what changed."""
    quiet = is_silent(now_s - watch.heard_s, period_s)
    if reading is None:
        if watch.silent or not quiet:
            return watch, ()
        return replace(watch, silent=True, raw=None), (TamperWord.SENSOR_SILENT,)
    changed = reading is not watch.raw
    flaps_s = tuple(at_s for at_s in watch.flaps_s if now_s - at_s < FLAP_SPAN_S)
    if changed and watch.raw is not None:
        flaps_s = (*flaps_s, now_s)[-FLAPS_MAX - 1 :]
    watch = replace(
        watch,
        heard_s=now_s,
        heard_since_s=now_s if quiet or watch.raw is None else watch.heard_since_s,
        raw=reading,
        raw_since_s=now_s if changed else watch.raw_since_s,
        flaps_s=flaps_s,
    )
    return _settled(watch, now_s, debounce_s)


def _settled(watch: Watch, now_s: float, debounce_s: float) -> tuple[Watch, tuple[TamperWord, ...]]:
    """Return what a reading that was just taken in changes."""
    words: list[TamperWord] = []
    steady_s = now_s - watch.raw_since_s
    if watch.silent and now_s - watch.heard_since_s >= CALM_S:
        watch = replace(watch, silent=False)
        words.append(TamperWord.SENSOR_BACK)
    if not watch.flapping and is_flapping(watch.flaps_s):
        watch = replace(watch, flapping=True)
        words.append(TamperWord.SENSOR_FLAPPING)
    elif watch.flapping and steady_s >= CALM_S:
        watch = replace(watch, flapping=False, flaps_s=())
        words.append(TamperWord.SENSOR_BACK)
    # While it flaps, *open* counts once and *shut* not at all.
    differs = watch.raw is not watch.open and (watch.raw or not watch.flapping)
    if differs and steady_s >= debounce_s:
        watch = replace(watch, open=bool(watch.raw))
        words.append(TamperWord.LID_OPEN if watch.open else TamperWord.LID_SHUT)
    return watch, tuple(words)


def is_silent(quiet_s: float, period_s: float) -> bool:
    """Tell whether a sensor has said nothing for too long."""
    return quiet_s >= SILENT_PERIODS * period_s


def is_flapping(flaps_s: tuple[float, ...]) -> bool:
    """Tell whether a sensor changes too often to be believed."""
    return len(flaps_s) > FLAPS_MAX


@dataclass(frozen=True, slots=True)
class Order:
    """What to do about one sensor, and why."""

    sensor: str
    word: TamperWord
    reaction: Reaction


def orders(
    troubles: Mapping[str, TamperWord],
    policy: TamperPolicy,
    *,
    in_window: bool,
    done: Iterable[tuple[str, TamperWord]],
) -> tuple[Order, ...]:
    """Return what is still to be done, hardest first; nothing while a window is open.

    `done` is what was reacted to since the sensor was last well.
    """
    if in_window:
        return ()
    already = set(done)
    wanted = [
        Order(sensor, word, policy.on_open if word is TamperWord.LID_OPEN else policy.on_lost)
        for sensor, word in sorted(troubles.items())
        if (sensor, word) not in already
    ]
    return tuple(sorted(wanted, key=lambda order: -list(Reaction).index(order.reaction)))
