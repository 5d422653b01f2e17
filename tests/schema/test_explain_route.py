"""`skerry-explain-route`: a header or a parameter, true or false, and never anybody else's."""

import pytest

from skerry.schema.oip import HEADER_EXPLAIN_ROUTE, InferRequest
from skerry.schema.oip_errors import OipError
from skerry.schema.oip_facts import read_facts


def read(header: str | None, parameters: dict[str, object]) -> InferRequest:
    request = InferRequest(model="m", inputs=[], parameters=parameters)  # type: ignore[arg-type]
    read_facts(request, {HEADER_EXPLAIN_ROUTE: header}.get)
    return request


@pytest.mark.parametrize(
    ("header", "parameter", "wanted"),
    [
        ("true", None, True),
        ("false", None, False),
        (None, True, True),
        (None, "true", True),
        ("false", True, False),
    ],
)
def test_a_header_wins_over_a_parameter(
    header: str | None, parameter: object, wanted: bool
) -> None:
    given = {} if parameter is None else {HEADER_EXPLAIN_ROUTE: parameter}
    assert read(header, given).parameters[HEADER_EXPLAIN_ROUTE] is wanted


def test_a_wish_is_not_written_where_requests_share_their_parameters() -> None:
    shared: dict[str, object] = {"labels": 3}
    assert read("true", shared).parameters == {"labels": 3, HEADER_EXPLAIN_ROUTE: True}
    assert shared == {"labels": 3}


def test_anything_else_is_refused() -> None:
    with pytest.raises(OipError, match="wanted true or false"):
        read("perhaps", {})
