"""Files to one decoded `FleetFile`, with the place of every key and value.

A fleet is one `fleet.yaml`; or a folder of YAML files with one object each
(`kind: Fleet` once, `kind: Site` and `kind: Model` as often as wanted), so that two
owners can be reviewed apart; and either may take its sites from a CSV file
(`sites: {from: sites.csv}`). All of them end as one tree, so an error points into
the file that the value came from, also into a row of the CSV.

Decoding is quick when nothing is wrong: msgspec alone. Only on failure does
jsonschema-rs, on the schema that msgspec writes, list every fault at once.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec

from skerry.schema.csv_sites import read_sites
from skerry.schema.file_errors import (
    BadValueError,
    FleetFileError,
    KeyPath,
    MissingKeyError,
    Place,
    Problem,
    UnknownKeyError,
    UnreadableFileError,
    WrongTypeError,
    dotted,
)
from skerry.schema.fleet_file import API_VERSION, FleetFile, validation_schema
from skerry.schema.yaml_reader import FILE_BYTES_MAX, Node, place_in, read_yaml

FILES_MAX = 5000

_TYPE_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "keys and values",
    "null": "nothing",
}


@dataclass(slots=True)
class FleetSource:
    """A decoded file and the tree it came from."""

    file: FleetFile
    root: Node
    lines: dict[str, list[str]]
    name: str

    def place(self, path: KeyPath, *, key: bool = False) -> Place | None:
        """Return where a path stands; the nearest parent's place if it is not written."""
        return _place(self.root, self.lines, path, key=key)


def read_fleet(path: Path) -> FleetSource:
    """Read a fleet file or folder; raises `FleetFileError` with all its problems."""
    lines: dict[str, list[str]] = {}
    name = str(path)
    try:
        folder = path.is_dir()
        root = _read_folder(path, lines) if folder else _read_one(path, name, lines)
        _read_csv(root, path if folder else path.parent, lines)
    except Problem as problem:
        raise FleetFileError(name, (problem,)) from problem
    return _decoded(root, lines, name)


def decode_text(text: str, name: str) -> None:
    """Raise `FleetFileError` unless a text decodes as a fleet file; sites of a CSV are not read."""
    lines = {name: text.splitlines()}
    try:
        root = read_yaml(text.encode(), name)
    except Problem as problem:
        raise FleetFileError(name, (problem,)) from problem
    sites = (root.fields or {}).get("sites")
    if root.fields is not None and sites is not None and sites.fields is not None:
        root.fields["sites"] = read_yaml(b"- {name: a, tier: a, at: [0, 0]}", name)
    _decoded(root, lines, name)


def _decoded(root: Node, lines: dict[str, list[str]], name: str) -> FleetSource:
    head = _head_problems(root, lines)
    try:
        file = msgspec.convert(root.plain(), FleetFile)
    except msgspec.ValidationError as error:
        found = head + _schema_problems(root, lines)
        if not found:  # msgspec is stricter than its own schema; its words then stand alone
            found = [WrongTypeError("", str(error))]
        raise FleetFileError(name, tuple(found)) from error
    if head:
        raise FleetFileError(name, tuple(head))
    return FleetSource(file=file, root=root, lines=lines, name=name)


def _bytes_of(path: Path, shown: str) -> bytes:
    place = Place(file=shown, line=1, column=1, width=1, text="")
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UnreadableFileError(
            "",
            f"{shown} cannot be read: {error.strerror}",
            "start one with: skerry init NAME",
            place,
        ) from error


def _read_one(path: Path, shown: str, lines: dict[str, list[str]]) -> Node:
    data = _bytes_of(path, shown)
    root = read_yaml(data, shown)
    lines[shown] = data.decode("utf-8-sig").splitlines()
    if root.fields is None:
        raise UnreadableFileError(
            "", "wanted keys and values, such as `kind: Fleet`", "", place_in(lines[shown], root)
        )
    return root


def _read_folder(folder: Path, lines: dict[str, list[str]]) -> Node:
    """Join a folder's objects: the fleet, then its sites and models by file name."""
    paths = sorted(p for p in folder.rglob("*.y*ml") if p.suffix in {".yaml", ".yml"})
    paths = [
        p for p in paths if not any(part.startswith(".") for part in p.relative_to(folder).parts)
    ]
    if not paths or len(paths) > FILES_MAX:
        raise UnreadableFileError(
            "", f"{folder.name} holds {len(paths)} YAML files, wanted 1 to {FILES_MAX}"
        )
    fleet: Node | None = None
    parts: dict[str, list[Node]] = {"Site": [], "Model": []}
    for path in paths:
        node = _read_one(path, str(path), lines)
        assert node.fields is not None  # noqa: S101 - _read_one refuses anything else
        kind = node.fields.get("kind")
        word = kind.scalar if kind is not None else None
        if word == "Fleet" and fleet is None:
            fleet = node
        elif isinstance(word, str) and word in parts:
            _check_version(node, lines)
            for key in ("apiVersion", "kind"):
                node.fields.pop(key, None)
            parts[word].append(node)
        else:
            twice = " a second time" if word == "Fleet" else ""
            raise BadValueError(
                "kind",
                f"`{word}`{twice}, wanted Fleet once, and Site or Model",
                "",
                place_in(lines[node.file], kind or node),
            )
    if fleet is None or fleet.fields is None:
        raise UnreadableFileError("", f"no file in {folder.name} says `kind: Fleet`")
    for key, nodes in (("sites", parts["Site"]), ("models", parts["Model"])):
        if nodes:
            given = fleet.fields.get(key)
            here = given.items if given is not None and given.items is not None else []
            joined = Node(fleet.file, fleet.line, fleet.column, 1, items=[*here, *nodes])
            fleet.fields[key] = joined
            fleet.keys.setdefault(key, joined)
    return fleet


def _read_csv(root: Node, folder: Path, lines: dict[str, list[str]]) -> None:
    """Put the rows of `sites: {from: FILE}` in place of the reference."""
    assert root.fields is not None  # noqa: S101 - _read_one refuses anything else
    sites = root.fields.get("sites")
    if sites is None or sites.fields is None or set(sites.fields) != {"from"}:
        return
    source = sites.fields["from"]
    inside = isinstance(source.scalar, str) and not Path(source.scalar).is_absolute()
    target = (folder / str(source.scalar)).resolve()
    if not inside or not target.is_relative_to(folder.resolve()):
        raise BadValueError(
            "sites.from",
            f"`{source.scalar}` is not a file of this folder",
            "name a CSV file beside the fleet file",
            place_in(lines[source.file], source),
        )
    try:
        data = _bytes_of(target, str(folder / str(source.scalar)))
    except UnreadableFileError as problem:
        raise UnreadableFileError(
            "sites.from", problem.what, "", place_in(lines[source.file], source)
        ) from problem
    root.fields["sites"] = read_sites(data, str(folder / str(source.scalar)), lines)


def _check_version(node: Node, lines: dict[str, list[str]]) -> None:
    found = _version_problem(node, lines)
    if found is not None:
        raise found


def _version_problem(node: Node, lines: dict[str, list[str]]) -> Problem | None:
    assert node.fields is not None  # noqa: S101 - callers hold a mapping
    version = node.fields.get("apiVersion")
    if version is None or version.scalar == API_VERSION:
        return None
    return BadValueError(
        "apiVersion",
        f"is `{version.scalar}`, this skerry reads `{API_VERSION}`",
        f"write `apiVersion: {API_VERSION}`",
        place_in(lines[node.file], version),
    )


def _head_problems(root: Node, lines: dict[str, list[str]]) -> list[Problem]:
    """Judge `apiVersion` and `kind` first: under another version the rest means little."""
    found = [p for p in (_version_problem(root, lines),) if p is not None]
    assert root.fields is not None  # noqa: S101 - _read_one refuses anything else
    kind = root.fields.get("kind")
    if kind is not None and kind.scalar != "Fleet":
        found.append(
            BadValueError(
                "kind",
                f"is `{kind.scalar}`, wanted `Fleet`",
                "a Site or Model file belongs into a fleet's folder",
                place_in(lines[kind.file], kind),
            )
        )
    return found


@cache
def _validator() -> Any:
    return jsonschema_rs.Draft202012Validator(validation_schema())


def _schema_problems(root: Node, lines: dict[str, list[str]]) -> list[Problem]:
    """List every fault that the schema knows, in the order of the file."""
    # jsonschema-rs reads JSON, which has no NaN or infinity; bounds are judged in resolve.
    plain = _without_nan(root.plain())
    found: list[Problem] = []
    for error in _validator().iter_errors(plain):
        found.extend(_problems_of(error, root, lines))
    # `teir` for `tier` is one slip, not an unknown key and a missing one.
    meant = {
        f"{problem.path.rpartition('.')[0]}.{problem.advice.split('`')[1]}"
        for problem in found
        if isinstance(problem, UnknownKeyError) and problem.advice.startswith("did you mean")
    }
    found = [
        problem
        for problem in found
        if not (isinstance(problem, MissingKeyError) and _under_root(problem.path) in meant)
    ]
    found.sort(
        key=lambda p: (p.place.file, p.place.line, p.place.column) if p.place else ("", 0, 0)
    )
    return found


def _under_root(path: str) -> str:
    return path if "." in path else f".{path}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return 0.0
    return value


def _problems_of(error: Any, root: Node, lines: dict[str, list[str]]) -> list[Problem]:
    """Turn one jsonschema-rs error into problems with a place."""
    path: KeyPath = tuple(error.instance_path)
    kind = error.kind
    if kind.name == "additionalProperties":
        known = list(_schema_at(error.schema_path[:-1]).get("properties", {}))
        return [
            UnknownKeyError(
                dotted((*path, name)),
                "not a key here",
                _did_you_mean(name, known) or f"keys here are: {', '.join(known)}",
                _place(root, lines, (*path, name), key=True),
            )
            for name in kind.unexpected
        ]
    if kind.name == "required":
        return [
            MissingKeyError(
                dotted((*path, kind.property)),
                "is missing",
                f"add `{kind.property}:` here",
                _place(root, lines, path),
            )
        ]
    place = _place(root, lines, path)
    wanted = _wanted(_schema_at(error.schema_path[:-1]))
    if kind.name in {"type", "anyOf"}:
        unit_slip = isinstance(error.instance, int | float) and "unit" in wanted
        advice = (
            "units are written out, such as `1.8 kW` or `50 ms`"
            if unit_slip and not isinstance(error.instance, bool)
            else ""
        )
        return [
            WrongTypeError(
                dotted(path), f"is {_shown(error.instance)}, wanted {wanted}", advice, place
            )
        ]
    return [BadValueError(dotted(path), f"is {_shown(error.instance)}, wanted {wanted}", "", place)]


def _schema_at(path: Any) -> dict[str, Any]:
    node: Any = validation_schema()
    for step in path:
        if step == "$ref":
            node = validation_schema()["$defs"][node["$ref"].rsplit("/", 1)[1]]
        else:
            node = node[step]
    result: dict[str, Any] = node
    return result


def _wanted(schema: dict[str, Any]) -> str:
    """Say in words what a schema wants."""
    if "anyOf" in schema:
        words = [_wanted(part) for part in schema["anyOf"] if part.get("type") != "null"]
        if "a number" in words and "a whole number" in words:
            words.remove("a whole number")
        return " or ".join(dict.fromkeys(words))
    if "$ref" in schema:
        return _TYPE_WORDS["object"]
    if "description" in schema and schema.get("type") == "string":
        return str(schema["description"])
    words_ = _TYPE_WORDS.get(schema.get("type", ""), "another value")
    if "minimum" in schema:
        words_ += f" of at least {schema['minimum']:g}"
    if "maximum" in schema:
        words_ += f" and at most {schema['maximum']:g}"
    if "minItems" in schema:
        most = schema.get("maxItems")
        exact = most == schema["minItems"]
        words_ += f" of {most}" if exact else f" of at least {schema['minItems']}"
    return words_


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = str(value)
    return f"`{text if len(text) <= 64 else text[:61] + '...'}`"


def _did_you_mean(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""


def _place(
    root: Node, lines: dict[str, list[str]], path: KeyPath, *, key: bool = False
) -> Place | None:
    node = root
    for depth, step in enumerate(path):
        last = depth == len(path) - 1
        inner = (node.fields or {}).get(str(step))
        if inner is not None:
            if last and key:
                node = node.keys.get(str(step), node)
                break
            node = inner
        elif node.items is not None and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            break
    return place_in(lines.get(node.file, []), node)
