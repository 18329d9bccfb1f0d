"""The demo's services without a mesh, each at its own port on loopback; and the form of its manifests."""

import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
import yaml

from retic.testing import ports as free_ports
from retic.testing import wait

DEMO = pathlib.Path(__file__).parents[2] / "demo"
SERVICES = ("web", "catalog", "cart", "orders", "payments", "stock", "greeter")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The port of each running service, and a function that starts one more."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "key").write_text("sesame\n")
    ports = {name: free_ports.free() for name in SERVICES}
    shared = {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        "WEB_URL": f"http://127.0.0.1:{ports['web']}",
        "CATALOG_URL": f"http://127.0.0.1:{ports['catalog']}",
        "ORDERS_URL": f"http://127.0.0.1:{ports['orders']}",
        "PAYMENTS_URL": f"http://127.0.0.1:{ports['payments']}",
        "CART_ADDRESS": f"127.0.0.1:{ports['cart']}",
        "STOCK_ADDRESS": f"127.0.0.1:{ports['stock']}",
        "GREETER_ADDRESS": f"127.0.0.1:{ports['greeter']}",
        "KEY_FILE": str(folder / "key"),
        "PAYMENTS_KEY": "sesame",
        "GREETING": "hello",
    }
    running = []

    def start(name: str, **more: str) -> subprocess.Popen:
        child = subprocess.Popen(
            [sys.executable, "-m", f"shop.{name}"],
            cwd=DEMO,
            env={**shared, "PORT": str(ports.get(name, 0)), **more},
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(child)
        return child

    for name in SERVICES:
        assert start(name).stdout.readline().startswith("listening on")
    yield ports, start
    for child in running:
        child.terminate()
        assert child.wait(timeout=10) == 0
        child.stdout.close()


def get(port: int, path: str, data: bytes | None = None, **headers: str):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def test_the_front_shows_every_service(shop):
    ports, _ = shop

    def answers():
        said = json.loads(get(ports["web"], "/api"))
        return said if not any("error" in one for one in said.values()) else None

    said = wait.until(answers, "every service answers")
    assert said["catalog"]["answer"]["version"] == "v1"
    assert re.fullmatch(r"\d+ apples", said["stock"]["answer"])
    assert said["greeter"]["answer"] == "hello, 127.0.0.1"
    assert said["orders"]["answer"]["cart"]["route"] == "none"
    assert "The corner" in get(ports["web"], "/") or "<h1>Shop</h1>" in get(ports["web"], "/")


def test_an_order_fills_the_cart_and_is_paid(shop):
    ports, _ = shop
    said = json.loads(get(ports["web"], "/buy?item=cheese", b""))
    assert said["cart"]["items"]["cheese"] == 1
    assert said["paid"]["receipt"] >= 1


def test_payments_refuse_a_wrong_key(shop):
    ports, _ = shop
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(ports["payments"], "/pay", b"{}", authorization="Bearer guess")
    with refused.value as answer:
        assert answer.code == 401


def test_traffic_says_how_it_goes(shop):
    _, start = shop
    traffic = start("traffic", RATE="50", SAY_EVERY="0.5")
    assert traffic.stdout.readline() == "the shop is open\n"
    line = traffic.stdout.readline()
    assert re.match(r"in 0.5 s: .*catalog v1: \d+", line), line
    assert "failed" not in line


def documents() -> list[dict]:
    return [one for path in sorted(DEMO.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())]


def test_every_command_in_the_manifests_is_a_service():
    templates = [one["spec"]["template"]["spec"] for one in documents() if one["kind"] == "Deployment"]
    modules = {part for pod in templates for part in [pod["containers"][0]["command"][2]]}
    assert modules == {f"shop.{name}" for name in (*SERVICES, "traffic")}
    accounts = {one["metadata"]["name"] for one in documents() if one["kind"] == "ServiceAccount"}
    assert {pod["serviceAccountName"] for pod in templates} == accounts
    assert len(accounts) == 8


def test_every_backend_of_a_route_is_a_service_with_that_port():
    ports = {
        (one["metadata"]["name"], port["port"])
        for one in documents()
        if one["kind"] == "Service"
        for port in one["spec"]["ports"]
    }
    rules = [rule for one in documents() if one["kind"].endswith("Route") for rule in one["spec"]["rules"]]
    backends = {(ref["name"], ref["port"]) for rule in rules for ref in rule["backendRefs"]}
    assert backends
    assert backends <= ports
