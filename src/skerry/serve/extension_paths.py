"""The HTTP paths of the protocol's extensions: a table, and what each line of it does.

Reading is for everybody who may ask; what changes the server is for admin listeners.
"""

from functools import cache
from typing import Any

import msgspec

from skerry.schema.oip_documents import RegionRequest, RegionStatus
from skerry.schema.oip_errors import UnsupportedError
from skerry.schema.openai import PATHS
from skerry.serve.core_paths import CORE_ROUTES
from skerry.serve.http_message import HttpReply, HttpRequest, json_reply
from skerry.serve.http_routes import Route, Routes, decoded
from skerry.serve.openapi import OPENAI_REFUSAL, openapi_document
from skerry.serve.service import Service

Values = dict[str, str]


async def _region_status(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    return json_reply(service.regions.status(values.get("region", "")))


async def _region_register(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    wanted = decoded(request.body, RegionRequest)
    service.regions.register(values["region"], wanted.key, wanted.offset, wanted.byte_size)
    return HttpReply()


async def _region_unregister(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    service.regions.unregister(values.get("region", ""))
    return HttpReply()


async def _config(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    return json_reply(await service.config(values["model"], values.get("version", "")))


async def _statistics(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    rows = service.statistics(values.get("model", ""), values.get("version", ""))
    return json_reply({"model_stats": rows})


async def _trace(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    return json_reply(service.trace_settings(values.get("model", "")))


async def _set_trace(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    wanted = decoded(request.body, TraceWish)
    return json_reply(service.change_trace_settings(wanted, values.get("model", "")))


async def _log(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    return json_reply(service.logs.values())


async def _set_log(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    service.logs.change(decoded(request.body, dict[str, bool | int | str]))
    return json_reply(service.logs.values())


async def _cuda(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    raise UnsupportedError("cudasharedmemory", "not offered", "systemsharedmemory")


TraceWish = dict[str, str | int | list[str] | None]
_MODEL = "/v2/models/{model}"
_VERSION = "/versions/{version}"
_SYSTEM = "/v2/systemsharedmemory"
_CUDA = "/v2/cudasharedmemory"

EXTENSION_ROUTES = (
    *(
        Route(
            method="GET",
            path=f"{_MODEL}{version}/config",
            does=_config,
            summary="Tell a model's configuration in Triton's words",
            gives=dict[str, Any],
            errors=(404,),
        )
        for version in ("", _VERSION)
    ),
    *(
        Route(
            method="GET",
            path=f"{model}/stats",
            does=_statistics,
            summary="Tell what model versions have done",
            gives=dict[str, Any],
            errors=(404,) if "{" in model else (),
        )
        for model in ("/v2/models", _MODEL, _MODEL + _VERSION)
    ),
    *(
        route
        for base in ("/v2", _MODEL)
        for route in (
            Route(
                method="GET",
                path=f"{base}/trace/setting",
                does=_trace,
                summary="Tell the trace settings",
                gives=dict[str, str | list[str]],
                errors=(404,) if base == _MODEL else (),
            ),
            Route(
                method="POST",
                path=f"{base}/trace/setting",
                does=_set_trace,
                summary="Change trace settings",
                takes=TraceWish,
                gives=dict[str, str | list[str]],
                errors=(400, 403, 404) if base == _MODEL else (400, 403),
                admin=True,
            ),
        )
    ),
    Route(
        method="GET",
        path="/v2/logging",
        does=_log,
        summary="Tell the log settings",
        gives=dict[str, bool | int | str],
    ),
    Route(
        method="POST",
        path="/v2/logging",
        does=_set_log,
        summary="Change log settings",
        takes=dict[str, bool | int | str],
        gives=dict[str, bool | int | str],
        errors=(400, 403),
        admin=True,
    ),
    Route(
        method="GET",
        path=f"{_SYSTEM}/status",
        does=_region_status,
        summary="List the shared memory regions",
        gives=list[RegionStatus],
        errors=(403,),
        admin=True,
    ),
    Route(
        method="GET",
        path=f"{_SYSTEM}/region/{{region}}/status",
        does=_region_status,
        summary="Tell what a shared memory region is",
        gives=list[RegionStatus],
        errors=(403, 404),
        admin=True,
    ),
    Route(
        method="POST",
        path=f"{_SYSTEM}/region/{{region}}/register",
        does=_region_register,
        summary="Register a shared memory region",
        takes=RegionRequest,
        errors=(400, 403),
        admin=True,
    ),
    Route(
        method="POST",
        path=f"{_SYSTEM}/region/{{region}}/unregister",
        does=_region_unregister,
        summary="Forget a shared memory region",
        errors=(403, 404),
        admin=True,
    ),
    Route(
        method="POST",
        path=f"{_SYSTEM}/unregister",
        does=_region_unregister,
        summary="Forget every shared memory region",
        errors=(403,),
        admin=True,
    ),
    *(
        Route(
            method=method,
            path=f"{_CUDA}/{path}",
            does=_cuda,
            summary="Not offered: memory of a GPU",
            errors=(400,),
        )
        for method, path in (
            ("GET", "status"),
            ("GET", "region/{region}/status"),
            ("POST", "region/{region}/register"),
            ("POST", "region/{region}/unregister"),
            ("POST", "unregister"),
        )
    ),
)


async def _openapi(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    return HttpReply(body=[_openapi_body()])


@cache
def _openapi_body() -> bytes:
    return msgspec.json.encode(openapi_document(ROUTES))


_OPENAI_ROUTES = (
    *(
        Route(
            method="POST",
            path=f"/v1/{path}",
            summary=f"Answer as the OpenAI API's /v1/{path} does",
            takes=dict[str, Any],
            gives=dict[str, Any],
            refusal=OPENAI_REFUSAL,
            errors=(400, 404, 503, 504),
        )
        for path in PATHS
    ),
    *(
        Route(
            method="GET",
            path=path,
            summary="Tell the language models that are served",
            gives=dict[str, Any],
            refusal=OPENAI_REFUSAL,
            errors=(404,),
        )
        for path in ("/v1/models", "/v1/models/{model}")
    ),
)

ROUTES = (
    *CORE_ROUTES,
    *_OPENAI_ROUTES,
    *EXTENSION_ROUTES,
    Route(
        method="GET",
        path="/openapi.json",
        does=_openapi,
        summary="Tell every path, what it takes and what it gives",
        gives=dict[str, Any],
    ),
)
"""Every path of the door."""

all_paths = Routes(ROUTES)
