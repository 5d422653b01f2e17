"""The RPCs of the protocol's extensions, in the shape that `grpc_works` dispatches from.

Errors:  those of the extensions; UnsupportedError for memory of a GPU.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from skerry.schema import open_inference_pb2 as pb
from skerry.schema.oip_errors import UnsupportedError
from skerry.schema.oip_grpc import parse
from skerry.schema.oip_tensors import Buffer
from skerry.serve.errors import NotAdminError
from skerry.serve.grpc_call import Work
from skerry.serve.service import Service


class Caller(Protocol):
    """What a work needs to know of a call."""

    @property
    def admin(self) -> bool:
        """Whether the listener it came through takes commands."""


def extension_works(service: Service) -> Mapping[str, Work]:
    """Return the works of the extensions by RPC."""
    works = _Extensions(service)
    return {
        "ModelConfig": works.config,
        "ModelStatistics": works.statistics,
        "TraceSetting": works.trace,
        "LogSettings": works.log,
        "SystemSharedMemoryStatus": works.region_status,
        "SystemSharedMemoryRegister": works.region_register,
        "SystemSharedMemoryUnregister": works.region_unregister,
        "CudaSharedMemoryStatus": works.cuda,
        "CudaSharedMemoryRegister": works.cuda,
        "CudaSharedMemoryUnregister": works.cuda,
    }


class _Extensions:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def config(self, data: Buffer, call: Caller) -> list[Buffer]:
        from google.protobuf.json_format import ParseDict  # only these calls need it

        wanted = parse(pb.ModelConfigRequest(), data)
        message = pb.ModelConfigResponse()
        found = await self._service.config(wanted.name, wanted.version)
        ParseDict(found, message.config)
        return _pieces(message)

    async def statistics(self, data: Buffer, call: Caller) -> list[Buffer]:
        from google.protobuf.json_format import ParseDict  # only these calls need it

        wanted = parse(pb.ModelStatisticsRequest(), data)
        message = pb.ModelStatisticsResponse()
        for row in self._service.statistics(wanted.name, wanted.version):
            ParseDict(row, message.model_stats.add())
        return _pieces(message)

    async def trace(self, data: Buffer, call: Caller) -> list[Buffer]:
        wanted = parse(pb.TraceSettingRequest(), data)
        found = self._service.trace_settings(wanted.model_name)
        if wanted.settings:
            _need_admin(call, "changing trace settings")
            found = self._service.change_trace_settings(
                {name: list(setting.value) for name, setting in wanted.settings.items()},
                wanted.model_name,
            )
        message = pb.TraceSettingResponse()
        for name, value in found.items():
            message.settings[name].value.extend([value] if isinstance(value, str) else value)
        return _pieces(message)

    async def log(self, data: Buffer, call: Caller) -> list[Buffer]:
        settings = parse(pb.LogSettingsRequest(), data).settings
        if settings:
            _need_admin(call, "changing log settings")
            kinds = {name: value.WhichOneof("parameter_choice") for name, value in settings.items()}
            self._service.logs.change(
                {name: getattr(settings[name], kind) for name, kind in kinds.items() if kind}
            )
        message = pb.LogSettingsResponse()
        for name, value in self._service.logs.values().items():
            if isinstance(value, bool):
                message.settings[name].bool_param = value
            elif isinstance(value, int):
                message.settings[name].uint32_param = value
            else:
                message.settings[name].string_param = value
        return _pieces(message)

    async def region_status(self, data: Buffer, call: Caller) -> list[Buffer]:
        wanted = parse(pb.SystemSharedMemoryStatusRequest(), data)
        _need_admin(call, "listing shared memory regions")
        message = pb.SystemSharedMemoryStatusResponse()
        for found in self._service.regions.status(wanted.name):
            row = message.regions[found.name]
            row.name, row.key = found.name, found.key
            row.offset, row.byte_size = found.offset, found.byte_size
        return _pieces(message)

    async def region_register(self, data: Buffer, call: Caller) -> list[Buffer]:
        wanted = parse(pb.SystemSharedMemoryRegisterRequest(), data)
        _need_admin(call, "registering shared memory")
        self._service.regions.register(wanted.name, wanted.key, wanted.offset, wanted.byte_size)
        return _pieces(pb.SystemSharedMemoryRegisterResponse())

    async def region_unregister(self, data: Buffer, call: Caller) -> list[Buffer]:
        wanted = parse(pb.SystemSharedMemoryUnregisterRequest(), data)
        _need_admin(call, "unregistering shared memory")
        self._service.regions.unregister(wanted.name)
        return _pieces(pb.SystemSharedMemoryUnregisterResponse())

    async def cuda(self, data: Buffer, call: Caller) -> list[Buffer]:
        raise UnsupportedError("CUDA shared memory", "not offered", "system shared memory")


def _need_admin(call: Caller, what: str) -> None:
    if not call.admin:
        raise NotAdminError(what)


def _pieces(message: Any) -> list[Buffer]:
    return [bytes(message.SerializeToString())]
