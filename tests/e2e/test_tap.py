"""`retic tap` through real Envoys: who is shown, what is never shown, and that nothing is reported afterwards."""

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import fronts
import pytest

from retic.local import state
from retic.node import admin
from retic.testing import running, wait

HERE = pathlib.Path(__file__).parent
SECRET = "s3cr3t-value"
ONCE = """
import socket, sys, urllib.request, urllib.error
secret = sys.argv[1]
def ask(url, method="GET", data=None, **headers):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)).read()
    except urllib.error.HTTPError as error:
        return error.read()
ask("http://api/items?page=2&access_token=" + secret + "&sort=up", authorization="Bearer " + secret,
    cookie="sid=" + secret, **{"x-api-key": secret, "x-version": "v2", "x-user": "anna"})
ask("http://api/", "POST", b"x" * 100)
ask("http://api/", "DELETE")
ask("http://gone/away")
with socket.create_connection(("api", 90)) as line:
    line.sendall(b"hello\\n")
    line.recv(100)
"""


@pytest.fixture(scope="module")
def mesh():
    with running.mesh(HERE / "tap") as started:
        yield started


class Tap:
    """A running `retic tap`."""

    def __init__(self, mesh, *options):
        line = [sys.executable, "-m", "retic.cli", "tap", "--name", mesh.name, *options]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment
        )
        self.lines, self.said = [], []
        self._threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.said)),
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(stream, into):
        for text in stream:
            into.append((time.time(), text.rstrip("\n")))

    def looking(self):
        def found():
            assert self.process.poll() is None, self.said
            return any("looking at" in text for _, text in self.said)

        wait.until(found, "looking", seconds=20)

    def rows(self, most=None):
        return [json.loads(text) for _, text in self.lines][:most]

    def until(self, count):
        wait.until(lambda: len(self.lines) >= count, f"{count} lines", seconds=20)
        return self.rows()

    def end(self, signal_=signal.SIGINT):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal_)
        self.process.wait(20)
        for thread in self._threads:
            thread.join()
        return "\n".join(text for _, text in self.said)


@contextlib.contextmanager
def tapping(mesh, *options):
    made = Tap(mesh, *options)
    try:
        made.looking()
        yield made
    finally:
        made.end()


def make_traffic(mesh):
    done = mesh.exec("deploy/web", "python3", "-c", ONCE, SECRET, namespace="shop")
    assert done.returncode == 0, done.stderr


def switched(mesh):
    """The pods that report, by their keys in Envoy."""
    socket = state.folder(mesh.name) / "agents" / "node-1" / "admin.sock"
    values = json.loads(asyncio.run(admin.get(socket, "/runtime")))["entries"]
    return {key for key, value in values.items() if key.startswith("retic.report.") and value["final_value"]}


def quiet(mesh):
    wait.until(lambda: not switched(mesh), "switched off", seconds=40)


def test_a_call_has_one_line_and_no_secret(mesh):
    shown = ("--show-header", "x-version", "--show-header", "x-none")
    with tapping(mesh, "-n", "shop", "--from", "deploy/web", "-o", "json", *shown) as tap:
        assert len(switched(mesh)) == 1
        make_traffic(mesh)
        rows = tap.until(5)
    assert len(rows) == 5, rows
    assert SECRET not in "".join(text for _, text in tap.lines)
    # Envoy's threads report by themselves, each every quarter of a second.
    items, post, refused, gone, tcp = sorted(rows, key=lambda row: row["time"])
    assert items["path"] == "/items?page=2&access_token=[redacted]&sort=up"
    assert items["request_headers"] == {"x-version": "v2"}
    about = {
        "source": "shop/web", "destination": "shop/api", "service": "shop/api", "protocol": "HTTP/1.1", "code": 200,
        "method": "GET", "authority": "api", "proxy": "outbound", "caller": "", "server": "spiffe://cluster.local/ns/shop/sa/api",
    }  # fmt: skip
    assert {**about, **{key: items.get(key, "") for key in about}} == about
    assert (post["method"], post["received"]) == ("POST", 100)
    assert (refused["method"], refused["code"]) == ("DELETE", 403)
    assert (gone["service"], gone["code"], gone["flags"]) == ("shop/gone", 503, ["UH"])
    assert (tcp["protocol"], tcp["destination"], tcp["received"]) == ("TCP", "shop/api", 6)
    quiet(mesh)


def test_lines_are_for_people_and_come_at_once(mesh):
    ask = "import urllib.request, time; urllib.request.urlopen('http://api/now').read(); print(time.time())"
    with tapping(mesh, "-n", "shop", "--from", "deploy/web", "--path", "/now") as tap:

        def late(before):
            done = mesh.exec("deploy/web", "python3", "-c", ask, namespace="shop")
            wait.until(lambda: len(tap.lines) > before, "a line")
            return tap.lines[before][0] - float(done.stdout)

        assert min(late(before) for before in range(5)) < 1.0  # 0.3 s on a machine that has nothing else to do
    assert len(tap.lines) == 5
    for _, text in tap.lines:
        assert "shop/web -> shop/api  HTTP/1.1  GET  api/now  200" in text
        assert "mTLS" in text


def test_filters(mesh):
    anna = ("-H", "x-user: an*")
    with (
        tapping(mesh, "-n", "shop", "--to", "sts/api", "-o", "json", "--status", "403") as refused,
        tapping(mesh, "-n", "shop", "--from", "deploy/web", "-o", "json", *anna, "--method", "get") as user,
        tapping(mesh, "-n", "shop", "--to", "sts/api", "-o", "json", "-H", "x-user: anna") as called,
        tapping(mesh, "-n", "shop", "-o", "json", "--to", "svc/gone") as gone,
    ):
        make_traffic(mesh)
        assert [row["method"] for row in refused.until(1)] == ["DELETE"]
        assert refused.rows()[0]["details"].startswith("rbac_access_denied")
        assert refused.rows()[0]["source"] == "shop/web"
        assert [row["path"].partition("?")[0] for row in user.until(1)] == ["/items"]
        assert [(row["proxy"], row["request_headers"]) for row in called.until(1)] == [("inbound", {"x-user": "anna"})]
        # Nobody is behind it: only the caller's proxy knows.
        assert [(row["source"], row["flags"]) for row in gone.until(1)] == [("shop/web", ["UH"])]
    quiet(mesh)


def test_a_service_whose_route_leads_to_another(mesh):
    with (
        tapping(mesh, "-n", "shop", "--from", "deploy/web", "--to", "svc/old", "-o", "json") as caller,
        tapping(mesh, "-n", "shop", "--to", "svc/old", "-o", "json", "--path", "/moved") as called,
    ):
        assert mesh.curl("deploy/web", "http://old/moved", namespace="shop")[0] == 200
        assert [(row["path"], row["service"], row["proxy"]) for row in (*caller.until(1), *called.until(1))] == [
            ("/moved", "shop/api", "outbound"), ("/moved", "shop/api", "inbound"),
        ]  # fmt: skip


def test_at_a_gateway(mesh):
    address = wait.until(lambda: fronts.address(mesh, "door", 18500), "the gateway")
    with (
        tapping(mesh, "-n", "shop", "--from", "gateway/door", "-o", "json", "--show-header", "x-user") as door,
        tapping(mesh, "-n", "shop", "--to", "gateway/door", "-o", "json") as nobody,
    ):
        request = urllib.request.Request(f"http://{address}/in?sig={SECRET}", headers={"x-user": "anna"})
        urllib.request.urlopen(request, timeout=10).read()
        row = door.until(1)[0]
    about = {"proxy": "gateway", "source": "shop/door", "destination": "shop/api", "path": "/in?sig=[redacted]"}
    assert about.items() <= row.items()
    assert row["request_headers"] == {"x-user": "anna"}
    assert not nobody.lines


def test_what_could_steer_a_terminal_is_escaped(mesh):
    head = "GET /x HTTP/1.1\\r\\nhost: a\\r\\nx-user: \\xe2\\x80\\xaeevil\\xc2\\x9b31m\\r\\n\\r\\n"
    raw = f"import socket; s = socket.create_connection(('api', 80)); s.sendall(b'{head}'); s.recv(99)"
    with (
        tapping(mesh, "-n", "shop", "--from", "deploy/web", "--show-header", "x-user") as plain,
        tapping(mesh, "-n", "shop", "--from", "deploy/web", "-o", "json", "--show-header", "x-user") as structured,
    ):
        mesh.exec("deploy/web", "python3", "-c", raw, namespace="shop")
        structured.until(1)
        wait.until(lambda: plain.lines, "a line")
    for _, text in (*plain.lines, *structured.lines):
        assert text.isprintable()
        assert "evil" in text


def test_a_killed_command_leaves_nothing_on(mesh):
    tap = Tap(mesh, "-n", "shop", "--from", "deploy/web")
    try:
        tap.looking()
        assert switched(mesh)
    finally:
        tap.end(signal.SIGKILL)
    quiet(mesh)


def test_a_tap_outlasts_its_agent_and_nothing_stays_on(mesh):
    def agent():
        found = mesh.ps()["processes"]
        return next(each["pid"] for each in found if (each["role"], each["name"]) == ("agent", "node-1"))

    with tapping(mesh, "-n", "shop", "--from", "deploy/web", "-o", "json", "--path", "/again") as tap:
        before = agent()
        os.kill(before, signal.SIGKILL)
        wait.until(lambda: agent() != before, "another agent", seconds=20)

        def seen():
            mesh.curl("deploy/web", "http://api/again", namespace="shop")
            return tap.lines

        wait.until(seen, "told again", seconds=20)
    quiet(mesh)
    # An agent that is killed while it looks leaves its Envoy switched on: the next one switches it off.
    tap = Tap(mesh, "-n", "shop", "--from", "deploy/web")
    tap.looking()
    os.kill(agent(), signal.SIGSTOP)
    stopped = agent()
    tap.end()
    assert switched(mesh)
    os.kill(stopped, signal.SIGKILL)
    quiet(mesh)


def test_bounds_and_their_words(mesh):
    with tapping(mesh, "-n", "shop", "--from", "deploy/web", "--max", "2") as tap:
        make_traffic(mesh)
        assert tap.process.wait(20) == 0
    assert len(tap.lines) == 2
    assert "stopped after 2 requests (--max)" in tap.end()
    none = mesh.command("tap", "-n", "shop", "--from", "deploy/web", "--for", "1")
    assert (none.returncode, none.stdout) == (0, "")
    assert "no request passed within 1 s (--for)" in none.stderr
    flood = "for i in $(seq 8); do curl -s -o /dev/null 'http://api/[1-100]' & done; wait"

    def missed():
        return sum(int(text.split()[0]) for _, text in tap.said if "were not shown" in text)

    with tapping(mesh, "-n", "shop", "--from", "deploy/web", "-o", "json", "--max", "9999", "--for", "250") as tap:
        for floods in range(1, 13):  # one may take long, and then each request has its time
            mesh.exec("deploy/web", "sh", "-c", flood, namespace="shop")
            wait.until(lambda: len(tap.lines) + missed() >= 800 * floods, "all are told or counted")  # noqa: B023
            assert len(tap.lines) + missed() == 800 * floods
            if missed():
                break
        assert missed()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("-n", "shop", "--from", "deploy/wbe"), 1, "there are"),
        (("-n", "shop", "--to", "svc/apu"), 1, "there are api, gone, old"),
        (("-n", "shpo", "--from", "web"), 1, "no namespace shpo"),
        (("-n", "shop", "--from", "svc/api"), 2, "a Service calls nobody"),
        (("-n", "shop", "--from", "thing/api"), 2, "no end of a call"),
        (("--show-header", "Authorization"), 2, "never report"),
        (("-H", "cookie: *"), 2, "never report"),
        (("--show-header", "x-user%"), 2, "no header's name"),
        (("--show-header", "x-session-token"), 2, "never report"),
        (("-H", "nothing"), 2, "NAME: VALUE"),
        (("--status", "50"), 2, "5xx"),
        (("--max", "0"), 2, "--max"),
        (("--for", "0"), 2, "--for"),
        (("--protocol", "udp"), 2, "tcp"),
    ],
)
def test_wrong_words(mesh, options, code, words):
    done = mesh.command("tap", *options)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
