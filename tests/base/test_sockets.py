"""Unix sockets in deep folders: bound and reached like any other."""

import socket
from pathlib import Path

import pytest

from skerry.base.sockets import ADDRESS_BYTES_MAX, SocketPathError, socket_address


def deep(folder: Path) -> Path:
    place = folder / ("d" * 100) / ("e" * 100)
    place.mkdir(parents=True)
    return place


def test_a_short_path_is_its_own_address(tmp_path: Path) -> None:
    with socket_address(Path("/run/x.sock")) as address:
        assert address == "/run/x.sock"


def test_a_socket_in_a_deep_folder_is_bound_and_reached(tmp_path: Path) -> None:
    path = deep(tmp_path) / "worker.sock"
    assert len(str(path)) > ADDRESS_BYTES_MAX
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        with socket_address(path) as address:
            server.bind(address)
        server.listen()
        assert path.is_socket()
        with socket_address(path) as address:
            client.connect(address)
        client.sendall(b"x")
        assert server.accept()[0].recv(1) == b"x"


def test_a_folder_that_is_missing_is_no_socket_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), socket_address(tmp_path / ("m" * 120) / "w.sock"):
        pass


def test_a_name_that_is_itself_too_long_is_refused_with_words(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 120)
    with pytest.raises(SocketPathError, match="wanted at most 107"), socket_address(path):
        pass
