"""What a node does next: desired state and what is on disk, to ordered plain actions.

Level-triggered: the same function is asked after every wake, with what is then true,
and it answers with the actions that are still missing. Nothing remembers messages.

- An older generation never wins, and one that was given up is not tried again.
- A new generation is fetched (every byte is verified on the way) and staged beside the
  old one, then swapped in; the worker loads, warms and checks each version before it
  answers. Until then nothing that serves is touched.
- After the swap it is on trial: the gate commits it, or it is reverted to the last
  committed generation. Bytes are dropped only after a commit, so a revert is local.
- The first generation of a node has nothing to go back to: it is committed at once.

`after` says what is true once an action has been carried out; the agent keeps that
`OnDisk` document as its memory, and simulations replay with it.
"""

from enum import StrEnum

import msgspec

from skerry.fleet.gate import Grade, judge
from skerry.schema.desired import Desired, DesiredModel
from skerry.schema.observed import Observed


class Do(StrEnum):
    """The actions, in the order in which a change needs them."""

    FETCH = "fetch"
    STAGE = "stage"
    SWAP = "swap"
    COMMIT = "commit"
    REVERT = "revert"
    DROP = "drop"


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do: to a model version (fetch, stage, drop), or to a generation.

    `reason` is for the event that tells people about it.
    """

    do: Do
    generation: int
    model: str = ""
    version: int = 0
    manifest_sha256: str = ""
    reason: str = ""


class Step(StrEnum):
    """How far a model version has come on this disk."""

    FETCHED = "fetched"
    STAGED = "staged"


_NEXT: dict[Step | None, tuple[Do, Step]] = {
    None: (Do.FETCH, Step.FETCHED),
    Step.FETCHED: (Do.STAGE, Step.STAGED),
}


class OnDisk(msgspec.Struct, frozen=True, kw_only=True):
    """What a node knows of itself; written to disk after every action.

    `models` maps a manifest's SHA-256 to how far it has come; `serving` maps a model
    to the digest that answers. `committed` is what a revert goes back to. `trial` is
    the generation on probation (0: none), swapped in at `trial_at_unix_s`.
    """

    generation: int = 0
    committed: dict[str, str] = {}
    trial: int = 0
    trial_at_unix_s: float = 0.0
    serving: dict[str, str] = {}
    models: dict[str, Step] = {}
    gave_up: int = 0
    gave_up_reason: str = ""


def actions_towards(desired: Desired, observed: Observed, disk: OnDisk) -> tuple[Action, ...]:
    """Return what is still to be done, in order; nothing if nothing is.

    `observed.window` and `observed.at_unix_s` are what the gate judges.
    """
    wanted = {model.name: model.manifest_sha256 for model in desired.models}
    if desired.generation < max(disk.generation, disk.trial, disk.gave_up):
        return _back_to_committed(disk)
    if desired.generation == disk.gave_up:
        return _back_to_committed(disk)
    if disk.trial and disk.trial == desired.generation:
        return _on_trial(desired, observed, disk)
    missing = _preparations(desired, disk)
    if desired.generation == disk.generation and not disk.trial:
        # Committed already: only mend what is no longer true, and tidy up.
        if disk.serving == wanted:
            return missing or _drops(desired, disk)
        return (*missing, _swap(desired, "serves something else than was committed"))
    settled = disk.serving == disk.committed and not disk.trial
    if disk.serving == wanted and settled and not missing:
        # Other peers, rules or goals, the same bytes: no model changed, so nothing is on trial.
        return (Action(do=Do.COMMIT, generation=desired.generation, reason="no model changed"),)
    return (*missing, _swap(desired, "new generation"))


def _swap(desired: Desired, reason: str) -> Action:
    return Action(do=Do.SWAP, generation=desired.generation, reason=reason)


def _preparations(desired: Desired, disk: OnDisk) -> tuple[Action, ...]:
    """List the steps that single models still need before they can serve."""
    return tuple(
        action for model in desired.models for action in _steps(model, desired.generation, disk)
    )


def _steps(model: DesiredModel, generation: int, disk: OnDisk) -> list[Action]:
    actions = []
    step = disk.models.get(model.manifest_sha256)
    while step is not Step.STAGED:
        do, step = _NEXT[step]
        actions.append(
            Action(
                do=do,
                generation=generation,
                model=model.name,
                version=model.version,
                manifest_sha256=model.manifest_sha256,
            )
        )
    return actions


def _on_trial(desired: Desired, observed: Observed, disk: OnDisk) -> tuple[Action, ...]:
    missing = _preparations(desired, disk)
    if missing or disk.serving != {m.name: m.manifest_sha256 for m in desired.models}:
        # Files were lost in the middle of the trial; the trial's clock runs on.
        return (*missing, _swap(desired, "the node lost what was on trial"))
    if disk.generation == 0:
        return _commit(desired, disk, "the first generation: there is nothing to go back to")
    broken = [
        f"{model.name}: {model.reason or 'not ready'}"
        for model in observed.models
        if not model.ready and model.name in disk.serving
    ]
    if broken:
        return _revert(disk, broken[0])
    held_s = max(0.0, observed.at_unix_s - disk.trial_at_unix_s)
    judgement = judge(desired.gate, observed.window, held_s)
    if judgement.grade is Grade.FAIL:
        return _revert(disk, judgement.reason)
    if judgement.grade is Grade.WAIT:
        return ()
    requests, wanted = observed.window.requests, desired.gate.requests_min
    if requests < wanted:
        reason = f"nothing spoke against it in {held_s:.0f} s; {requests} of {wanted} requests"
        return _commit(desired, disk, reason)
    return _commit(desired, disk, judgement.reason)


def _commit(desired: Desired, disk: OnDisk, reason: str) -> tuple[Action, ...]:
    """Keep what is on trial, then let go of what nothing can go back to any more."""
    commit = Action(do=Do.COMMIT, generation=desired.generation, reason=reason)
    return (commit, *_drops(desired, disk))


def _drops(desired: Desired, disk: OnDisk) -> tuple[Action, ...]:
    keep = {model.manifest_sha256 for model in desired.models} | set(disk.serving.values())
    return tuple(
        Action(do=Do.DROP, generation=desired.generation, manifest_sha256=digest)
        for digest in sorted(disk.models)
        if digest not in keep
    )


def _revert(disk: OnDisk, reason: str) -> tuple[Action, ...]:
    return (Action(do=Do.REVERT, generation=disk.trial, reason=reason),)


def _back_to_committed(disk: OnDisk) -> tuple[Action, ...]:
    """Finish a revert that a crash cut short; else there is nothing to do."""
    if disk.trial and disk.trial == disk.gave_up:
        return _revert(disk, disk.gave_up_reason)
    return ()


def after(disk: OnDisk, action: Action, desired: Desired, at_unix_s: float) -> OnDisk:
    """Return what is true once an action has been carried out.

    `desired` is the document the action came from; `at_unix_s` dates a swap.
    """
    replace = msgspec.structs.replace
    wanted = {model.name: model.manifest_sha256 for model in desired.models}
    if action.do is Do.SWAP:
        if action.generation in (disk.generation, disk.trial):
            return replace(disk, serving=wanted)  # mended, not changed: no new trial
        return replace(disk, serving=wanted, trial=action.generation, trial_at_unix_s=at_unix_s)
    if action.do is Do.COMMIT:
        return replace(
            disk, generation=action.generation, committed=wanted, trial=0, trial_at_unix_s=0.0
        )
    if action.do is Do.REVERT:
        return replace(
            disk,
            serving=disk.committed,
            trial=0,
            trial_at_unix_s=0.0,
            gave_up=action.generation,
            gave_up_reason=action.reason,
        )
    models = dict(disk.models)
    if action.do is Do.DROP:
        models.pop(action.manifest_sha256, None)
    else:
        models[action.manifest_sha256] = _NEXT[models.get(action.manifest_sha256)][1]
    return replace(disk, models=models)


def giving_up(disk: OnDisk, generation: int, reason: str) -> OnDisk:
    """Return what to remember before a revert is carried out.

    A node that is killed half way then knows that it was going back, and goes on with that.
    """
    return msgspec.structs.replace(
        disk, trial=generation, gave_up=generation, gave_up_reason=reason
    )


def forget(disk: OnDisk, manifest_sha256: str) -> OnDisk:
    """Return what is true once the files of a version turned out to be lost or damaged."""
    return msgspec.structs.replace(
        disk,
        models={digest: step for digest, step in disk.models.items() if digest != manifest_sha256},
        serving={
            name: digest for name, digest in disk.serving.items() if digest != manifest_sha256
        },
    )
