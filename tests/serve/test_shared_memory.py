"""Shared memory: stock clients put inputs there and find outputs there; nothing else is reached."""

import contextlib
import json
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio.from_thread
import msgspec
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException
from tritonclient.utils import shared_memory as shm

from skerry.schema import oip_forms
from skerry.schema.oip import OutputWish, Tensor
from skerry.schema.oip_errors import OipError, UnsupportedError
from skerry.serve import shared_memory
from skerry.serve.errors import ServeError
from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings
from skerry.serve.shared_memory import RegionError, Regions, UnknownRegionError

X = np.array([[1, 2, 3, 4]], np.float32)


@pytest.fixture
def make() -> Iterator[Callable[..., str]]:
    """Make shared memory objects and return their keys; all are removed after the test."""
    made: list[Path] = []

    def begin(content: bytes) -> str:
        name = f"skerry-test-{secrets.token_hex(6)}"
        path = shared_memory.FOLDER / name
        path.write_bytes(content)
        made.append(path)
        return f"/{name}"

    yield begin
    for path in made:
        path.unlink(missing_ok=True)


@pytest.fixture(params=["http", "grpc"])
def triton(request: pytest.FixtureRequest, live: Any) -> Iterator[tuple[Any, Any]]:
    module = triton_http if request.param == "http" else triton_grpc
    port = live.ports.http if request.param == "http" else live.ports.grpc
    with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
        yield module, client


def test_a_stock_client_sends_and_receives_through_regions(triton: Any) -> None:
    module, client = triton
    key = f"/skerry-test-{secrets.token_hex(6)}"
    region = shm.create_shared_memory_region("both", key, 64)
    try:
        shm.set_shared_memory_region(region, [X])
        client.register_system_shared_memory("both", key, 64)
        tensor = module.InferInput("x", [1, 4], "FP32")
        tensor.set_shared_memory("both", 16)
        output = module.InferRequestedOutput("y")
        output.set_shared_memory("both", 32, offset=24)
        answer = client.infer("double", [tensor], outputs=[output])
        assert shm.get_contents_as_numpy(region, np.float32, [1, 4], 24).tolist() == [[2, 4, 6, 8]]
        head = answer.get_output("y")
        placed = head["parameters"] if module is triton_http else head.parameters
        size = placed["shared_memory_byte_size"]
        assert (size if module is triton_http else size.int64_param) == 16

        listed = client.get_system_shared_memory_status()
        rows = listed if module is triton_http else list(listed.regions.values())
        (row,) = rows
        row = row if module is triton_http else {"name": row.name, "byte_size": row.byte_size}
        assert (row["name"], int(row["byte_size"])) == ("both", 64)
        with pytest.raises(InferenceServerException, match="registered already"):
            client.register_system_shared_memory("both", key, 64)
        client.unregister_system_shared_memory("both")
        with pytest.raises(InferenceServerException, match="not registered"):
            client.infer("double", [tensor])
    finally:
        shm.destroy_shared_memory_region(region)


def test_gpu_memory_is_refused_and_said_so(triton: Any) -> None:
    _, client = triton
    with pytest.raises(InferenceServerException, match="not offered"):
        client.unregister_cuda_shared_memory("any")


def test_a_bare_request_names_its_regions_in_json_alone(
    live: Any, make: Callable[..., str]
) -> None:
    """What load generators send: a head without a tail, outputs inline and binary."""
    base = f"http://127.0.0.1:{live.ports.http}/v2"
    body = {"key": make(X.tobytes()), "offset": 0, "byte_size": X.nbytes}
    register = f"{base}/systemsharedmemory/region/r/register"
    urllib.request.urlopen(urllib.request.Request(register, json.dumps(body).encode()), timeout=5)
    where = {"shared_memory_region": "r", "shared_memory_byte_size": X.nbytes}
    head = json.dumps(
        {
            "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": where}],
            "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    call = urllib.request.Request(f"{base}/models/double/infer", head, headers)
    with urllib.request.urlopen(call, timeout=5) as answer:
        assert np.frombuffer(answer.read()[-16:], np.float32).tolist() == [2, 4, 6, 8]


def test_a_listener_that_takes_no_commands_lets_nobody_use_a_region(
    repository: Path, make: Callable[..., str]
) -> None:
    settings = ServeSettings(
        repository=str(repository),
        http_port=0,
        grpc_port=0,
        metrics_port=None,
        admin_over_tcp=False,
    )
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        server = Server(settings)
        portal.call(server.start)
        server.service.regions.register("r", make(X.tobytes()), 0, 16)
        for module, port in ((triton_http, server.ports.http), (triton_grpc, server.ports.grpc)):
            with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
                tensor = module.InferInput("x", [1, 4], "FP32")
                tensor.set_shared_memory("r", 16)
                with pytest.raises(InferenceServerException, match="plain data on this listener"):
                    client.infer("double", [tensor])
                with pytest.raises(InferenceServerException, match="not allowed"):
                    client.register_system_shared_memory("s", "/any", 16)
                with pytest.raises(InferenceServerException, match="not allowed"):
                    client.get_system_shared_memory_status()
        portal.call(server.stop, 1.0)


places = st.dictionaries(
    st.sampled_from(
        [
            "shared_memory_region",
            "shared_memory_byte_size",
            "shared_memory_offset",
            "classification",
            "binary_data_size",
        ]
    ),
    st.none() | st.booleans() | st.integers(-2, 40) | st.sampled_from(["r", "s", ""]) | st.floats(),
)


@settings(max_examples=200)
@given(places, places, st.sampled_from(["FP32", "BYTES", "BOOL"]), st.integers(0, 5))
def test_whatever_a_request_says_of_places_is_answered_or_refused_cleanly(
    of_input: dict[str, Any], of_output: dict[str, Any], datatype: str, count: int
) -> None:
    memory = memoryview(bytearray(32))

    def read(name: str, size: int, offset: int) -> memoryview:
        if name != "r" or size + offset > 32:
            raise RegionError(name, "out of bounds", "within")
        assert size >= 0 <= offset
        return memory[offset : offset + size]

    head = msgspec.json.encode(
        {
            "inputs": [
                {"name": "x", "shape": [count], "datatype": datatype, "parameters": of_input}
            ],
            "outputs": [{"name": "y", "parameters": of_output}],
        }
    )
    with contextlib.suppress(OipError, RegionError):
        for _ in range(2):  # the second may take the short way
            call = oip_forms.decode("m", "", head, len(head), read)
            for wish in (call.request.wishes or {}).values():
                assert wish.region or wish.classes > 0


def test_a_request_that_repeats_itself_is_held_to_the_same_bounds(
    make: Callable[..., str],
) -> None:
    """The head is known after the first; what lies in the region is looked at each time."""
    regions, key = Regions(), make(X.tobytes())
    where = {"shared_memory_region": "again", "shared_memory_byte_size": X.nbytes}
    head = json.dumps(
        {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": where}]}
    ).encode()

    def read(reader: Any = regions.read) -> Any:
        return oip_forms.decode("m", "", head, len(head), reader).request.inputs[0].data

    with pytest.raises(UnknownRegionError):
        read()
    regions.register("again", key, 0, 16)
    first = read()
    regions.read("again", 16, 0)[:] = (X * 2).tobytes()
    assert read().tolist() == first.tolist() == (X * 2).tolist()
    with pytest.raises(UnsupportedError, match="plain data on this listener"):
        read(None)
    os.truncate(shared_memory.FOLDER / key[1:], 8)
    with pytest.raises(RegionError, match="8 bytes left"):
        read()
    regions.unregister()
    with pytest.raises(UnknownRegionError):
        read()


@pytest.mark.parametrize(
    "key",
    ["", "/", "..", "/..", "/.hidden", "a/b", "/../etc/passwd", "//x", "x\n", "x" * 300, "\0"],
)
def test_a_key_is_a_name_and_never_a_path(key: str) -> None:
    with pytest.raises(RegionError, match="POSIX name"):
        Regions().register("r", key, 0, 1)


@given(st.text(max_size=40))
def test_no_key_at_all_leaves_the_folder_of_shared_memory(key: str) -> None:
    with pytest.raises(ServeError):
        Regions().register("r", f"no-such-{os.getpid()}/{key}", 0, 1)


def test_links_and_folders_are_no_shared_memory(make: Callable[..., str]) -> None:
    key = make(b"")
    path = shared_memory.FOLDER / key[1:]
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(RegionError, match="wanted an object that can be opened"):
        Regions().register("r", key, 0, 1)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RegionError, match="wanted a shared memory object"):
        Regions().register("r", key, 0, 1)


def test_bounds_hold_for_the_object_the_region_and_each_request(make: Callable[..., str]) -> None:
    regions, key = Regions(), make(bytes(range(100)))
    with pytest.raises(RegionError, match="object of 100 bytes, wanted 101"):
        regions.register("r", key, 1, 100)
    regions.register("r", key, 10, 20)
    assert bytes(regions.read("r", 5, 15)) == bytes(range(25, 30))
    with pytest.raises(RegionError, match="6 bytes from 15, wanted at most its 20"):
        regions.read("r", 6, 15)
    with pytest.raises(UnknownRegionError):
        regions.read("s", 0, 0)
    output = Tensor("y", "FP32", (4,), np.ones(4, np.float32))
    with pytest.raises(RegionError, match="15 bytes for output 'y', wanted 16"):
        regions.write(OutputWish(region="r", region_bytes=15), output)


def test_an_object_cut_short_after_it_was_registered_is_an_error(make: Callable[..., str]) -> None:
    """Reading beyond its end would end the process with SIGBUS."""
    regions, key = Regions(), make(bytes(8192))
    regions.register("r", key, 0, 8192)
    os.truncate(shared_memory.FOLDER / key[1:], 100)
    with pytest.raises(RegionError, match="100 bytes left, wanted 8192"):
        regions.read("r", 8, 4096)


def test_regions_and_their_bytes_are_bounded(
    make: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    regions, key = Regions(), make(bytes(64))
    monkeypatch.setattr(shared_memory, "MAPPED_BYTES_MAX", 100)
    regions.register("a", key, 0, 64)
    with pytest.raises(RegionError, match="64 bytes, wanted 1 to 36"):
        regions.register("b", key, 0, 64)
    monkeypatch.setattr(shared_memory, "REGIONS_MAX", 1)
    with pytest.raises(RegionError, match="one more than 1 regions"):
        regions.register("b", key, 0, 8)


def test_what_is_unregistered_stays_as_long_as_somebody_reads_it(make: Callable[..., str]) -> None:
    regions, key = Regions(), make(b"abcd")
    regions.register("r", key, 0, 4)
    view = regions.read("r", 4, 0)
    before = len(os.listdir("/proc/self/fd"))
    regions.unregister()
    assert len(os.listdir("/proc/self/fd")) == before - 1
    assert bytes(view) == b"abcd"
    assert regions.status() == []
