"""Access logs through real Envoys: who logs, which requests, and with what."""

import asyncio
import json
import os
import pathlib
import shutil
import signal
import time

import pytest

from retic.local import state
from retic.node import admin
from retic.testing import running, wait

HERE = pathlib.Path(__file__).parent
WEB = {"matchLabels": {"app": "web"}}
SECRET = "s3cr3t-value"
ONCE = """
import socket, sys, urllib.request, urllib.error
def ask(url, method="GET", data=None, **headers):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)).read()
    except urllib.error.HTTPError as error:
        return error.read()
ask("http://api/items?token=s3cr3t-value", **{"x-user": "anna", "authorization": "Bearer s3cr3t-value"})
ask("http://api/", "DELETE")
ask("http://gone/away")
with socket.create_connection(("api", 90)) as line:
    line.sendall(b"hello\\n")
    line.recv(100)
ask("http://api/end" + sys.argv[1], **{"x-user": "anna"})
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("manifests")
    shutil.copy(HERE / "telemetry" / "mesh.yaml", folder)
    with running.mesh(folder) as started:
        yield started


def telemetry(name="logs", namespace="shop", **spec):
    return {
        "apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    }


def switched(mesh):
    socket = state.folder(mesh.name) / "agents" / "node-1" / "admin.sock"
    values = json.loads(asyncio.run(admin.get(socket, "/runtime")))["entries"]
    return {key for key, value in values.items() if key.startswith("retic.report.") and value["final_value"]}


_ends = iter(range(1000))
QUIET = 0.6  # seconds: each of Envoy's threads reports every 0.25


def logged(mesh, *objects, pods=1, wanted=frozenset(), lacking=""):
    """What is logged while these objects are there and traffic is made: those `wanted` in brief, and whatever else
    comes until nothing does. `lacking`: what `retic wait` says of the objects."""
    (mesh.folder / "telemetry.yaml").write_text("\n---\n".join(json.dumps(each) for each in objects) or "# none\n")
    wait.until(lambda: len(switched(mesh)) == pods, f"{pods} pods report")
    waited = mesh.command("wait")
    assert (waited.returncode, lacking in waited.stderr) == (1 if lacking else 0, True), waited.stderr
    file = state.folder(mesh.name) / "logs" / "access-node-1.log"
    before = file.stat().st_size if file.exists() else 0
    end = str(next(_ends))
    done = mesh.exec("deploy/web", "python3", "-c", ONCE, end, namespace="shop")
    assert done.returncode == 0, done.stderr

    def rows():
        text = file.read_bytes()[before:] if file.exists() else b""
        return [json.loads(line) for line in text.splitlines()]

    seen, since = 0, time.monotonic()

    def settled():
        nonlocal seen, since
        found = rows()
        assert brief(found) >= wanted
        if len(found) != seen:
            seen, since = len(found), time.monotonic()
        return time.monotonic() - since > QUIET

    wait.until(settled, "all that is wanted, and then nothing more")
    return rows()


def brief(rows):
    return {
        (row["reporter"], row["method"], (row["path"] or "").rstrip("0123456789"), row["response_code"]) for row in rows
    }


ALL = {("GET", "/items?token=[redacted]", 200), ("DELETE", "/", 403), ("GET", "/away", 503), ("GET", "/end", 200)}
CALLED = {("source", *one) for one in ALL}
ENDS = {side: (side, "GET", "/end", 200) for side in ("source", "destination")}


def test_everything_that_a_client_does_with_istios_names(mesh):
    rows = logged(mesh, telemetry(selector=WEB, accessLogging=[{"match": {"mode": "CLIENT"}}]), wanted=CALLED)
    assert {row[1:] for row in brief(rows) if row[1]} == ALL
    assert {row["reporter"] for row in rows} == {"source"}
    found = next(row for row in rows if row["path"] and row["path"].startswith("/items"))
    about = {
        "method": "GET", "protocol": "HTTP/1.1", "response_code": 200, "response_flags": "-", "authority": "api",
        "response_code_details": "via_upstream", "workload": "shop/web", "service": "shop/api", "bytes_received": 0,
        "destination_principal": "spiffe://cluster.local/ns/shop/sa/api",
    }  # fmt: skip
    assert about.items() <= found.items()
    assert found["start_time"].endswith("Z")
    assert SECRET not in json.dumps(rows)
    away = next(row for row in rows if row["path"] == "/away")
    assert away["response_flags"] == "UH"


def test_expressions_and_sides(mesh):
    chosen = {"expression": "response.code >= 400"}
    failed = {row for row in CALLED if row[3] >= 400}
    rows = logged(mesh, telemetry(accessLogging=[{"filter": chosen}]), pods=2, wanted=failed)
    assert {row["response_code"] for row in rows} <= {403, 503}
    # By a header, which is reported only since the expression reads it.
    named = {"expression": "request.headers['x-user'] == 'anna' && request.url_path.startsWith('/end')"}
    end = {ENDS["destination"]}
    rows = logged(mesh, telemetry(accessLogging=[{"filter": named, "match": {"mode": "SERVER"}}]), pods=2, wanted=end)
    assert brief(rows) == end
    assert rows[0]["source_principal"] == "spiffe://cluster.local/ns/shop/sa/web"
    assert (rows[0]["peer"], rows[0]["workload"]) == ("shop/web", "shop/api")
    # Connections are logged like requests.
    rows = logged(mesh, telemetry(accessLogging=[{"filter": {"expression": "!has(request.path)"}, "match": {
        "mode": "CLIENT"}}]), pods=2, wanted={("source", None, "", 0)})  # fmt: skip
    assert [(row["protocol"], row["bytes_received"]) for row in rows] == [("TCP", 6)]


def shown(mesh, *options):
    done = mesh.command("logs", "--access", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_nearest_scope_counts(mesh):
    everywhere = telemetry("mesh", "retic-system", accessLogging=[{"providers": [{"name": "envoy"}]}])
    quiet = telemetry("quiet", accessLogging=[{"disabled": True}])
    end = {"expression": "request.url_path.startsWith('/end')"}
    web = telemetry("web", selector=WEB, accessLogging=[{"match": {"mode": "CLIENT"}, "filter": end}])
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "retic-system"}}
    assert len(brief(logged(mesh, namespace, everywhere, pods=2, wanted=CALLED))) >= 4
    rows = logged(mesh, namespace, everywhere, quiet, pods=0)
    assert rows == []
    rows = logged(mesh, namespace, everywhere, quiet, web, pods=1, wanted={ENDS["source"]})
    assert brief(rows) == {ENDS["source"]}


def test_the_command_shows_whose_it_is_asked_for(mesh):
    logged(mesh, telemetry(accessLogging=[{}]), pods=2, wanted=set(ENDS.values()))
    assert {row["workload"] for row in shown(mesh, "-n", "shop", "deploy/web")} == {"shop/web"}
    assert {row["workload"] for row in shown(mesh, "-n", "shop", "api-0")} == {"shop/api"}
    assert len(shown(mesh, "--tail", "2")) == 2
    wrong = mesh.command("logs", "--access", "-n", "shop", "deploy/wbe")
    assert (wrong.returncode, "does not exist" in wrong.stderr) == (1, True)


def test_an_agent_that_restarts_goes_on_logging(mesh):
    logged(mesh, telemetry(accessLogging=[{"match": {"mode": "CLIENT"}}]), pods=2, wanted=CALLED)
    found = mesh.ps()["processes"]
    before = next(each["pid"] for each in found if (each["role"], each["name"]) == ("agent", "node-1"))
    os.kill(before, signal.SIGKILL)

    def again():
        mesh.curl("deploy/web", "http://api/again", namespace="shop")
        return [row for row in shown(mesh) if row["path"] == "/again"]

    wait.until(again, "logged again", seconds=20)


def test_what_cannot_be_carried_out_is_said(mesh):
    wrong = [
        telemetry("a", accessLogging=[{"filter": {"expression": "response.code >="}}]),
        telemetry("b", selector={"matchLabels": {"app": "nobody"}}, accessLogging=[{"providers": [{"name": "otel"}]}]),
    ]
    assert logged(mesh, *wrong, pods=0, lacking="error RT0801 Telemetry shop/a") == []
    done = mesh.command("analyze")
    for code in ("RT0801", "RT0803", "RT0809"):
        assert code in done.stdout, done.stdout
