"""Ports: free when chosen, all different, and the same at the next start."""

import socket
from pathlib import Path

from skerry.local.ports import LOOPBACK, kept_ports


def test_ports_are_free_and_different_and_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    names = [f"oslo/{number}/http" for number in range(40)]
    first = kept_ports(path, names)
    assert len(set(first.values())) == 40
    for port in first.values():
        socket.create_server((LOOPBACK, port)).close()
    assert kept_ports(path, names) == first
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_name_gets_a_port_that_no_other_name_has(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    first = kept_ports(path, ["a", "b"])
    more = kept_ports(path, ["a", "b", "c"])
    assert {name: more[name] for name in first} == first
    assert len(set(more.values())) == 3


def test_a_name_that_is_not_asked_for_keeps_its_port_for_later(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    first = kept_ports(path, ["a", "b"])
    assert kept_ports(path, ["a"]) == {"a": first["a"]}
    assert kept_ports(path, ["a", "b"]) == first


def test_a_torn_file_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    path.write_bytes(b"{")
    assert set(kept_ports(path, ["a"])) == {"a"}
