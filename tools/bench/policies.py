"""What AuthorizationPolicies cost: processor time per request over mTLS, with 0, 1, 10 and 100 of them at the server.

All servers are alike and on the client's node. The policies are of many kinds (who, which path, which method; ALLOW and
DENY), and the one that lets the client in is the last that is looked at: every request is held against all of them.
"""

import pathlib
import random
import sys

from tools.bench import generators, manifests, mesh, options, ports, spread, table

AIM = 1.05
"""Processor time per request with the most policies, at most this many times that with one."""

NUMBERS = (0, 1, 10, 100)
CLIENT = "cluster.local/ns/default/sa/default"


def objects() -> list[manifests.Object]:
    """A client, and a server for each number of policies."""
    found = [manifests.pod("client", "node-1", [manifests.container("sleep", manifests.SLEEP)])]
    for number in NUMBERS:
        name = f"server-{number}"
        found += [manifests.server(name, "node-1"), manifests.service(name, name, *ports.Protocol)]
        found += [_policy(name, place, number) for place in range(number)]
    return found


def _policy(server: str, place: int, number: int) -> manifests.Object:
    """The last one lets the client in; none of the others holds for it."""
    spec = _last() if place == number - 1 else _KINDS[place % len(_KINDS)](place)
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": f"{server}-{place:03}", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": server}}, **spec},
    }


def _last() -> manifests.Object:
    operation = {"methods": ["GET", "POST"], "paths": ["/", "/bench/*"], "ports": _HTTP}
    return {"rules": [{"from": [{"source": {"principals": [CLIENT]}}], "to": [{"operation": operation}]}]}


_HTTP = [str(ports.Protocol.HTTP1.port), str(ports.Protocol.HTTP2.port)]
_KINDS = (
    lambda n: {
        "rules": [{
            "from": [{"source": {"principals": [f"cluster.local/ns/team-{n}/sa/{name}" for name in ("web", "api")]}}],
            "to": [{"operation": {"methods": ["GET"], "paths": [f"/team-{n}/*"], "ports": _HTTP}}],
        }]
    },
    lambda n: {
        "action": "DENY",
        "rules": [{
            "from": [{"source": {"notNamespaces": [f"ops-{n}"]}}],
            "to": [{"operation": {"paths": [f"/admin-{n}", f"/admin-{n}/*"], "ports": _HTTP}}],
        }],
    },
    lambda n: {
        "rules": [{"from": [{"source": {"namespaces": [f"shop-{n}"]}}], "to": [{"operation": {"methods": ["PUT"]}}]}]
    },
    lambda n: {
        "action": "DENY",
        "rules": [{"to": [{"operation": {"methods": ["DELETE"], "paths": [f"/orders/{{*}}/{n}"], "ports": _HTTP}}]}],
    },
    lambda n: {
        "rules": [{"from": [{"source": {"serviceAccounts": [f"jobs/job-{n}"], "ipBlocks": ["10.244.0.0/16"]}}]}]
    },
)  # fmt: skip


def run(folder: pathlib.Path, given: options.Options) -> list[table.Table]:
    """Measure all servers in each round, in an order of its own; the first round warms up."""
    with mesh.up(folder / "policies", objects()) as retic:
        client, address, pid = retic.pods()["default", "client"], retic.services(), retic.envoys()["node-1"]
        paths = {n: generators.Path(str(n), client, address[f"server-{n}"], (pid,)) for n in NUMBERS}
        cpu = _rounds(paths, given)
    return [_table(cpu)]


def _rounds(paths: dict[int, generators.Path], given: options.Options) -> dict[int, list[float]]:
    cpu: dict[int, list[float]] = {number: [] for number in paths}
    order = random.Random(1)
    for number in range(-1, given.rounds):
        for policies in order.sample(list(paths), len(paths)):
            load = generators.saturate(paths[policies], ports.Protocol.HTTP1, given.seconds)
            if number >= 0:
                cpu[policies].append(load.cpu_us)
        print(f"round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
    return cpu


def _table(cpu: dict[int, list[float]]) -> table.Table:
    rows, missed = [], []
    for number, found in cpu.items():
        compared = spread.ratios(found, cpu[1])
        verdict = spread.against(compared, AIM) if number > 1 else ""
        rows.append((str(number), f"{spread.of(found).median:.1f}", "" if number == 1 else compared.text(3), verdict))
        if verdict == spread.MISSED:
            missed.append(f"CPU per request, {number} policies: {compared.median:.3f} times one; the aim is {AIM}")
    ratio = f"ratio to one policy (aim: at most {AIM}): median (least; quartiles)"
    head = ("policies", "CPU µs/request", ratio, "verdict")
    return table.Table("Policies (HTTP/1 over mTLS, both pods on one node)", head, tuple(rows), tuple(missed))
