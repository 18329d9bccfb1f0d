"""The mesh of the differential test: its manifests, its control plane's objects followed here, its senders."""

import asyncio
import base64
import json
import pathlib
import subprocess
import sys
import threading

import differential_requests as requests
import differential_rounds as rounds

from retic.control import client, model
from retic.explain.request import world
from retic.local import state
from retic.mesh import network, tables
from retic.sources import store, stream
from retic.testing import running, tls_pairs, wait
from retic.wiring import inputs

HERE = pathlib.Path(__file__).parent
_SENDER = HERE / "differential_sender.py"


def base():
    """The manifests that stay, as text."""
    pair = tls_pairs.pair("one.example.com")
    data = {name: base64.b64encode(part).decode() for name, part in zip(("tls.crt", "tls.key"), pair, strict=True)}
    meta = {"name": "pair", "namespace": "alpha"}
    secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": meta, "data": data}
    text = (HERE / "differential_mesh.yaml").read_text()
    server = str(HERE / "differential_server.py")
    text = text.replace("PYTHON", sys.executable).replace("SERVER", server)
    return f"{text}---\n{json.dumps(secret)}\n"


def addresses(objects):
    """The pods' addresses by name, without gateways'."""
    return {
        ref.name: pod.status.pod_ip
        for ref, pod in sorted(objects.items())
        if ref.kind == "Pod" and not ref.name.startswith(("door", "safe"))
    }


class Sender:
    """Sends from a pod, or from the host."""

    def __init__(self, mesh, place):
        inside = []
        if place is not None:
            namespace, name = place
            inside = [sys.executable, "-m", "retic.cli", "exec", "-i", "--name", mesh.name, "-n", namespace, name, "--"]
        self.running = subprocess.Popen(
            [*inside, sys.executable, str(_SENDER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def send(self, given, *, fresh):
        if not given:
            return []
        self.running.stdin.write(json.dumps([{**one.wire(), "fresh": fresh} for one in given]) + "\n")
        self.running.stdin.flush()
        answer = json.loads(self.running.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["answer"]

    def close(self):
        self.running.stdin.close()
        self.running.kill()
        self.running.wait()
        self.running.stdout.close()


class Mesh:
    """A running mesh with its senders."""

    def __init__(self, folder):
        folder.mkdir()
        (folder / "mesh.yaml").write_text(base())
        self.mesh = running.Mesh.up(folder)
        self.control = state.folder(self.mesh.name) / "control.sock"
        self.db = inputs.mesh(network.Settings())
        self.kept = store.Store(self.db, tables.changes)
        self.loop = asyncio.new_event_loop()
        path = state.folder(self.mesh.name) / "cluster.sock"
        self.following = self.loop.create_task(stream.follow(path, self.kept))
        self.follow(lambda: self.kept.is_synced, "the list of objects")
        self.senders = {place: Sender(self.mesh, place) for place in (None, *requests.SENDERS)}
        self.addresses = addresses(self.kept.objects)

        self.outside = self._outside()

    def _outside(self):
        """The address that calls from the host have at the gateway."""
        rule = {"backendRefs": [{"name": "one", "port": 80}]}
        route = {
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "r-probe", "namespace": "alpha"},
            "spec": {"parentRefs": [{"name": "door"}], "rules": [rule]},
        }  # fmt: skip
        self.write("probe", [route, rounds.marker("probe")])
        text = "GET / HTTP/1.1\r\nHost: probe\r\n\r\n"
        asked = requests.Request(None, "127.0.0.1", requests.PORT, "http", None, text)
        answer = wait.until(lambda: (a := self.send([asked])[0])["status"] == 200 and a, "the gateway's answer")
        return json.loads(answer["body"])["headers"]["x-forwarded-for"]

    def follow(self, condition, what):
        """Take in what the mesh says, until."""
        self.loop.run_until_complete(wait.until_async(condition, what, 20))

    def write(self, number, objects):
        """Put the round's manifests in the place of those before, and wait until every proxy has them."""
        hidden = self.mesh.folder / ".round.new"
        hidden.write_text("\n---\n".join(map(json.dumps, objects)))
        hidden.replace(self.mesh.folder / "round.yaml")
        wanted = {(o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]) for o in objects}

        def there():
            kinds = {
                "HTTPRoute", "GRPCRoute", "VirtualService", "DestinationRule", "AuthorizationPolicy", "ReferenceGrant",
            }  # fmt: skip
            all_of_them = {(r.kind, r.namespace, r.name) for r in self.kept.objects}
            return wanted <= all_of_them and {ref for ref in all_of_them if ref[0] in kinds} <= wanted

        def live():
            found = client.ask(self.control, model.AskPs())["services"]
            return any(s["name"] == f"round-{number}" for s in found)

        self.follow(there, f"the objects of round {number}")
        wait.until(live, f"round {number} in the control plane")
        done = client.ask(self.control, model.AskConverged(20.0))
        assert done["ready"], done["reasons"]
        refused = [f["message"] for f in client.ask(self.control, model.AskFindings()) if f["code"] == "RT0601"]
        assert not refused, f"round {number}: {refused[0][-400:]}"

    def world(self):
        """For questions."""
        return world.World(self.db, self.kept.objects, self.kept.positions, running=True)

    def send(self, given, *, fresh=False):
        """All of them, each from its sender, on new connections if `fresh`; the answers in their order."""
        answers = {}
        by_sender = {}
        for request in given:
            by_sender.setdefault(request.sender, []).append(request)

        def one(place, mine):
            answers.update(zip(map(id, mine), self.senders[place].send(mine, fresh=fresh), strict=True))

        threads = [threading.Thread(target=one, args=pair) for pair in by_sender.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [answers[id(request)] for request in given]

    def close(self):
        for sender in self.senders.values():
            sender.close()
        self.following.cancel()
        self.loop.run_until_complete(asyncio.gather(self.following, return_exceptions=True))
        self.loop.close()
        done = self.mesh.down()
        assert done.returncode == 0, done.stderr
