"""Ports: free, different, and none that an outgoing connection could take meanwhile."""

import socket

import pytest

from skerry.base.ports import PORT_MAX, PORT_MIN, NoFreePortError, free_ports


def test_ports_are_free_different_and_outside_the_system_s_own_range() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(PORT_MIN <= port < PORT_MAX for port in ports)
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_port_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.SystemRandom.randrange", lambda *_: PORT_MIN)
    (first,) = free_ports(1)
    with socket.create_server(("127.0.0.1", first)):
        assert free_ports(1) != [first]


def test_an_address_that_is_not_here_is_named() -> None:
    with pytest.raises(NoFreePortError, match=r"192\.0\.2\.1 has not 2 free ports"):
        free_ports(2, "192.0.2.1")
