"""The HTTP paths of the protocol itself beside inference: health, metadata, the repository.

Load takes one parameter of ours, `skerry-folder`: the absolute path of a version folder
to put into service in place of what serves now.
"""

from pathlib import Path

from skerry.schema.oip_documents import (
    PARAMETER_FOLDER,
    PARAMETER_TOGETHER,
    IndexRequest,
    IndexRow,
    Liveness,
    LoadRequest,
    ModelMetadata,
    ModelReadiness,
    Readiness,
    ServerMetadata,
)
from skerry.schema.runtime import ModelRuntime
from skerry.serve.http_message import HttpReply, HttpRequest, json_reply
from skerry.serve.http_routes import Route, decoded
from skerry.serve.model_config import refuse_overrides
from skerry.serve.openapi import INFER_REPLY, INFER_REQUEST
from skerry.serve.service import Service

Values = dict[str, str]


async def _server(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    return json_reply(service.server_metadata())


async def _live(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    return json_reply(Liveness(live=True))


async def _ready(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    ready = service.ready()
    return json_reply(Readiness(ready=ready), 200 if ready else 503)


async def _model(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    return json_reply(service.metadata(values["model"], values.get("version", "")))


async def _model_ready(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    name = values["model"]
    ready = service.model_ready(name, values.get("version", ""))
    return json_reply(ModelReadiness(name=name, ready=ready), 200 if ready else 503)


async def _runtime(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    return json_reply(service.runtime(values["model"]))


async def _index(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    wanted = decoded(request.body or b"{}", IndexRequest)
    return json_reply(service.index(ready_only=wanted.ready))


async def _load(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    parameters = decoded(request.body or b"{}", LoadRequest).parameters
    refuse_overrides(list(parameters))
    folder = parameters.get(PARAMETER_FOLDER)
    path = None if folder is None else Path(decoded(bytes(folder), str))
    together = parameters.get(PARAMETER_TOGETHER)
    if together is not None:
        folders = decoded(bytes(together), dict[str, str])
        await service.load_together({model: Path(place) for model, place in folders.items()})
    else:
        await service.load(values["model"], path)
    return HttpReply()


async def _unload(service: Service, request: HttpRequest, values: Values) -> HttpReply:
    decoded(request.body or b"{}", LoadRequest)
    await service.unload(values["model"])
    return HttpReply()


_VERSION = "/versions/{version}"
_MODELS = ("/v2/models/{model}", "/v2/models/{model}" + _VERSION)

CORE_ROUTES = (
    Route(
        method="GET",
        path="/v2",
        does=_server,
        summary="Tell who answers here, and what is spoken",
        gives=ServerMetadata,
    ),
    Route(
        method="GET",
        path="/v2/health/live",
        does=_live,
        summary="Tell that something answers",
        gives=Liveness,
    ),
    Route(
        method="GET",
        path="/v2/health/ready",
        does=_ready,
        summary="Tell whether every model that should serve does",
        gives=Readiness,
        gives_also=(503,),
    ),
    *(
        route
        for model in _MODELS
        for route in (
            Route(
                method="GET",
                path=model,
                does=_model,
                summary="Tell a model's versions, inputs and outputs",
                gives=ModelMetadata,
                errors=(404,),
            ),
            Route(
                method="GET",
                path=f"{model}/ready",
                does=_model_ready,
                summary="Tell whether a model is served",
                gives=ModelReadiness,
                gives_also=(503,),
                errors=(404,),
            ),
            Route(
                method="POST",
                path=f"{model}/infer",
                summary="Answer an inference request",
                takes=INFER_REQUEST,
                gives=INFER_REPLY,
                errors=(400, 404, 503, 504),
            ),
        )
    ),
    Route(
        method="GET",
        path="/v2/models/{model}/runtime",
        does=_runtime,
        summary="Tell how a model is run, and why so",
        gives=ModelRuntime,
        errors=(404,),
    ),
    Route(
        method="POST",
        path="/v2/repository/index",
        does=_index,
        summary="List every model version, its state and the reason",
        takes=IndexRequest,
        may_be_empty=True,
        gives=list[IndexRow],
        errors=(400,),
    ),
    Route(
        method="POST",
        path="/v2/repository/models/{model}/load",
        does=_load,
        summary="Load or swap a model",
        takes=LoadRequest,
        may_be_empty=True,
        errors=(400, 403, 404, 422),
        admin=True,
    ),
    Route(
        method="POST",
        path="/v2/repository/models/{model}/unload",
        does=_unload,
        summary="Take a model out of service",
        takes=LoadRequest,
        may_be_empty=True,
        errors=(400, 403, 404),
        admin=True,
    ),
)
