"""Everything of one mesh's cluster put together: manifests in, worlds made, pods run, changes told."""

import asyncio
import contextlib
import os
import pathlib
from typing import Any

import structlog

from retic import findings
from retic.findings import catalogue
from retic.identity import clock
from retic.local import broker, dns, egress, questions, state, supervisor, upstream, workloads, zone
from retic.local.cluster import gateways, heard, members, nameservers, processes, published, server, started
from retic.local.kubelet import host, kubelet, naming, tokens
from retic.local.sandbox import addresses, fabric
from retic.local.workloads import pods
from retic.objects import core
from retic.objects import pods as structs
from retic.sources import live, model

# Set: pods, names and addresses without control plane, agents and capture, for measurements. Virtual
# addresses of Services lead nowhere then, and gateways stay unready.
NO_MESH = "RETIC_NO_MESH"
ZONE_LABEL = "topology.kubernetes.io/zone"
log = structlog.get_logger(__name__)


class Cluster:
    """One mesh. `start`, then `run` until it is told to end, then `close`."""

    def __init__(self, config: state.Config, fab: fabric.Fabric, outside: broker.Client) -> None:
        self._config = config
        self._folder = pathlib.Path(config.state)
        self._mesh = NO_MESH not in {**os.environ, **config.environment}
        self._fabric = fab
        self._outside = outside
        self._time = clock.System()
        self._given: dict[findings.Ref, Any] = {}
        self._positions: dict[findings.Ref, model.Position] = {}
        self._form: tuple[findings.Finding, ...] = ()
        self._world = workloads.World()
        self._dirty = asyncio.Event()
        self._news = asyncio.Condition()
        self._loaded = False
        self.objects = published.Published()
        logs = self._folder / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        self.keeper = supervisor.Supervisor(fab, logs)
        self._members = members.Members(config, self.keeper, fab)
        self._egress = egress.Egress(outside)
        self._ingress = egress.Ingress(outside)
        self._nameservers = nameservers.Nameservers(outside, self._egress)
        self.gateways = gateways.Gateways(self._members, self._ingress, self._look, self._dirty.set)
        self.kubelet = kubelet.Kubelet(self._host(), self._gone)
        self._server = server.Server(self.objects, self.status, self.settle, self.inside)
        self._names: list[dns.Server] = []
        self._metrics: egress.Published | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def _host(self) -> host.Host:
        return host.Host(
            fabric=self._fabric,
            state=self._folder,
            time=self._time,
            look=self._look,
            services=self._services,
            directory=self._directory,
            agent=self._members.socket if self._mesh else lambda _node: None,
            report=self._report,
            issuer=tokens.Issuer.open(self._folder),
            resolver=_resolver(),
            nameserver=self._nameservers.reach,
            guest=self.gateways if self._mesh else None,
            heard=(lambda: heard.everywhere(self._folder / "control.sock")) if self._mesh else None,
        )

    # What the kubelet asks.

    def _look(self, ref: findings.Ref) -> Any | None:
        return self._world.objects.get(ref) or self._given.get(ref)

    def _services(self, namespace: str) -> list[core.Service]:
        found = {r: v for r, v in self._all().items() if r.kind == "Service" and r.namespace == namespace}
        return [found[ref] for ref in sorted(found)]

    def _directory(self, pod: structs.Pod) -> pathlib.Path:
        """The folder of the manifest that the pod, or else its topmost owner, stands in."""
        value: Any = pod
        while pods.ref(value) not in self._positions and (owner := pods.controller(value)) is not None:
            above = self._look(findings.Ref(owner.kind, pod.metadata.namespace, owner.name))
            if above is None:
                break
            value = above
        place = self._positions.get(pods.ref(value))
        return pathlib.Path(place.file).parent if place else self._folder

    def _report(self, pod: structs.Pod, new: structs.PodStatus) -> None:
        self._world = self._world.with_status(pods.ref(pod), pod.metadata.uid or "", new)
        self._dirty.set()

    def _gone(self, pod: structs.Pod) -> None:
        self._world = self._world.without(pods.ref(pod), pod.metadata.uid or "")
        self._dirty.set()

    def _all(self) -> dict[findings.Ref, Any]:
        return self._world.listed(self._given)

    # Life.

    async def start(self) -> None:
        """Network, names and sockets; then the control plane and the agents."""
        await self._egress.start()
        names = zone.Zone()
        self.objects.listeners.append(lambda ref, value: _to_zone(names, ref, value))
        resolvers = upstream.Upstream(upstream.host_servers(), self._outside.udp, self._outside.connect)
        await self._nameservers.start(resolvers)
        for node in self._config.nodes:
            await asyncio.to_thread(questions.bound, self._fabric.netns(node))
            serving = dns.Server(names, resolvers)
            await serving.serve(*dns.sockets_in(self._fabric.netns(node)))
            self._names.append(serving)
        await self._server.start(self._folder / "cluster.sock")
        self._tasks = [
            asyncio.create_task(self._keep("manifests", self._follow), name="manifests"),
            asyncio.create_task(self._keep("controllers", self._reconcile), name="controllers"),
        ]
        async with self._news:
            await self._news.wait_for(lambda: self._loaded)
        if self._mesh:
            await self._members.start({node: self._zone(node) for node in self._config.nodes})
            await self._publish_metrics()

    async def _publish_metrics(self) -> None:
        wanted = self._config.metrics_port
        try:
            self._metrics = await self._ingress.publish(str(addresses.FABRIC), members.METRICS_PORT, wanted)
        except (OSError, broker.LostError) as error:
            log.warning("metrics are not reached from this machine", reason=str(error))

    def _zone(self, node: str) -> str:
        value = self._look(findings.Ref("Node", "", node))
        return value.metadata.labels.get(ZONE_LABEL, "") if value else ""

    async def _keep(self, name: str, work: Any) -> None:
        """Run `work` for good: what it raises is logged, and it is begun again."""
        while True:
            try:
                await work()
            except Exception:
                log.exception("begun again after a fault", part=name)
            await asyncio.sleep(0.2)

    async def _follow(self) -> None:
        paths = [pathlib.Path(path) for path in self._config.manifests]
        async for loaded in live.watch(paths):
            self._given = workloads.identified(located.object for located in loaded.objects)
            self._positions = {located.ref: located.position for located in loaded.objects}
            self._form = loaded.findings
            self._loaded = True
            self._dirty.set()

    async def _reconcile(self) -> None:
        """Make the world anew whenever something has changed, or a controller wanted to be asked again."""
        while True:
            wake = self._world.wake
            with contextlib.suppress(TimeoutError):
                left = None if wake is None else max(0.0, wake - self._time.now().timestamp())
                async with asyncio.timeout(left):
                    await self._dirty.wait()
            self._dirty.clear()
            if not self._loaded:
                continue
            self._advance()
            async with self._news:
                self._news.notify_all()

    def _advance(self) -> None:
        now = self._time.now().timestamp()
        self._world = workloads.expand(self._given, self._world, nodes=self._config.nodes, now=now)
        self.objects.update(self._all(), self._positions, self._findings())
        self.kubelet.sync(self._world.pods.values())

    def _findings(self) -> tuple[findings.Finding, ...]:
        faults = [*self._world.faults, *dict.fromkeys(started.faults(self._world, self._look))]
        for ref, port, other in self.gateways.wrong_ports():
            faults.append(
                findings.Fault(
                    "RT0505", ref, "spec.listeners",
                    f"port {port} is taken or not allowed on this machine: it is reached at 127.0.0.1:{other}",
                    "free the port, or use the address that retic ps shows",
                )
            )
        return (*self._form, *(self._placed(fault) for fault in faults))

    def _placed(self, fault: findings.Fault) -> findings.Finding:
        place = self._positions.get(fault.object)
        if place is None:
            return catalogue.finding(fault, "", 0)
        return catalogue.finding(fault, place.file, place.at(fault.path))

    async def close(self) -> None:
        """Pods first, each within its grace; then the mesh's own processes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.kubelet.close()
        await self.keeper.close(("agent", "control"))
        await self._server.close()
        await self._ingress.close()
        await self._egress.close()
        await self._nameservers.close()
        for serving in self._names:
            await serving.close()

    # What commands ask.

    def status(self) -> dict[str, Any]:
        """Processes by role, gateways with their host addresses, pods with what runs in them."""
        return {
            "processes": [*processes.own(self._folder), *self._kept()],
            "gateways": self.gateways.status(),
            "metrics": "" if self._metrics is None else f"127.0.0.1:{self._metrics.port}",
            "pods": [_pod(runner) for runner in self.kubelet.runners],
        }

    def inside(self, namespace: str, name: str, container: str) -> dict[str, Any]:
        """What a command in a container of a pod is to be started with: `holder_pid`, `env`, `cwd`; or `why`
        that cannot be, in words."""
        for runner in self.kubelet.runners:
            meta = runner.pod.metadata
            if (meta.namespace, meta.name) == (namespace, name) and runner.sandbox is not None:
                found = runner.inside(container)
                if isinstance(found, str):
                    return {"why": found}
                return {"why": "", "holder_pid": runner.sandbox.host_pid, "env": found.env, "cwd": found.cwd}
        return {"why": "nothing of the pod runs"}

    def _kept(self) -> list[dict[str, Any]]:
        return [
            {"role": p.role, "name": p.name, "pid": p.pid}
            for p in self.keeper.processes()
            if p.pid is not None
        ]

    async def settle(self, seconds: float) -> dict[str, Any]:
        """Wait until everything in the manifests is applied and every pod is ready or has done its work; not
        when all that is left is wrong in the manifests, which no waiting mends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: not self._unfinished())
        reasons = [*(f"{f.object}: {f.message}" for f in self._mistakes()), *self._unfinished()]
        return {"ready": not reasons, "reasons": reasons}

    def _mistakes(self) -> list[findings.Fault]:
        """What is wrong in the manifests, so that pods cannot be made or started of them."""
        found = [*self._world.faults, *dict.fromkeys(started.faults(self._world, self._look))]
        return [fault for fault in found if catalogue.CODES[fault.code].severity is findings.Severity.ERROR]

    def _unfinished(self) -> list[str]:
        """What time may still bring about."""
        if not self._loaded:
            return ["the manifests have not been read yet"]
        if self._dirty.is_set():
            return ["changes are being applied"]
        mistaken = {fault.object for fault in self._mistakes()}
        return started.reasons(self._world, self._look, mistaken, self.kubelet.unready)


def _resolver() -> naming.Resolver:
    """This machine's resolv.conf; an empty one when there is none."""
    try:
        return naming.parse(pathlib.Path("/etc/resolv.conf").read_text(errors="replace"))
    except OSError:
        return naming.Resolver()


def _to_zone(names: zone.Zone, ref: findings.Ref, value: Any | None) -> None:
    if value is None:
        names.remove(ref.kind, ref.namespace, ref.name)
    else:
        names.put(value)


def _pod(runner: Any) -> dict[str, Any]:
    pod, sandbox = runner.pod, runner.sandbox
    return {
        "namespace": pod.metadata.namespace,
        "name": pod.metadata.name,
        "holder_pid": sandbox.host_pid if sandbox else 0,
        "containers": [
            {
                "name": item.container.name,
                "pid": item.host_pid,
                "restarts": item.status.restart_count,
                "ready": item.status.ready,
                "log": str(runner.log_path(item.container.name)),
            }
            for item in runner.runners
        ],
    }

