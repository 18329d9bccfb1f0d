"""What one Envoy counts is bounded and forgotten: the loggers of a pod, in a real Envoy that answers by itself."""

import asyncio
import http.client
import json
import pathlib
import subprocess

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import json_format

from retic.envoy import filters, logs, managers
from retic.node import admin, bootstrap, config, envoy
from retic.telemetry import readings
from retic.telemetry.words import Stat
from retic.testing import wait

PORT = 18411
WHO = logs.Who("shop/api", "spiffe://cluster.local/ns/shop/sa/api", "uid-1")


def listener(most):
    """An inbound manager's loggers, in a manager that answers by itself; `most` counters."""
    made = hcm_pb2.HttpConnectionManager(stat_prefix="inbound", access_log=logs.http(logs.Side.INBOUND, WHO))
    made.http_filters.extend([logs.caller(), filters.inbound("uid-1")[-1]])
    host = made.route_config.virtual_hosts.add(name="all", domains=["*"])
    route = host.routes.add()
    route.match.prefix = "/"
    route.direct_response.status = 204
    found = listener_pb2.Listener(name="one")
    found.address.socket_address.address = "127.0.0.1"
    found.address.socket_address.port_value = PORT
    found.filter_chains.add().filters.append(managers.as_filter(made))
    told = json_format.MessageToDict(found, preserving_proto_field_name=True)
    assert bound(told, most) > 0
    return told


def bound(told, most) -> int:
    """Put `most` where `told` bounds a scope's counters; how many places there were. A map's order is not promised."""
    if isinstance(told, list):
        return sum(bound(each, most) for each in told)
    if not isinstance(told, dict):
        return 0
    found = 0
    if "max_counters" in told:
        assert told["max_counters"] == logs.MOST_COUNTERS
        told["max_counters"] = most
        found = 1
    return found + sum(bound(each, most) for each in told.values())


@pytest.fixture(scope="module")
def sockets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("envoy")
    settings = config.Config(
        id="node/node-1", role=config.Role.NODE, control="127.0.0.1:1", trust_domain="cluster.local",
        root_file=folder / "root", token_file=folder / "token", folder=folder, forget_seconds=5,
    )  # fmt: skip
    made = bootstrap.make(settings, admin=folder / "admin", discovery=folder / "xds", connections=100)
    whole = json.loads(made)
    del whole["dynamic_resources"]
    runtime = whole["layered_runtime"]
    runtime["layers"] = [each for each in runtime["layers"] if "rtds_layer" not in each]
    whole["static_resources"]["listeners"] = [listener(10)]
    (folder / "envoy.json").write_text(json.dumps(whole))
    words = [envoy.binary(), "--config-path", folder / "envoy.json", "--use-dynamic-base-id", "--log-level", "error"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    wait.until(lambda: (folder / "admin").exists() and read(folder), "Envoy answers")
    yield folder
    process.terminate()
    process.wait(10)


def read(folder: pathlib.Path):
    try:
        return readings.parse(asyncio.run(admin.get(folder / "admin", readings.PATH)).decode())
    except admin.AdminError:
        return None


def ask(peer):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
    connection.request("GET", "/", headers={"retic-peer": peer})
    assert connection.getresponse().status == 204
    connection.close()


def test_series_are_bounded_and_what_is_beyond_is_counted(sockets):
    for number in range(25):
        ask(f"shop/caller-{number};shop/api")
    now = read(sockets)
    told = now.counters[Stat.REQUESTS]
    assert len(told) == 10
    assert all(labels.workload == "shop/api" and labels.service == "shop/api" for labels in told)
    assert now.folded >= 15


def test_what_a_caller_invents_is_no_name(sockets):
    for invented in ("a b c d", "x|y", "no-namespace", "a/b/c;d", "ä/ö;x/y"):
        ask(invented.encode("utf-8").decode("latin-1"))
    for labels in read(sockets).counters[Stat.REQUESTS]:
        assert labels.peer == "" or labels.peer.startswith("shop/caller-")


def test_series_are_forgotten_when_they_do_not_grow(sockets):
    wait.until(lambda: not read(sockets).counters.get(Stat.REQUESTS), "forgotten", 30, every=0.5)
    ask("shop/late;shop/api")
    (labels,) = read(sockets).counters[Stat.REQUESTS]
    assert labels.peer == "shop/late"
