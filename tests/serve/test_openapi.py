"""The OpenAPI document tells the truth: a generator works from it against a live server."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi import checks

from skerry.serve.extension_paths import ROUTES

EXAMPLES = 12
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
]
OPERATIONS = [(route.method, route.path) for route in ROUTES]


@pytest.fixture(scope="module")
def named() -> dict[str, str]:
    """Path parameters that lead somewhere; the rest of each path is generated."""
    return {"model": "double", "version": "2"}


def fetched(live: Any) -> Any:
    url = f"http://127.0.0.1:{live.ports.http}/openapi.json"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_path_answers_as_the_document_says(
    live: Any, named: dict[str, str], method: str, path: str
) -> None:
    schema = schemathesis.openapi.from_dict(fetched(live))
    schema.config.update(base_url=f"http://127.0.0.1:{live.ports.http}")

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method].as_strategy())
    def ask(case: Any) -> None:
        for name, value in named.items():
            if name in case.path_parameters and len(case.path_parameters[name]) % 2:
                case.path_parameters[name] = value
        case.call_and_validate(checks=CHECKS, timeout=5)

    ask()


def test_a_wrong_method_is_told_the_right_ones(live: Any) -> None:
    for path, allowed in (
        ("/v2", "GET"),
        ("/v2/logging", "GET, POST"),
        ("/v2/models/double/infer", "POST"),
        ("/v1/models", "GET"),
    ):
        url = f"http://127.0.0.1:{live.ports.http}{path}"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=5)
        assert (caught.value.code, caught.value.headers["allow"]) == (405, allowed)


def test_every_path_of_the_document_is_there(live: Any) -> None:
    document = fetched(live)
    assert document["openapi"] == "3.1.0"
    assert {
        (method.upper(), path) for path, one in document["paths"].items() for method in one
    } == set(OPERATIONS)
