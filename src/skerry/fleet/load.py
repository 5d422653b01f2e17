"""A fleet from disk: read, decode, resolve, lint; all problems in one error.

    fleet = load_fleet(Path("fleet.yaml"))

`load_fleet` is what every verb calls. `load_checked` also gives the advice, each with
its place, for `skerry check`.

Errors:  FleetFileError (exit code 3) with every problem; LockError; ReferenceFileError.
"""

from dataclasses import dataclass
from pathlib import Path

from skerry.fleet.attestation import with_files
from skerry.fleet.lint import lint
from skerry.fleet.resolve import resolve
from skerry.schema.file_errors import FleetFileError, Grade, Problem
from skerry.schema.fleet import Fleet
from skerry.schema.fleet_reader import read_fleet
from skerry.schema.lock import read_lock

FLEET_FILE = "fleet.yaml"


@dataclass(frozen=True, slots=True)
class Checked:
    """A fleet with what the lint says about it: warnings and notes, with places."""

    fleet: Fleet
    advice: tuple[Problem, ...]


def load_checked(path: Path) -> Checked:
    """Return a fleet and the advice about it; `path` is a file or a folder of objects.

    A folder that holds a `fleet.yaml` beside a `fleet.lock` or a `.skerry` is a fleet's
    home: then that one file is meant. Any other folder is a folder of objects.
    """
    target = path
    home = path if path.is_dir() else path.parent
    if path.is_dir() and _is_home(path):
        target = path / FLEET_FILE
    source = read_fleet(target)
    resolution = resolve(source.file, read_lock(home))
    if resolution.fleet is None:
        problems = tuple(finding.placed(source) for finding in resolution.findings)
        raise FleetFileError(source.name, _in_order(problems))
    advice = tuple(finding.placed(source) for finding in lint(source.file, resolution.fleet))
    errors = tuple(problem for problem in advice if problem.grade is Grade.ERROR)
    if errors:
        raise FleetFileError(source.name, _in_order(errors))
    return Checked(with_files(resolution.fleet, home), advice)


def load_fleet(path: Path) -> Fleet:
    """Return the resolved fleet of a file or folder; raises `FleetFileError` with all problems."""
    return load_checked(path).fleet


def _is_home(folder: Path) -> bool:
    return (folder / FLEET_FILE).is_file() and (
        (folder / ".skerry").is_dir() or (folder / "fleet.lock").is_file()
    )


def _in_order(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    def key(problem: Problem) -> tuple[str, int, int]:
        place = problem.place
        return (place.file, place.line, place.column) if place is not None else ("", 0, 0)

    return tuple(sorted(problems, key=key))
