"""Measured figures of a run, read from a file, for `skerry plan --from-run`.

Errors:  RunFileError, for a file that is absent, too large, or not such a document.
"""

import math
from pathlib import Path

import msgspec

from skerry.base.units import BYTES_PER_MIB
from skerry.plan.errors import RunFileError
from skerry.schema.fleet import Fleet
from skerry.schema.goal import GoalName
from skerry.schema.run_figures import RUN_FIGURES_SCHEMA, RunFigures

FILE_BYTES_MAX = 8 * BYTES_PER_MIB


def read_run(path: Path) -> RunFigures:
    """Read a run's figures; each service time is a positive number of milliseconds."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise RunFileError(str(path), f"larger than {FILE_BYTES_MAX} bytes")
        run = msgspec.json.decode(path.read_bytes(), type=RunFigures)
    except OSError as error:
        raise RunFileError(str(path), error.strerror or str(error)) from error
    except msgspec.MsgspecError as error:
        raise RunFileError(str(path), str(error)) from error
    if run.schema != RUN_FIGURES_SCHEMA:
        raise RunFileError(
            str(path), f"schema is {run.schema[:40]!r}, wanted {RUN_FIGURES_SCHEMA!r}"
        )
    for model, value in run.service_ms.items():
        if not 0 < value < math.inf:
            raise RunFileError(str(path), f"service_ms of {model} is {value:g}, wanted above 0")
    return run


def run_notes(run: RunFigures | None, fleet: Fleet) -> tuple[str, ...]:
    """Say which measured models the fleet has not, and which of its own were not measured."""
    if run is None or not run.service_ms:
        return ()
    own = [model.name for model in fleet.models]
    strangers = [model for model in run.service_ms if model not in own]
    missing = [model for model in own if model not in run.service_ms]
    notes = []
    if strangers:
        notes.append(f"measured, but no model of this fleet, so ignored: {', '.join(strangers)}")
    if missing:
        names = ", ".join(missing)
        notes.append(f"the run has no service time of {names}; what is stated stands in")
    return tuple(notes)


def measured(run: RunFigures, name: GoalName) -> float | None:
    """Return what a run measured for a goal, or None."""
    for goal in run.goals:
        if goal.name is name and goal.measured is not None:
            return goal.measured.value
    return None
