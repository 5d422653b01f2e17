"""The OpenAPI 3.1 document of the HTTP door, made from the tables that it dispatches from.

Bodies and answers come from the documents' own types, so that the page cannot say
another thing than the code; only inference, whose bodies are read by hand, is written out.

Source:  OpenAPI Specification 3.1.0; JSON Schema 2020-12.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from skerry import __version__
from skerry.schema.oip import DATATYPES
from skerry.schema.oip_documents import ErrorDocument
from skerry.serve.http_routes import Route

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
_BINARY = "application/octet-stream"

INFER_REQUEST = "InferenceRequest"
INFER_REPLY = "InferenceReply"
OPENAI_REFUSAL = "OpenAiError"


def openapi_document(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the document of a table of paths."""
    kinds = [ErrorDocument, *(kind for route in routes for kind in (route.takes, route.gives))]
    structs = [kind for kind in kinds if kind is not None and not isinstance(kind, str)]
    shapes, components = msgspec.json.schema_components(structs, ref_template=_REF)
    schema_of = dict(zip(map(str, structs), shapes, strict=True))
    schema_of |= {name: {"$ref": _REF.format(name=name)} for name in _BY_HAND}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "skerry: Open Inference Protocol v2",
            "version": __version__,
            "description": "Inference, and Triton's extensions of the protocol.",
        },
        "paths": paths,
        "components": {"schemas": {**components, **_BY_HAND}},
    }


def _operation(route: Route, schema_of: dict[str, Any]) -> dict[str, Any]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "responses": {
            str(status): _answer(status, route, schema_of)
            for status in sorted({200, *route.gives_also})
        }
        | {str(status): _refusal(HTTPStatus(status).phrase, route) for status in route.errors}
        | {"default": _refusal("Refused or failed", route)},
    }
    if names:
        operation["parameters"] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string", "minLength": 1},
            }
            for name in names
        ]
    if route.takes is not None:
        content = {_JSON: {"schema": schema_of[str(route.takes)]}}
        if route.takes == INFER_REQUEST:
            content[_BINARY] = {"schema": {}}
        operation["requestBody"] = {"required": not route.may_be_empty, "content": content}
    if route.admin:
        operation["description"] = "Admin listeners only (loopback, Unix socket), never a web page."
    return operation


def _operation_id(route: Route) -> str:
    parts = [part.strip("{}") for part in route.path.strip("/").split("/")]
    return "_".join([route.method.lower(), *parts]).replace(".", "_")


def _answer(status: int, route: Route, schema_of: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if route.gives is not None:
        answer["content"] = {_JSON: {"schema": schema_of[str(route.gives)]}}
        if route.gives == INFER_REPLY:
            answer["content"][_BINARY] = {"schema": {}}
    return answer


def _refusal(text: str, route: Route) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name=route.refusal)}
    return {"description": text, "content": {_JSON: {"schema": schema}}}


_PARAMETERS = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"enum": sorted(DATATYPES)},
        "parameters": _PARAMETERS,
        "data": {"type": "array"},
    },
}
_BY_HAND: dict[str, Any] = {
    OPENAI_REFUSAL: {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
    },
    INFER_REQUEST: {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": _PARAMETERS,
            "inputs": {"type": "array", "items": _TENSOR},
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "parameters": _PARAMETERS},
                },
            },
        },
    },
    INFER_REPLY: {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": _PARAMETERS,
            "outputs": {"type": "array", "items": _TENSOR},
        },
    },
}
