"""Values put into a fleet file, by dotted path, with every other character left alone.

    with_values(text, {"tiers.closet.nodes": "2 x mini-pc", "sites.oslo.nodes": "3"})

ruamel.yaml says where each value stands; the new text is spliced in there, so comments,
order, quotes and blank lines stay as their author wrote them. A step is a key, or in a
list the `name` of an item, or its index; keys and named items that are missing are added
behind what is there. Values are text as one writes them in the file: `50 ms`, `[a, b]`.

The result is read back: it is refused unless it decodes as a fleet file and differs from
the old one in the asked places only. Names and references are judged by whoever loads it
(`skerry.fleet.load`).

Errors:  EditError; FleetFileError and its problems for a text or a result that is no fleet file.
"""

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from skerry.base.errors import Exit, SkerryError
from skerry.schema.file_errors import FleetFileError, Problem
from skerry.schema.fleet_reader import decode_text
from skerry.schema.yaml_reader import read_yaml

YamlNode = MappingNode | SequenceNode | ScalarNode
Tree = dict[str, "Tree | str"]
_PADDED_COMMENT = re.compile(r"( {2,})#")


class EditError(SkerryError):
    """A change that a fleet file cannot take: no such place, or no value for one line."""

    code = "E0940"
    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """Say what can be done instead."""
        return "change this value by hand, then run: skerry check"


def with_values(text: str, values: Mapping[str, str]) -> str:
    """Return the file's text with values changed or added; the rest stays as it is."""
    if "\r\n" in text:
        return with_values(text.replace("\r\n", "\n"), values).replace("\n", "\r\n")
    wanted = _plain(text)
    edit = _Edit(text)
    for path, value in values.items():
        found = _value(path, value)
        edit.put(path, value)
        _put(wanted, path, found)
    changed = edit.text()
    try:
        same = _plain(changed) == wanted
    except FleetFileError:
        same = False
    if not same:  # a shared anchor, or a text that means something else where it now stands
        raise EditError(", ".join(values), "cannot be changed without changing something else")
    decode_text(changed, "the changed fleet file")
    return changed


def _plain(text: str) -> Any:
    try:
        root = read_yaml(text.encode(), "the fleet file")
    except Problem as problem:
        raise FleetFileError("the fleet file", (problem,)) from problem
    if root.fields is None:
        raise EditError("", "the fleet file holds no keys and values")
    # Aliases give one object in several places; a copy by value keeps the edit in its own.
    return copy.deepcopy(root.plain())


def _value(path: str, text: str) -> Any:
    """Return what a text means as a value; it has to fit on one line."""
    if not path or not all(path.split(".")):
        raise EditError(path or "a path", "wanted steps between dots, such as tiers.closet.nodes")
    try:
        root = read_yaml(f"value: {text}".encode(), path) if "\n" not in text else None
    except Problem:
        root = None
    if root is None or root.fields is None or root.fields["value"].plain() is None:
        raise EditError(path, f"{text[:60]!r} is no value that fits on one line")
    return root.fields["value"].plain()


def _put(tree: Any, path: str, value: Any) -> None:
    """Set a value in plain lists and mappings, as `_Edit` does in the text."""
    *steps, last = path.split(".")
    for step in steps:
        if isinstance(tree, list):
            place = _index(step, (item.get("name") for item in tree if isinstance(item, dict)))
            if place is None:
                tree.append({"name": _value("name", step)})
                place = len(tree) - 1
            tree = tree[place]
        else:
            tree = tree.setdefault(step, {})
    if isinstance(tree, list):
        place = _index(last, ())
        if place is not None:  # else the editor has refused it
            tree[place] = value
    else:
        tree[last] = value


def _index(step: str, names: Iterable[object]) -> int | None:
    """Return the place in a list that a step names: an item's name first, then an index."""
    known = [str(name) for name in names]
    if step in known:
        return known.index(step)
    return int(step) if step.isdecimal() else None


@dataclass(slots=True)
class _Addition:
    """What is missing under one node of the text."""

    node: YamlNode
    missing: Tree = field(default_factory=dict)


class _Edit:
    """Changes to one text, collected and then made from its end to its start."""

    def __init__(self, text: str) -> None:
        self._text = text if not text or text.endswith("\n") else text + "\n"
        self._root: YamlNode = YAML(typ="rt", pure=True).compose(self._text)
        self._splices: list[tuple[int, int, str]] = []
        self._additions: dict[int, _Addition] = {}

    def put(self, path: str, value: str) -> None:
        """Take note of one change."""
        node, steps = self._root, path.split(".")
        for depth, step in enumerate(steps):
            child = _child(node, step)
            if child is None:
                self._add(node, path, steps[depth:], value)
                return
            key, node = child
        self._replace(key, node, value)

    def text(self) -> str:
        """Return the text with every change made."""
        for addition in self._additions.values():
            self._splices.append(self._insertion(addition))
        text = self._text
        for start, end, new in sorted(self._splices, reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def _replace(self, key: YamlNode | None, node: YamlNode, value: str) -> None:
        start, end = node.start_mark.index, self._end(node)
        empty = start == node.end_mark.index
        if key is not None and (empty or not _is_flow(node)):
            # A block starts on a later line than its key, and nothing has no place of its own.
            start = self._text.index(":", key.end_mark.index) + 1
            end, value = start if empty else end, f" {value}"
        padding = _PADDED_COMMENT.match(self._text, end)
        if padding is not None:  # keep the comment in its column
            longer = len(value) - (end - start)
            value += " " * max(2, len(padding[1]) - longer)
            end += len(padding[1])
        self._splices.append((start, end, value))

    def _add(self, node: YamlNode, path: str, steps: list[str], value: str) -> None:
        if isinstance(node, ScalarNode) or (isinstance(node, SequenceNode) and len(steps) < 2):
            raise EditError(path, f"there is no place for {steps[0]!r}")
        if isinstance(node, SequenceNode) and steps[0].isdecimal():
            raise EditError(path, f"the list has no item {steps[0]}")
        tree = self._additions.setdefault(id(node), _Addition(node)).missing
        for step in steps[:-1]:
            below = tree.setdefault(step, {})
            if isinstance(below, str):
                raise EditError(path, f"{step!r} has a value of its own")
            tree = below
        tree[steps[-1]] = value

    def _insertion(self, addition: _Addition) -> tuple[int, int, str]:
        """Return where an addition goes, and its text."""
        node, missing = addition.node, addition.missing
        in_list = isinstance(node, SequenceNode)
        if _is_flow(node):
            at = node.end_mark.index - 1
            parts = [
                _flow({"name": name, **_tree(one)}) if in_list else f"{name}: {_flow(one)}"
                for name, one in missing.items()
            ]
            return at, at, (", " if node.value else "") + ", ".join(parts)
        lines: list[str] = []
        for name, one in missing.items():
            if in_list:
                first, *others = _block({"name": name, **_tree(one)})
                lines += [f"- {first}", *(f"  {line}" for line in others)]
            else:
                lines += _block({name: one})
        indent = " " * node.start_mark.column
        at = self._text.index("\n", max(self._end(node) - 1, 0)) + 1
        return at, at, "".join(f"{indent}{line}\n" for line in lines)

    def _end(self, node: YamlNode) -> int:
        """Return where a node's own text ends: comments and blank lines behind it are not its."""
        if _is_flow(node) or not node.value:
            end: int = node.end_mark.index
            return end
        last = node.value[-1]
        if isinstance(last, tuple):
            key, value = last
            return (
                max(key.end_mark.index + 1, self._end(value))
                if value.value
                else (self._text.index(":", key.end_mark.index) + 1)
            )
        return self._end(last)


def _child(node: YamlNode, step: str) -> tuple[YamlNode | None, YamlNode] | None:
    """Return a key and its value, or an item of a list; None where there is none."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key, value
    elif isinstance(node, SequenceNode):
        named = [_child(item, "name") for item in node.value]
        place = _index(step, (one[1].value if one else None for one in named))
        if place is not None and place < len(node.value):
            return None, node.value[place]
    return None


def _is_flow(node: YamlNode) -> bool:
    return isinstance(node, ScalarNode) or bool(node.flow_style)


def _tree(tree: "Tree | str") -> Tree:
    return {} if isinstance(tree, str) else tree


def _flow(tree: "Tree | str") -> str:
    if isinstance(tree, str):
        return tree
    return "{" + ", ".join(f"{name}: {_flow(one)}" for name, one in tree.items()) + "}"


def _block(tree: Tree) -> list[str]:
    lines = []
    for name, one in tree.items():
        if isinstance(one, str):
            lines.append(f"{name}: {one}")
        else:
            lines += [f"{name}:", *(f"  {line}" for line in _block(one))]
    return lines
