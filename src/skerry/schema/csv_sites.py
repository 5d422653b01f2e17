"""Sites from a CSV file: each row becomes a site of the tree, with its place.

Columns: `name`, `tier`, `lat`, `lon` are needed; `region`, `jurisdiction`, `grid`,
`grid_carbon`, `grid_source`, `nodes`, `feed`, `hours`, `contact_name`,
`contact_phone` and `label:KEY` may be there. An empty cell means *not stated*. A
cell with a comma or a quote is written as in RFC 4180; a cell holds no line break.

Errors:  UnreadableFileError, UnknownKeyError, MissingKeyError, with row and column.
"""

import re
from difflib import get_close_matches

from skerry.schema.file_errors import (
    MissingKeyError,
    Place,
    UnknownKeyError,
    UnreadableFileError,
    WrongTypeError,
)
from skerry.schema.yaml_reader import FILE_BYTES_MAX, Node, plain_scalar

NEEDED = ("name", "tier", "lat", "lon")
TEXT = (
    *("region", "jurisdiction", "grid", "grid_carbon", "grid_source", "feed", "hours"),
    *("contact_name", "contact_phone"),
)
COLUMNS = (*NEEDED, "nodes", *TEXT)
_CELL = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,]*))\s*(,|$)')


def read_sites(data: bytes, file: str, lines: dict[str, list[str]]) -> Node:
    """Return a list node with one mapping per row; puts the file's lines into `lines`."""
    if len(data) > FILE_BYTES_MAX:
        raise UnreadableFileError("", f"{file} is more than {FILE_BYTES_MAX // 2**20} MiB")
    try:
        rows = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UnreadableFileError("", f"{file} is not UTF-8 text", "save it as UTF-8") from error
    lines[file] = rows
    heads = _cells(rows[0], file, 0) if rows else []
    _check_heads(heads, file, rows)
    sites: list[Node] = []
    for number, row in enumerate(rows[1:], start=1):
        if not row.strip() or row.startswith("#"):
            continue
        cells = _cells(row, file, number)
        if len(cells) != len(heads):
            raise WrongTypeError(
                f"sites.{len(sites)}",
                f"the row has {len(cells)} cells, the first line names {len(heads)}",
                "a cell with a comma in it needs quotes",
                Place(file=file, line=number + 1, column=1, width=len(row), text=row),
            )
        sites.append(_site(heads, cells, file, number, len(row)))
    return Node(file, 0, 0, 1, items=sites)


def _cells(row: str, file: str, number: int) -> list[Node]:
    """Split a row; every cell is a node that knows its column."""
    cells: list[Node] = []
    at = 0
    while True:
        match = _CELL.match(row, at)
        if match is None:
            raise WrongTypeError(
                "",
                "a quote is not closed, or text stands after it",
                'write a quote inside a cell twice: ""',
                Place(file=file, line=number + 1, column=at + 1, width=1, text=row),
            )
        quoted = match[1] is not None
        text = match[1].replace('""', '"') if quoted else match[2].strip()
        start = match.start(1) - 1 if quoted else match.start(2)
        cells.append(Node(file, number, start, max(1, len(text)), scalar=text))
        if not match[3]:
            return cells
        at = match.end()


def _check_heads(heads: list[Node], file: str, rows: list[str]) -> None:
    names = [str(head.scalar) for head in heads]
    for head, name in zip(heads, names, strict=True):
        if name not in COLUMNS and not name.startswith("label:"):
            near = get_close_matches(name, COLUMNS, n=1, cutoff=0.6)
            raise UnknownKeyError(
                "sites",
                f"`{name}` is not a column",
                f"did you mean `{near[0]}`?" if near else f"columns are: {', '.join(COLUMNS)}",
                _head_place(file, rows, head),
            )
    for wanted in NEEDED:
        if wanted not in names:
            raise MissingKeyError(
                "sites",
                f"column `{wanted}` is missing",
                f"the first line of {file} names the columns",
                Place(file=file, line=1, column=1, width=1, text=rows[0] if rows else ""),
            )


def _head_place(file: str, rows: list[str], head: Node) -> Place:
    return Place(file=file, line=1, column=head.column + 1, width=head.width, text=rows[0])


def _site(heads: list[Node], cells: list[Node], file: str, number: int, width: int) -> Node:
    site = Node(file, number, 0, width, fields={})
    assert site.fields is not None  # noqa: S101 - set just above
    at: list[Node] = []
    contact = Node(file, number, 0, 1, fields={})
    labels = Node(file, number, 0, 1, fields={})
    for head, cell in zip(heads, cells, strict=True):
        name = str(head.scalar)
        if name in ("lat", "lon"):
            cell.scalar = plain_scalar(str(cell.scalar))
            at.insert(0 if name == "lat" else len(at), cell)
        elif cell.scalar == "":
            continue
        elif name.startswith("label:") and labels.fields is not None:
            labels.fields[name.removeprefix("label:")] = cell
        elif name.startswith("contact_") and contact.fields is not None:
            contact.fields[name.removeprefix("contact_")] = cell
        else:
            if name == "nodes":
                cell.scalar = plain_scalar(str(cell.scalar))
            site.fields[name] = cell
    site.fields["at"] = Node(file, number, at[0].column, at[0].width, items=at)
    for key, node in (("contact", contact), ("labels", labels)):
        if node.fields:
            first = next(iter(node.fields.values()))
            node.column, node.width = first.column, first.width
            site.fields[key] = node
    site.keys = dict(site.fields)
    return site
