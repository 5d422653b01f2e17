"""What the gRPC service does, call by call, whichever door a call came through.

A work takes a message's bytes and what the door knows of the call, and gives the answer's
bytes in pieces. `unary` is the table that both doors dispatch from; a new RPC is one more
line in it. `stream_infer` answers one message of the stream `ModelStreamInfer`.

Units:   seconds, on the clock's monotonic scale.
Errors:  ServeError and OipError and their kinds; `status_of` turns one into a status.
"""

import contextlib
import logging
from pathlib import Path
from typing import Any

from skerry.base.errors import SkerryError
from skerry.schema import open_inference_pb2 as pb
from skerry.schema.oip import HEADER_SERVED_BY, InferFunction, InferReply
from skerry.schema.oip_documents import PARAMETER_FOLDER
from skerry.schema.oip_facts import read_facts
from skerry.schema.oip_grpc import parse
from skerry.schema.oip_grpc_forms import decode, encode, encode_streamed
from skerry.schema.oip_tensors import Buffer
from skerry.serve.grpc_call import FAILED, Call, Work, need_admin, status_of
from skerry.serve.grpc_extensions import extension_works
from skerry.serve.model_config import refuse_overrides
from skerry.serve.service import Service

log = logging.getLogger("skerry.serve")

STREAM_METHOD = "ModelStreamInfer"


class GrpcWorks:
    """The works of one service; every door of a server shares them."""

    def __init__(self, service: Service, infer: InferFunction) -> None:
        self._service = service
        self._infer = infer
        self.unary: dict[str, Work] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
            **extension_works(service),
        }

    async def stream_infer(self, data: Buffer, call: Call) -> list[Buffer]:
        """Answer one request of a stream; an error is an answer too, and ends nothing."""
        try:
            return encode_streamed(await self._answer(data, call))
        except SkerryError as error:
            text = status_of(error).text
        except Exception:
            log.exception("a request of a gRPC stream failed")
            text = FAILED.text
        answer = pb.ModelStreamInferResponse(error_message=text)
        with contextlib.suppress(SkerryError):  # a message that cannot be read has no id
            answer.infer_response.id = parse(pb.ModelInferRequest(), data).id
        return _pieces(answer)

    async def _model_infer(self, data: Buffer, call: Call) -> list[Buffer]:
        return encode(await self._answer(data, call))

    async def _answer(self, data: Buffer, call: Call) -> InferReply:
        regions = self._service.regions
        request = decode(data, regions.read if call.admin else None)
        if request.wishes:
            regions.check(request.wishes)
        request.received_s = call.received_s
        request.client = call.client
        if call.facts or request.parameters or call.peer_site is not None:
            read_facts(request, call.metadata.get, peer_site=call.peer_site)
        if call.deadline_s is not None:
            stated_s = request.deadline_s
            request.deadline_s = (
                call.deadline_s if stated_s is None else min(call.deadline_s, stated_s)
            )
        reply = await self._infer(request)
        if request.wishes:
            self._service.fulfil(request, reply)
        if reply.served_by is not None:
            served = reply.served_by.text
            reply.parameters[HEADER_SERVED_BY] = served
            call.trailing.append((HEADER_SERVED_BY, served))
        return reply

    async def _server_live(self, data: Buffer, call: Call) -> list[Buffer]:
        return _pieces(pb.ServerLiveResponse(live=True))

    async def _server_ready(self, data: Buffer, call: Call) -> list[Buffer]:
        return _pieces(pb.ServerReadyResponse(ready=self._service.ready()))

    async def _model_ready(self, data: Buffer, call: Call) -> list[Buffer]:
        wanted = parse(pb.ModelReadyRequest(), data)
        ready = self._service.model_ready(wanted.name, wanted.version)
        return _pieces(pb.ModelReadyResponse(ready=ready))

    async def _server_metadata(self, data: Buffer, call: Call) -> list[Buffer]:
        found = self._service.server_metadata()
        return _pieces(
            pb.ServerMetadataResponse(
                name=found.name, version=found.version, extensions=found.extensions
            )
        )

    async def _model_metadata(self, data: Buffer, call: Call) -> list[Buffer]:
        wanted = parse(pb.ModelMetadataRequest(), data)
        found = self._service.metadata(wanted.name, wanted.version)
        message = pb.ModelMetadataResponse(
            name=found.name, versions=found.versions, platform=found.platform
        )
        for side, specs in ((message.inputs, found.inputs), (message.outputs, found.outputs)):
            for spec in specs:
                side.add(name=spec.name, datatype=spec.datatype, shape=spec.shape)
        return _pieces(message)

    async def _index(self, data: Buffer, call: Call) -> list[Buffer]:
        wanted = parse(pb.RepositoryIndexRequest(), data)
        message = pb.RepositoryIndexResponse()
        for row in self._service.index(ready_only=wanted.ready):
            message.models.add(
                name=row.name, version=row.version, state=row.state, reason=row.reason
            )
        return _pieces(message)

    async def _load(self, data: Buffer, call: Call) -> list[Buffer]:
        wanted = parse(pb.RepositoryModelLoadRequest(), data)
        need_admin(call, "load of a model")
        refuse_overrides(list(wanted.parameters))
        folder = wanted.parameters.get(PARAMETER_FOLDER)
        path = None if folder is None else Path(folder.string_param)
        await self._service.load(wanted.model_name, path)
        return _pieces(pb.RepositoryModelLoadResponse())

    async def _unload(self, data: Buffer, call: Call) -> list[Buffer]:
        wanted = parse(pb.RepositoryModelUnloadRequest(), data)
        need_admin(call, "unload of a model")
        await self._service.unload(wanted.model_name)
        return _pieces(pb.RepositoryModelUnloadResponse())


def _pieces(message: Any) -> list[Buffer]:
    return [bytes(message.SerializeToString())]
