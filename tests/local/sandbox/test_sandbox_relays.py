"""Calls to the outside, listeners of the host, sockets of the broker."""

import sys
import time

import pytest

from retic.testing import machine, wait

# Sends back what it got once the caller has sent all of it, upper-cased: proves both half-closes.
UPPER = """
import socket, sys, threading
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
def serve(s):
    data = b"".join(iter(lambda: s.recv(65536), b""))
    s.sendall(data.upper()); s.close()
while True:
    s, peer = server.accept()
    threading.Thread(target=serve, args=[s]).start()
"""
SHOUT = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
text = b"x" * int(sys.argv[3])
import threading
threading.Thread(target=lambda: (s.sendall(text), s.shutdown(socket.SHUT_WR))).start()
got = b"".join(iter(lambda: s.recv(65536), b""))
print(len(got), got == text.upper())
"""
RESET = """
import socket, sys
try:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
    print("data", s.recv(10))
except ConnectionResetError:
    print("reset")
"""


@pytest.fixture(scope="module")
def outside(host):
    process = host.popen([sys.executable, "-c", UPPER, machine.OUTSIDE], stdout=-1)
    yield int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("size", [1, 20_000_000])
def test_a_pod_calls_the_outside_with_half_close_and_bulk(mesh, outside, size):
    said = mesh.python(SHOUT, machine.OUTSIDE, str(outside), str(size), pod="a")
    assert said == f"{size} True"


def test_nodes_and_the_mesh_itself_call_the_outside(mesh, outside):
    for netns in (str(mesh.folder / "netns" / "node-2"), None):
        assert mesh.python(SHOUT, machine.OUTSIDE, str(outside), "9", netns=netns) == "9 True"


def test_a_refused_call_is_reset_at_once(mesh):
    begun = time.monotonic()
    assert mesh.python(RESET, machine.OUTSIDE, "9", pod="a") == "reset"
    assert time.monotonic() - begun < 8


def test_udp_to_the_outside_fails_at_once(mesh):
    code = """
import socket, sys
refused = 0
for _ in range(30):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20); s.connect((sys.argv[1], 53))
    try:
        s.send(b"x"); s.recv(1)
    except (ConnectionRefusedError, PermissionError):
        refused += 1
print(refused)
"""
    for pod in ("a", None):
        assert mesh.python(code, machine.OUTSIDE, pod=pod) == "30"


def test_calling_the_relay_itself_is_refused(mesh):
    table = mesh.run("nft", "list", "table", "ip", "retic_egress")["output"]
    port = table.partition("redirect to :")[2].split()[0]
    assert mesh.python(RESET, "172.31.255.1", port, pod="a") == "reset"


def test_a_gateway_is_reached_from_the_host(mesh):
    mesh.ask("start", argv=[sys.executable, "-c", UPPER.replace("0))", "8080))", 1), "10.244.1.2"], pod="a")
    wanted = _free_port(mesh.machine)
    assert mesh.ask("publish", ip="10.244.1.2", port=8080, wanted=wanted) == wanted

    def shout():
        answer = mesh.machine.python(SHOUT, "127.0.0.1", str(wanted), "3000000")
        return answer.stdout.decode().strip() == "3000000 True"

    wait.until(shout, "the gateway answers", 20)
    # The same port, wanted by another listener: it gets another one.
    other = mesh.ask("publish", ip="10.244.1.2", port=8081, wanted=wanted)
    assert other != wanted
    assert mesh.machine.python(RESET, "127.0.0.1", str(other)).stdout == b"reset\n"
    mesh.ask("withdraw", ip="10.244.1.2", port=8080)
    assert b"ConnectionRefusedError" in mesh.machine.python(RESET, "127.0.0.1", str(wanted)).stderr


def test_a_port_that_is_not_allowed_becomes_another(mesh):
    allowed = mesh.machine.user == 0
    got = mesh.ask("publish", ip="10.244.1.2", port=80, wanted=80)
    assert (got == 80) == allowed
    mesh.ask("withdraw", ip="10.244.1.2", port=80)


def test_the_broker_refuses_addresses_of_the_mesh(mesh):
    for host in ("10.96.0.10", "10.244.1.2", "172.31.255.1", "::ffff:10.96.0.1"):
        with pytest.raises(RuntimeError, match=r"PermissionError.*inside the mesh"):
            mesh.ask("connect", host=host, port=53)
    with pytest.raises(RuntimeError, match="ConnectionRefusedError"):
        mesh.ask("connect", host=machine.OUTSIDE, port=9)


def test_udp_from_the_host(mesh):
    code = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
data, peer = s.recvfrom(100); s.sendto(data.upper(), peer)
"""
    process = mesh.machine.popen([sys.executable, "-c", code], stdout=-1)
    port = int(process.stdout.readline())
    assert mesh.ask("udp", host="127.0.0.1", port=port, text="hello") == "HELLO"
    process.wait(20)
    process.stdout.close()


def _free_port(on):
    return int(on.python("from retic.testing import ports; print(ports.free())").stdout)
