"""YAML text to a tree of plain values that know where they stand.

The one door to PyYAML. Its C parser turns the text into events; this module builds
the tree itself, for four reasons:

- YAML 1.1 booleans are left out: `NO` is Norway and `08:00` is a time of day, not 480.
- A key that is there twice is refused; a YAML reader would keep the last in silence.
- Depth, size and what aliases expand to are bounded. (libyaml's own composer recurses
  in C: 100,000 open brackets end the process.)
- Every key and value keeps its line and column, for errors.

Errors:  UnreadableFileError, YamlSyntaxError and DuplicateError, with their place.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from skerry.schema.file_errors import (
    BadValueError,
    DuplicateError,
    Place,
    Problem,
    UnreadableFileError,
    YamlSyntaxError,
)

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
DEPTH_MAX: Final = 24
VALUES_MAX: Final = 2_000_000
"""Values in a file with every alias written out."""

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(
    r"[-+]?((0|[1-9][0-9]*)?\.[0-9]+|(0|[1-9][0-9]*)\.)([eE][-+]?[0-9]{1,3})?"
    r"|[-+]?(0|[1-9][0-9]*)[eE][-+]?[0-9]{1,3}"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_WORDS: dict[str, bool | None] = {
    "true": True,
    "True": True,
    "false": False,
    "False": False,
    "null": None,
    "Null": None,
    "~": None,
    "": None,
}

Scalar = str | int | float | bool | None


@dataclass(slots=True)
class Node:
    """One value with its place. Exactly one of scalar, `items` and `fields` is in use.

    `line` and `column` count from 0, as the parser does; `width` is in characters.
    `keys` are the nodes of the keys of `fields`.
    """

    file: str
    line: int
    column: int
    width: int
    scalar: Scalar = None
    items: "list[Node] | None" = None
    fields: "dict[str, Node] | None" = None
    keys: "dict[str, Node]" = field(default_factory=dict)
    size: int = 1
    """Values in this node, aliases written out."""

    def plain(self) -> Any:
        """Return the value with no places: what msgspec converts."""
        if self.fields is not None:
            return {key: value.plain() for key, value in self.fields.items()}
        if self.items is not None:
            return [item.plain() for item in self.items]
        return self.scalar


def plain_scalar(text: str) -> Scalar:
    """Read an unquoted word: a number, `true`, `false`, `null`, or else text."""
    first = text[:1]
    if first in "0123456789+-.":
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return _WORDS.get(text, text)


def read_yaml(data: bytes, file: str) -> Node:
    """Return the one document in a file; raises the first `Problem` that stops reading."""
    if len(data) > FILE_BYTES_MAX:
        raise UnreadableFileError(
            "",
            f"{file} is {len(data) / 2**20:.0f} MiB, more than {FILE_BYTES_MAX // 2**20} MiB",
            "split it into a folder of files, or list sites in a CSV file",
            Place(file=file, line=1, column=1, width=1, text=""),
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise UnreadableFileError(
            "",
            f"byte 0x{data[error.start]:02x} is not UTF-8 text",
            "save the file as UTF-8",
            Place(file=file, line=line, column=column, width=1, text=""),
        ) from error
    return _Builder(text, file).document()


def place_in(lines: list[str], node: Node) -> Place:
    """Return a node's place with its source line; `lines` are those of the node's file."""
    text = lines[node.line] if node.line < len(lines) else ""
    return Place(
        file=node.file, line=node.line + 1, column=node.column + 1, width=node.width, text=text
    )


class _Builder:
    """Builds one tree from parser events, without recursion in C."""

    def __init__(self, text: str, file: str) -> None:
        self._text, self._file = text, file
        self._anchors: dict[str, Node] = {}
        self._events: Iterator[Any] = iter(())

    def document(self) -> Node:
        """Return the only document, or raise what is wrong with the text."""
        try:
            self._events = iter(yaml.parse(self._text, Loader=yaml.CSafeLoader))
            next(self._events)  # the stream's start
            if isinstance(next(self._events), yaml.StreamEndEvent):
                raise UnreadableFileError(
                    "", f"{self._file} is empty", "start one with: skerry init NAME", self._at(0, 0)
                )
            root = self._node(next(self._events), 0)
            next(self._events)  # the document's end
            after: Any = next(self._events)
        except yaml.MarkedYAMLError as error:
            raise self._syntax_error(error) from error
        except (yaml.YAMLError, ValueError) as error:
            raise YamlSyntaxError("", f"not YAML: {error}", "", self._at(0, 0)) from error
        if not isinstance(after, yaml.StreamEndEvent):
            mark = after.start_mark
            raise UnreadableFileError(
                "",
                "a second document starts here, wanted one per file",
                "give each object a file of its own in a folder, or remove the `---`",
                self._at(mark.line, mark.column, 3),
            )
        return root

    def _node(self, event: Any, depth: int) -> Node:
        line, column = event.start_mark.line, event.start_mark.column
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line, column)
        if depth > DEPTH_MAX:
            raise YamlSyntaxError(
                "",
                f"nested more than {DEPTH_MAX} deep",
                "a fleet file needs fewer than ten levels",
                self._at(line, column),
            )
        node = Node(self._file, line, column, 1)
        if isinstance(event, yaml.ScalarEvent):
            end = event.end_mark
            if end is not None and end.line == line:
                node.width = max(1, end.column - column)
            node.scalar = plain_scalar(event.value) if event.implicit[0] else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            node.items = []
            while not isinstance(step := next(self._events), yaml.SequenceEndEvent):
                item = self._node(step, depth + 1)
                node.items.append(item)
                node.size += item.size
        else:
            self._fill_mapping(node, depth)
        if node.size > VALUES_MAX:
            raise UnreadableFileError(
                "",
                f"aliases expand to more than {VALUES_MAX:,} values",
                "write the values out, or list sites in a CSV file",
                self._at(line, column),
            )
        # Named only when complete, so an alias can never point into its own anchor.
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _fill_mapping(self, node: Node, depth: int) -> None:
        node.fields = {}
        while not isinstance(step := next(self._events), yaml.MappingEndEvent):
            key = self._node(step, depth + 1)
            if key.items is not None or key.fields is not None:
                raise BadValueError(
                    "", "a key has to be a word", "quote it", self._at(key.line, key.column)
                )
            # A key is text whatever it looks like: `NO:`, `8000:` and `true:` are names.
            name = str(step.value) if isinstance(step, yaml.ScalarEvent) else str(key.scalar)
            if name in node.fields:
                first = node.keys[name]
                raise DuplicateError(
                    "",
                    f"key `{name}` is there twice",
                    f"the first is on line {first.line + 1}; keep one",
                    self._at(key.line, key.column, key.width),
                )
            value = self._node(next(self._events), depth + 1)
            node.fields[name], node.keys[name] = value, key
            node.size += value.size

    def _alias(self, event: Any, line: int, column: int) -> Node:
        target = self._anchors.get(event.anchor)
        if target is None:
            raise YamlSyntaxError(
                "",
                f"alias `*{event.anchor}` has no anchor before it",
                f"write `&{event.anchor}` at the value it stands for",
                self._at(line, column, len(event.anchor) + 1),
            )
        return target

    def _syntax_error(self, error: yaml.MarkedYAMLError) -> Problem:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark is not None else (0, 0)
        said = error.problem or error.context or "cannot be read"
        place = self._at(line, column)
        if place.text[column : column + 1] == "\t" or "'\\t'" in said or "tab" in said:
            return YamlSyntaxError(
                "", "a tab cannot indent YAML", "use spaces, two per level", place
            )
        advice = ""
        if "mapping values are not allowed" in said:
            advice = "look for a line above with a missing indentation or a second `:`"
        elif "could not find expected ':'" in said or "did not find expected" in said:
            advice = "look for a missing `:`, quote or bracket at or above this line"
        return YamlSyntaxError("", f"not YAML: {said}", advice, place)

    def _at(self, line: int, column: int, width: int = 1) -> Place:
        lines = self._text.splitlines()
        text = lines[line] if line < len(lines) else ""
        return Place(file=self._file, line=line + 1, column=column + 1, width=width, text=text)
