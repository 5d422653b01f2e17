"""Triton's `config.pbtxt`: the protobuf text format, read into blocks that know their place.

Only the grammar is here; `model_settings` says which fields mean something. A field that
nobody reads is refused by name: a setting that does nothing is worse than an error.

Errors:  SettingsError, with the line.
Source:  the text format language specification of Protocol Buffers; fields of Triton's
         model_config.proto.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from skerry.serve.errors import SettingsError

CONFIG_FILE = "config.pbtxt"
CONFIG_BYTES_MAX = 256 * 1024
DEPTH_MAX = 16

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)"""
    r"""|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<word>[A-Za-z_][\w.]*|[-+]?\d[\w.+-]*)"""
    r"""|(?P<sign>[{}\[\]:,;<>])"""
)


@dataclass(slots=True)
class Block:
    """One message: its fields by name, each with every value that was given."""

    path: str
    where: str = ""
    fields: dict[str, "list[str | Block]"] = field(default_factory=dict)

    def text(self, name: str, default: str) -> str:
        """Return a field that holds one word or text."""
        values = self.fields.get(name, [])
        if not values:
            return default
        if len(values) > 1 or isinstance(values[0], Block):
            raise self.wrong(name, "a block or a list", "one value")
        return values[0]

    def number(self, name: str, default: int) -> int:
        """Return a field that holds one whole number, not below 0."""
        text = self.text(name, str(default))
        if not text.isdecimal():
            raise self.wrong(name, text, "a whole number")
        return int(text[:18])

    def numbers(self, name: str) -> list[int]:
        """Return a field that holds whole numbers."""
        found = self.fields.get(name, [])
        for one in found:
            if isinstance(one, Block) or not one.isdecimal():
                raise self.wrong(name, "a block" if isinstance(one, Block) else one, "numbers")
        return [int(str(one)[:18]) for one in found]

    def block(self, name: str) -> "Block | None":
        """Return a field that holds one block; None where it is not there."""
        found = self.blocks(name)
        if len(found) > 1:
            raise self.wrong(name, f"{len(found)} blocks", "one")
        return found[0] if found else None

    def blocks(self, name: str) -> "list[Block]":
        """Return a field that holds blocks."""
        found = self.fields.get(name, [])
        blocks = [one for one in found if isinstance(one, Block)]
        if len(blocks) != len(found):
            raise self.wrong(name, "a value", "a block in { }")
        return blocks

    def only(self, *names: str) -> None:
        """Refuse a field that is none of these."""
        for name in self.fields:
            if name not in names:
                raise SettingsError(
                    self.path,
                    f"{self.where}{name} is not supported here, "
                    f"wanted only {', '.join(sorted(names))}",
                )

    def wrong(self, name: str, found: str, wanted: str) -> SettingsError:
        """Return the error for one field."""
        return SettingsError(self.path, f"{self.where}{name} is {found}, wanted {wanted}")


def read_config(path: Path) -> Block:
    """Read a `config.pbtxt` file."""
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
        if len(data) > CONFIG_BYTES_MAX:
            raise SettingsError(str(path), f"is larger than {CONFIG_BYTES_MAX} bytes")
        return parse_config(data.decode(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), f"cannot be read ({error})") from error


def parse_config(text: str, path: str) -> Block:
    """Return the block of a whole text."""
    tokens = _tokens(text, path)
    block = Block(path)
    _fill(block, tokens, "", depth=0)
    return block


def _tokens(text: str, path: str) -> list[tuple[str, int]]:
    """Return the tokens in reverse, each with its line, so that the next one is popped."""
    found: list[tuple[str, int]] = []
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise SettingsError(path, f"line {line}: {text[at]!r} belongs to no field")
        if match.lastgroup != "space":
            found.append((match.group(), line))
        line += match.group().count("\n")
        at = match.end()
    found.reverse()
    return found


def _fill(block: Block, tokens: list[tuple[str, int]], end: str, *, depth: int) -> None:
    """Read fields up to the token `end`; the empty one is the end of the file."""
    while tokens:
        name, line = tokens.pop()
        if name == end:
            return
        if name in ",;":
            continue
        if not (name[0].isalpha() or name[0] == "_"):
            raise SettingsError(block.path, f"line {line}: {name!r} is no field's name")
        if tokens and tokens[-1][0] == ":":
            tokens.pop()
        block.fields.setdefault(name, []).extend(_values(block, name, tokens, line, depth))
    if end:
        raise SettingsError(block.path, f"{block.where.rstrip('.')} is not closed, wanted {end}")


def _values(
    block: Block, name: str, tokens: list[tuple[str, int]], line: int, depth: int
) -> "list[str | Block]":
    if not tokens or depth >= DEPTH_MAX:
        raise SettingsError(block.path, f"line {line}: {name} has no value, or lies too deep")
    piece, line = tokens.pop()
    if piece == "[":
        found: list[str | Block] = []
        while tokens and tokens[-1][0] != "]":
            if tokens[-1][0] == ",":
                tokens.pop()
                continue
            found += _values(block, name, tokens, line, depth + 1)
        if not tokens:
            raise SettingsError(block.path, f"line {line}: the list of {name} is not closed")
        tokens.pop()
        return found
    if piece in "{<":
        inner = Block(block.path, f"{block.where}{name}.")
        _fill(inner, tokens, "}" if piece == "{" else ">", depth=depth + 1)
        return [inner]
    if piece[0] in "\"'":
        return [re.sub(r"\\(.)", r"\1", piece[1:-1])]
    if piece in "}]:,;>":
        raise SettingsError(block.path, f"line {line}: {name} has no value")
    return [piece]
