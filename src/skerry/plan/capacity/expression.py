"""Arithmetic over columns, as a user writes it: read safely, computed for all rows at once.

    service_s = Expression("0.05 + 0.0002*context_tokens + 0.02*generated_tokens")

The text becomes Python's own syntax tree, of which only arithmetic is accepted; nothing of
it is ever run as code. Length, size and depth are bounded.

Units:   as the text's author means them; the caller names the unit of the result.
Shapes:  every column and the result are (rows,).
Errors:  ExpressionError, for anything that is not arithmetic, a name that is no column, or
         columns that differ in length.
"""

import ast
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from skerry.plan.capacity.errors import ExpressionError

Series = NDArray[np.float64]

TEXT_LEN_MAX: Final = 2000
NODES_MAX: Final = 400
DEPTH_MAX: Final = 60
_BINARY: Final[dict[type[ast.operator], Callable[..., Any]]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}
_UNARY: Final[dict[type[ast.unaryop], Callable[..., Any]]] = {
    ast.UAdd: np.positive,
    ast.USub: np.negative,
}
_FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], int, int]]] = {
    "abs": (np.abs, 1, 1),
    "ceil": (np.ceil, 1, 1),
    "exp": (np.exp, 1, 1),
    "floor": (np.floor, 1, 1),
    "log": (np.log, 1, 1),
    "max": (np.maximum, 2, 8),
    "min": (np.minimum, 2, 8),
    "sqrt": (np.sqrt, 1, 1),
}
"""Name to what it computes, and how few and how many arguments it takes."""


class Expression:
    """One expression; `columns` are the names it uses, in the order they first appear."""

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > TEXT_LEN_MAX:
            raise ExpressionError(text, f"{len(text)} characters, at most {TEXT_LEN_MAX}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # `3if` and the like are a slip here, not a habit
                tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError, Warning) as error:
            raise ExpressionError(text, f"{error}".split("\n")[0][:120]) from error
        self._tree = tree
        self.columns = tuple(dict.fromkeys(self._checked()))

    def __call__(self, columns: Mapping[str, Series]) -> Series:
        """Return the value of every row; where arithmetic fails (1/0), it is inf or NaN."""
        missing = [name for name in self.columns if name not in columns]
        if missing:
            raise ExpressionError(self.text, f"{missing[0]!r} is no column", columns)
        rows = {len(columns[name]) for name in columns}
        if len(rows) > 1:
            raise ExpressionError(self.text, f"columns of {sorted(rows)} rows")
        with np.errstate(all="ignore"):
            value = self._value(self._tree, columns)
        out = np.empty(rows.pop() if rows else 1)
        out[:] = value
        return out

    def _checked(self) -> Iterator[str]:
        """Yield the names of columns; refuse whatever is not arithmetic."""
        waiting: list[tuple[ast.AST, int]] = [(self._tree, 1)]
        seen = 0
        while waiting:
            node, depth = waiting.pop()
            seen += 1
            if seen > NODES_MAX or depth > DEPTH_MAX:
                raise ExpressionError(self.text, f"more than {NODES_MAX} parts or too deep")
            if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
                waiting += [(node.right, depth + 1), (node.left, depth + 1)]
            elif isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
                waiting.append((node.operand, depth + 1))
            elif isinstance(node, ast.Call):
                waiting += [(one, depth + 1) for one in reversed(self._arguments(node))]
            elif isinstance(node, ast.Name):
                yield node.id
            elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
                self._number(node.value)
            else:
                part = ast.unparse(node)[:40]
                raise ExpressionError(self.text, f"{part!r} is not arithmetic")

    def _arguments(self, node: ast.Call) -> list[ast.expr]:
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)[:40]
        if name not in _FUNCTIONS:
            raise ExpressionError(self.text, f"there is no function {name!r}")
        _, least, most = _FUNCTIONS[name]
        if node.keywords or not least <= len(node.args) <= most:
            wanted = f"{least}" if least == most else f"{least} to {most}"
            raise ExpressionError(self.text, f"{name} takes {wanted} values")
        return node.args

    def _number(self, value: Any) -> float:
        try:
            return float(value)
        except OverflowError:
            raise ExpressionError(self.text, "a number is too large") from None

    def _value(self, node: ast.AST, columns: Mapping[str, Series]) -> Any:
        if isinstance(node, ast.Constant):
            return self._number(node.value)
        if isinstance(node, ast.Name):
            return columns[node.id]
        if isinstance(node, ast.UnaryOp):
            return _UNARY[type(node.op)](self._value(node.operand, columns))
        if isinstance(node, ast.BinOp):
            left, right = self._value(node.left, columns), self._value(node.right, columns)
            return _BINARY[type(node.op)](left, right)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            function = _FUNCTIONS[node.func.id][0]
            first, *rest = (self._value(one, columns) for one in node.args)
            if not rest:
                return function(first)
            for one in rest:
                first = function(first, one)
            return first
        raise AssertionError(ast.dump(node))  # `_checked` lets nothing else through
