"""For programs that use `tritonclient.http` today: the same names, with our routing inside.

    import skerry.client.triton as httpclient      # was: import tritonclient.http as httpclient

    client = httpclient.InferenceServerClient("localhost:8000")
    given = httpclient.InferInput("x", [1, 4], "FP32")
    given.set_data_from_numpy(array)
    client.infer("model", [given]).as_numpy("y")

`url` may also be a list, tried in order with failover and hedging, and each entry a URL
of any form that `skerry.client` takes. Unlike tritonclient's, a client may be shared by
threads. How to change over: docs/how-to/come-from-tritonclient.md.

Units:   seconds, but `timeout` of a request is in microseconds, as Triton has it.
Errors:  InferenceServerException, whose `debug_details` is the SDK's own error.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Self, TypeVar
from urllib.parse import quote

from skerry.base.errors import SkerryError
from skerry.client.endpoints import Trust
from skerry.client.sync_client import Client
from skerry.client.triton_tensors import (
    InferenceServerException,
    InferInput,
    InferRequestedOutput,
    InferResult,
    told,
)
from skerry.schema.oip import InferRequest, Parameter
from skerry.schema.oip_facts import FACTS, read_facts
from skerry.schema.oip_http import encode_request

__all__ = [
    "InferAsyncRequest",
    "InferInput",
    "InferRequestedOutput",
    "InferResult",
    "InferenceServerClient",
    "InferenceServerException",
]
T = TypeVar("T")
Json = Any
"""A decoded JSON document, as tritonclient returns it."""
Headers = Mapping[str, str] | None
Query = Mapping[str, object] | None
_RESERVED = frozenset(
    {"sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "headers"}
)


class InferAsyncRequest:
    """A request under way."""

    def __init__(self, future: "Future[InferResult]", verbose: bool = False) -> None:
        self._future = future

    def get_result(self, block: bool = True, timeout: float | None = None) -> InferResult:
        """Return the answer, waiting for it at most `timeout` seconds."""
        try:
            return self._future.result(timeout if block else 0)
        except FutureTimeoutError as error:
            raise InferenceServerException("failed to obtain inference response") from error


class InferenceServerClient:
    """One server, or several in the order they are tried; see the module."""

    def __init__(
        self,
        url: str | Sequence[str],
        verbose: bool = False,
        concurrency: int = 1,
        connection_timeout: float = 60.0,
        network_timeout: float = 60.0,
        max_greenlets: int | None = None,
        ssl: bool = False,
        ssl_options: Mapping[str, Any] | None = None,
        ssl_context_factory: Callable[[], Any] | None = None,
        insecure: bool = False,
    ) -> None:
        urls = [url] if isinstance(url, str) else list(url)
        scheme = "https" if ssl else "http"
        self._verbose, self._timeout_s = verbose, network_timeout
        self._client = Client(
            [one if "://" in one else f"{scheme}://{one}" for one in urls],
            timeout_s=network_timeout,
            connect_timeout_s=connection_timeout,
            insecure=True,  # tritonclient takes any plain address; whoever comes from it has one
            tls=_tls(ssl_options, ssl_context_factory, insecure) if ssl else None,
        )
        self._workers = max_greenlets or max(concurrency, 8)
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is under way and close every connection."""
        if self._pool is not None:
            self._pool.shutdown()
        self._client.close()

    def is_server_live(self, headers: Headers = None, query_params: Query = None) -> bool:
        """Say whether some server answers at all."""
        try:
            _asked(lambda: self._client.server())
        except InferenceServerException:
            return False
        return True

    def is_server_ready(self, headers: Headers = None, query_params: Query = None) -> bool:
        """Say whether some server would answer requests."""
        return self._client.ready()

    def is_model_ready(
        self,
        model_name: str,
        model_version: str = "",
        headers: Headers = None,
        query_params: Query = None,
    ) -> bool:
        """Say whether some server would answer for this model."""
        return self._client.ready(model_name, model_version or None)

    def get_server_metadata(self, headers: Headers = None, query_params: Query = None) -> Json:
        """Return who answers."""
        return self._document("/v2")

    def get_model_metadata(
        self,
        model_name: str,
        model_version: str = "",
        headers: Headers = None,
        query_params: Query = None,
    ) -> Json:
        """Return a model's versions, inputs and outputs."""
        return self._document(_model(model_name, model_version))

    def get_model_config(
        self,
        model_name: str,
        model_version: str = "",
        headers: Headers = None,
        query_params: Query = None,
    ) -> Json:
        """Return a model's configuration."""
        return self._document(_model(model_name, model_version) + "/config")

    def get_model_repository_index(
        self, headers: Headers = None, query_params: Query = None
    ) -> Json:
        """Return the model versions of the repository and their states."""
        return self._document("/v2/repository/index", {})

    def load_model(
        self,
        model_name: str,
        headers: Headers = None,
        query_params: Query = None,
        config: str | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Load or reload a model from the server's repository."""
        if config is not None or files is not None:
            raise InferenceServerException("config and files are not taken; use the repository")
        _asked(lambda: self._client.load(model_name))

    def unload_model(
        self,
        model_name: str,
        headers: Headers = None,
        query_params: Query = None,
        unload_dependents: bool = False,
    ) -> None:
        """Take a model out of service."""
        _asked(lambda: self._client.unload(model_name))

    def get_inference_statistics(
        self,
        model_name: str = "",
        model_version: str = "",
        headers: Headers = None,
        query_params: Query = None,
    ) -> Json:
        """Return what models have done."""
        path = _model(model_name, model_version) if model_name else "/v2/models"
        return self._document(f"{path}/stats")

    def get_trace_settings(
        self, model_name: str | None = None, headers: Headers = None, query_params: Query = None
    ) -> Json:
        """Return the trace settings."""
        return self._document(f"{_model(model_name, '') if model_name else '/v2'}/trace/setting")

    def update_trace_settings(
        self,
        model_name: str | None = None,
        settings: Mapping[str, Any] = {},
        headers: Headers = None,
        query_params: Query = None,
    ) -> Json:
        """Change the trace settings and return them."""
        path = f"{_model(model_name, '') if model_name else '/v2'}/trace/setting"
        return self._document(path, settings)

    def get_log_settings(self, headers: Headers = None, query_params: Query = None) -> Json:
        """Return the log settings."""
        return self._document("/v2/logging")

    def update_log_settings(
        self, settings: Mapping[str, Any], headers: Headers = None, query_params: Query = None
    ) -> Json:
        """Change the log settings and return them."""
        return self._document("/v2/logging", settings)

    def get_system_shared_memory_status(
        self, region_name: str = "", headers: Headers = None, query_params: Query = None
    ) -> Json:
        """Return the registered regions, or one."""
        return self._document(f"{_region(region_name)}/status")

    def register_system_shared_memory(
        self,
        name: str,
        key: str,
        byte_size: int,
        offset: int = 0,
        headers: Headers = None,
        query_params: Query = None,
    ) -> None:
        """Register a region of this machine's shared memory with the first server."""
        body = {"key": key, "offset": offset, "byte_size": byte_size}
        self._document(f"{_region(name)}/register", body)

    def unregister_system_shared_memory(
        self, name: str = "", headers: Headers = None, query_params: Query = None
    ) -> None:
        """Have the first server forget a region, or all."""
        self._document(f"{_region(name)}/unregister", {})

    @staticmethod
    def generate_request_body(
        inputs: Sequence[InferInput],
        outputs: Sequence[InferRequestedOutput] | None = None,
        request_id: str = "",
        sequence_id: int | str = 0,
        sequence_start: bool = False,
        sequence_end: bool = False,
        priority: int = 0,
        timeout: int | None = None,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> tuple[bytes, int | None]:
        """Return a request's body and the length of its JSON, to be sent some other way."""
        sequence = (sequence_id, sequence_start, sequence_end)
        extra = _parameters(sequence, priority, timeout, parameters)
        length, pieces = encode_request(_request("", inputs, outputs, request_id, extra))
        return b"".join(pieces), length

    @staticmethod
    def parse_response_body(
        response_body: bytes,
        verbose: bool = False,
        header_length: int | None = None,
        content_encoding: str | None = None,
    ) -> InferResult:
        """Read an answer that was fetched some other way."""
        return InferResult.from_response_body(
            response_body, verbose, header_length, content_encoding
        )

    def infer(
        self,
        model_name: str,
        inputs: Sequence[InferInput],
        model_version: str = "",
        outputs: Sequence[InferRequestedOutput] | None = None,
        request_id: str = "",
        sequence_id: int | str = 0,
        sequence_start: bool = False,
        sequence_end: bool = False,
        priority: int = 0,
        timeout: int | None = None,
        headers: Headers = None,
        query_params: Query = None,
        request_compression_algorithm: str | None = None,
        response_compression_algorithm: str | None = None,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> InferResult:
        """Send one request and return its answer."""
        sequence = (sequence_id, sequence_start, sequence_end)
        extra = _parameters(sequence, priority, timeout, parameters)
        request = _request(model_name, inputs, outputs, request_id, extra)
        request.version, request.priority = model_version, priority
        _read_headers(request, headers)
        if timeout is not None:
            request.deadline_s = min(self._timeout_s, timeout / 1e6)
        return InferResult(_asked(lambda: self._client.send(request)), self._verbose)

    def async_infer(
        self,
        model_name: str,
        inputs: Sequence[InferInput],
        model_version: str = "",
        outputs: Sequence[InferRequestedOutput] | None = None,
        request_id: str = "",
        sequence_id: int | str = 0,
        sequence_start: bool = False,
        sequence_end: bool = False,
        priority: int = 0,
        timeout: int | None = None,
        headers: Headers = None,
        query_params: Query = None,
        request_compression_algorithm: str | None = None,
        response_compression_algorithm: str | None = None,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> InferAsyncRequest:
        """Send one request from a thread of a pool; `get_result` waits for its answer."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="skerry-triton")
        return InferAsyncRequest(
            self._pool.submit(
                self.infer,
                model_name,
                inputs,
                model_version,
                outputs,
                request_id,
                sequence_id,
                sequence_start,
                sequence_end,
                priority,
                timeout,
                headers,
                query_params,
                request_compression_algorithm,
                response_compression_algorithm,
                parameters,
            )
        )

    def _document(self, path: str, body: object = None) -> Any:
        return _asked(lambda: self._client.call(path, body))


def _asked(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except (SkerryError, TimeoutError) as error:
        raise told(error) from error


def _request(
    model: str,
    inputs: Sequence[InferInput],
    outputs: Sequence[InferRequestedOutput] | None,
    request_id: str,
    parameters: dict[str, Parameter],
) -> InferRequest:
    wishes = {one.name(): one.wish for one in outputs or () if one.wish is not None}
    placed = {one.name(): one.place for one in inputs if one.place is not None}
    return InferRequest(
        model=model,
        inputs=[one.tensor() for one in inputs],
        outputs=[one.name() for one in outputs] if outputs else None,
        id=request_id,
        parameters=parameters,
        wanted=wishes or None,
        placed=placed or None,
    )


def _parameters(
    sequence: tuple[int | str, bool, bool],
    priority: int,
    timeout: int | None,
    own: Mapping[str, Parameter] | None,
) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    sequence_id, start, end = sequence
    if sequence_id not in (0, ""):
        found |= {"sequence_id": sequence_id, "sequence_start": start, "sequence_end": end}
    if priority:
        found["priority"] = priority
    if timeout is not None:
        found["timeout"] = timeout
    for name, value in (own or {}).items():
        if name in _RESERVED or name == "binary_data_output" or name.startswith("triton_"):
            raise InferenceServerException(
                f'Parameter "{name}" is a reserved parameter and cannot be specified.'
            )
        found[name] = value
    return found


def _read_headers(request: InferRequest, headers: Headers) -> None:
    """Take the facts that travel as headers; others belong to the connection, not to a request."""
    given = {name.lower(): value for name, value in (headers or {}).items()}
    others = sorted(given.keys() - set(FACTS))
    if others:
        raise InferenceServerException(
            f"header {others[0]} is not sent with a request; wanted {', '.join(FACTS)}"
        )
    if given:
        try:
            read_facts(request, given.get)
        except SkerryError as error:
            raise told(error) from error


def _tls(
    options: Mapping[str, Any] | None, factory: Callable[[], Any] | None, insecure: bool
) -> Any:
    """Return the TLS context that tritonclient's three arguments mean."""
    given = dict(options or {})
    context = factory() if factory is not None else Trust(roots=given.get("ca_certs")).context()
    if "certfile" in given:
        context.load_cert_chain(given["certfile"], given.get("keyfile"))
    if insecure:
        context.check_hostname = False
    return context


def _model(model: str, version: str) -> str:
    path = f"/v2/models/{quote(model, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def _region(name: str) -> str:
    return "/v2/systemsharedmemory" + (f"/region/{quote(name, safe='')}" if name else "")
