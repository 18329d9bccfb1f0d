"""What a kubelet asks a gateway's pod, answered by a real Envoy."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time

import pytest

from retic.node import envoy, ready
from retic.testing import wait


def bootstrap(folder):
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
        "HttpConnectionManager",
        "stat_prefix": "web",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "here"}}},
        ]}]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        }}],
    }  # fmt: skip
    return {
        "admin": {"address": {"pipe": {"path": str(folder / "admin.sock")}}},
        "static_resources": {"listeners": [{
            "name": "web", "address": {"pipe": {"path": str(folder / "web.sock")}},
            "filter_chains": [{"filters": [{"name": "web", "typed_config": manager}]}],
        }]},
    }  # fmt: skip


@pytest.fixture
def running(tmp_path):
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(bootstrap(tmp_path)))
    command = [envoy.binary(""), "-c", file, "--disable-hot-restart", "--drain-time-s", "2", "--log-level", "error"]
    with subprocess.Popen(command) as process:
        try:
            wait.until(lambda: ready.ready(str(tmp_path / "admin.sock")), "Envoy is ready", 20)
            yield tmp_path
        finally:
            process.terminate()


def test_it_is_ready_when_envoy_is(running):
    asks = [sys.executable, "-m", "retic.node.ready"]
    assert subprocess.run([*asks, running / "admin.sock"], check=False).returncode == 0
    assert subprocess.run([*asks, running / "nobody.sock"], check=False).returncode == 1


def test_draining_waits_for_what_is_under_way(running):
    admin = str(running / "admin.sock")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(str(running / "web.sock"))
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        ended = []
        begun = time.monotonic()
        drain = threading.Thread(target=lambda: ended.append(ready.drain(admin, 30)))
        drain.start()

        def closing():
            client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            return b"connection: close" in client.recv(1000).lower()

        wait.until(closing, "Envoy asks to close", 20)
    drain.join(30)
    assert ended == [True]
    assert time.monotonic() - begun < 25


def test_nothing_is_waited_for_when_envoy_is_gone(tmp_path):
    assert ready.drain(str(tmp_path / "admin.sock"), 30) is False
