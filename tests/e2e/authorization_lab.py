"""A mesh for tests of AuthorizationPolicies: a server with every sort of port, callers of two namespaces, a gateway."""

import itertools
import pathlib
import shutil

import live
import pod_probes
import pod_session
import yaml

from retic.testing import running, wait

HERE = pathlib.Path(__file__).parent
GATEWAY = "gateway.networking.k8s.io"
DOOR = 18561
APP = {"matchLabels": {"app": "app"}}
HTTP_PORTS = ["8080", "8081", "8090", "9000"]
"""Of the server. Rules by header are held to them: on its TCP ports they would refuse everybody."""


def policy(name, namespace="default", dry_run=False, **spec):
    """An AuthorizationPolicy."""
    meta = live.meta(name, namespace)
    if dry_run:
        meta["annotations"] = {"istio.io/dry-run": "true"}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": meta, "spec": spec}


def source(**fields):
    """A rule's part: by whom."""
    return {"from": [{"source": fields}]}


def operation(**fields):
    """A rule's part: what."""
    return {"to": [{"operation": fields}]}


def when(key, **fields):
    """A rule's part: one condition."""
    return {"when": [{"key": key, **fields}]}


class Lab:
    """The mesh, sessions in its callers (`web`, `spy`, `guest` of another namespace), and its policies."""

    def __init__(self, folder, *objects, **options):
        shutil.copytree(HERE / "authorization", folder)
        if objects:
            (folder / "more.yaml").write_text(yaml.safe_dump_all(objects))
        self.mesh = running.Mesh.up(folder, **options)
        self.callers = {
            "web": pod_session.Pod(self.mesh, "web"), "spy": pod_session.Pod(self.mesh, "spy"),
            "guest": pod_session.Pod(self.mesh, "guest", "other"),
        }  # fmt: skip
        self.ips = {pod["name"]: pod["ip"] for pod in self.mesh.ps()["pods"]}
        self._numbers = itertools.count(1)

    def close(self):
        """End all."""
        for session in self.callers.values():
            session.close()
        done = self.mesh.down()
        assert done.returncode == 0, done.stderr

    def let_in(self, probes, host, port):
        """The names of the probes (each with its caller, web) that are answered at another place."""
        answers = {}
        for caller in self.callers:
            mine = {name: how for name, how in probes.items() if how.get("caller", "web") == caller}
            said = {n: request(**{k: v for k, v in how.items() if k != "caller"}) for n, how in mine.items()}
            answers |= self.callers[caller].statuses({name: [host, port, text] for name, text in said.items()})
        assert set(answers.values()) <= {200, 403}, answers
        return {name for name, status in answers.items() if status == 200}

    def apply(self, *policies, door=False):
        """These policies and no others, and wait until they are what requests are judged by: with each edit comes a
        rule of its own that refuses requests with a mark of its own, at the server (or the `door`)."""
        self._open(door)
        mark = str(next(self._numbers))
        rule = when("request.headers[x-mark]", values=[mark])
        refused = {"action": "DENY", "rules": [rule | operation(ports=HTTP_PORTS)], "selector": APP}
        target = [{"group": GATEWAY, "kind": "Gateway", "name": "door"}]
        # A mark of its own: the server's would be found at the gateway too.
        beyond = when("request.headers[x-mark]", values=[f"door-{mark}"])
        at_door = [policy("door", action="DENY", rules=[beyond], targetRefs=target)] if door else []
        live.write(self.mesh, "policies.yaml", *policies, policy("mark", **refused), *at_door)
        say = {"headers": {"x-mark": mark}}
        wait.until(lambda: self.ask("web", **say) == 403, "the edit is live", every=0.01)
        if door:
            knock = {"headers": {"x-mark": f"door-{mark}"}}
            wait.until(lambda: self.knock(**knock) == 403, "the edit is live at the gateway", every=0.01)

    def _open(self, door):
        """No policies: where the last ones refused everything, nothing would tell the next ones from them."""
        if self.ask("web") != 200 or (door and self.knock() != 200):
            live.write(self.mesh, "policies.yaml", "")
            wait.until(lambda: self.ask("web") == 200, "no policy holds", every=0.01)
            if door:
                wait.until(lambda: self.knock() == 200, "no policy holds at the gateway", every=0.01)

    def ask(self, caller, service="app.default", **how):
        """A request from a pod, as it is written; its status, 0 when there is no answer."""
        return self.callers[caller].status(service, 80, request(**how))

    def knock(self, **how):
        """A request from outside, at the gateway; its status."""
        return pod_probes.status("127.0.0.1", DOOR, request(**{"host": "shop.example", **how}))

    def say(self, caller, port=7000, text="hi\n", seconds=8):
        """Whether the server's line of TCP answers (7001 speaks first)."""
        found = self.callers[caller].say("tcp.default", port, text if port != 7001 else "", timeout=seconds)
        return bool(found["lines"] and found["lines"][0])

    def log(self, name="log"):
        """What the recording server of HTTP (`log`) or TCP (`tcp`) was sent, connections included."""
        done = self.mesh.exec("app", "sh", "-c", f"cat /srv/room/{name} 2>/dev/null || true")
        return done.stdout

    def pids(self):
        """The mesh's own processes."""
        return {(p["role"], p["name"]): p["pid"] for p in self.mesh.ps()["processes"]}

    def steady(self):
        """What Envoy counts when it changes listeners or drains connections."""
        found = {}
        for proxy in ("node-1", "gateway/default/door"):
            stats = self.mesh.stats(proxy)
            names = (
                "listener_in_place_updated", "listener_modified", "total_filter_chains_draining",
                "total_listeners_draining", "listener_removed", "listener_create_failure",
            )  # fmt: skip
            found |= {f"{proxy} {name}": stats[f"listener_manager.{name}"] for name in names}
        return found


def request(method="GET", target="/", host="app", headers=None, version="1.1"):
    """One request, as it is written."""
    head = "".join(f"{name}: {value}\r\n" for name, value in {"host": host, **(headers or {})}.items())
    return f"{method} {target} HTTP/{version}\r\n{head}\r\n"
