"""One pod bound to a node: its namespaces, its network, its containers in their order, and its end.

No container starts before the node's agent has captured the pod (fail closed). The order of init
containers, sidecars and containers is Kubernetes' (KEP-753). A runner serves one uid: a pod made anew gets
another runner.
"""

import asyncio
import contextlib
import pathlib
import shutil
from collections.abc import Callable

import structlog

from retic import findings
from retic.local.kubelet import (
    cni,
    container,
    environment,
    host,
    naming,
    probing,
    references,
    starting,
    status,
    tokens,
    volumes,
)
from retic.local.sandbox import messages
from retic.local.workloads import gateways, pods
from retic.objects import pods as structs

log = structlog.get_logger(__name__)
_FIRST_RETRY, _LAST_RETRY = 0.1, 2.0
_GRACE = 30


class Runner:
    """Runs one pod. `gone` is called once, when nothing of it is left."""

    def __init__(self, given: host.Host, pod: structs.Pod, gone: Callable[[structs.Pod], None]) -> None:
        """`pod` must have a node and an address."""
        self.pod = pod
        self.sandbox: host.Sandbox | None = None
        self._host, self._gone = given, gone
        self._facts = status.Facts()
        self._starter: starting.Starter | None = None
        name = f"{pod.metadata.namespace}_{pod.metadata.name}"
        self.folder = given.state / "pods" / name
        self._volumes = self.folder / ".volumes"
        self._claims = given.state / "claims"
        self._tokens = tokens.Tokens(given.issuer, given.time, given.look)
        self._inits = [self._runner(item, init=True) for item in pod.spec.init_containers]
        self._containers = [self._runner(item) for item in pod.spec.containers]
        self._guest_state: tuple[bool, str] | None = None
        self._guest_runs = False
        self._seen: tuple[object, ...] | None = None
        self._changed_objects = asyncio.Event()
        self._task = asyncio.create_task(self._live(), name=f"pod {name}")
        self._end_task: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None

    @property
    def ref(self) -> findings.Ref:
        """The pod's reference."""
        return pods.ref(self.pod)

    @property
    def runners(self) -> list[container.Runner]:
        """All containers, init containers first."""
        return [*self._inits, *self._containers]

    @property
    def grace(self) -> float:
        """Seconds between the order to end and SIGKILL."""
        wanted = self.pod.spec.termination_grace_period_seconds
        return float(_GRACE if wanted is None else wanted)

    @property
    def unready(self) -> dict[str, str]:
        """Why containers that run are not ready, by their names: what the last probe of each brought."""
        if self._guest_state is not None:
            return {item.container.name: self._guest_state[1] for item in self._containers[:1]}
        return {item.container.name: item.unready for item in self.runners if item.unready}

    def inside(self, name: str) -> starting.Setting | str:
        """What a further command in a container is to be started with, or in words why there is none."""
        if self._guest_state is not None and self.sandbox is not None:
            return starting.Setting(environment.base(naming.kernel_name(self.pod)), "/")
        state = next((item.status.state for item in self.runners if item.container.name == name), None)
        if state is None:
            return "there is no such container"
        if state.terminated is not None:
            return f"it {status.ended(state.terminated)}"
        if state.running is None or self._starter is None:
            return f"it is waiting: {state.waiting.reason if state.waiting is not None else 'not started'}"
        return self._starter.settings[name]

    def log_path(self, name: str) -> pathlib.Path:
        """Where a container's log is."""
        return self.folder / name / "log"

    def _runner(self, item: structs.Container, *, init: bool = False) -> container.Runner:
        policy = self.pod.spec.restart_policy or "Always"
        if init:
            policy = "Always" if item.restart_policy == "Always" else "Never" if policy == "Never" else "OnFailure"
        waits = "PodInitializing" if self.pod.spec.init_containers else "ContainerCreating"
        return container.Runner(
            item, self, restart=policy, time=self._host.time, grace=self.grace, waits=waits
        )

    # What containers ask of their pod.

    async def start(self, item: structs.Container) -> container.Process:
        """Start a container's process."""
        assert self._starter is not None
        return await self._starter.start(item)

    def target(self, item: structs.Container) -> probing.Target:
        """Where a container's probes go."""
        starter, sandbox = self._starter, self.sandbox
        assert starter is not None
        assert sandbox is not None
        ports = {port.name: port.container_port for port in item.ports if port.name}
        return probing.Target(
            netns=sandbox.netns_path,
            address=self.pod.status.pod_ip or "",
            ports=ports,
            execute=lambda command: starter.execute(item, command),
        )

    def changed(self) -> None:
        """Tell the pod's status when it is another."""
        statuses = tuple(item.status for item in self._containers)
        if self._guest_state is not None:
            ready, why = self._guest_state
            state = structs.ContainerState(running=structs.StateRunning())
            if not self._guest_runs:
                state = structs.ContainerState(waiting=structs.StateWaiting(reason="ContainerCreating", message=why))
            statuses = (
                structs.ContainerStatus(
                    name=self.pod.spec.containers[0].name,
                    ready=ready,
                    started=True,
                    state=state,
                ),
            )
        new = status.status(
            self.pod,
            self._facts,
            statuses,
            tuple(item.status for item in self._inits),
            now=self._host.time.now().timestamp(),
        )
        if new != self.pod.status:
            self.pod = status.replace(self.pod, status=new)
            self._host.report(self.pod, new)

    def refresh(self, pod: structs.Pod) -> None:
        """Take labels and annotations as they are now. When they, or objects that the pod refers to, are
        others than at the last call, volumes follow and waiting containers look again."""
        seen = (pod.metadata, *(self._host.look(ref) for ref in references.of(pod)))
        if self._seen is not None and all(a is b or a == b for a, b in zip(seen, self._seen, strict=True)):
            return
        self._seen = seen
        self.pod = status.replace(self.pod, metadata=pod.metadata)
        self._changed_objects.set()
        for runner in self.runners:
            runner.retry()
        if self._starter is not None:
            with contextlib.suppress(environment.Missing, OSError):
                self._write_volumes()

    def _write_volumes(self) -> None:
        volumes.prepare(self._volumes, self._claims, self.pod, self._host.look, self._tokens.token)

    # The pod's life.

    def _know(self, **fields: object) -> None:
        self._facts = status.replace(self._facts, **fields)
        self.changed()

    async def _live(self) -> None:
        try:
            await self._set_up()
            if self._tokens.renewal is not None:
                self._renewing = asyncio.create_task(self._renew(), name=f"tokens of {self.ref}")
            if gateways.is_gateway(self.pod):
                await self._host_guest()
                return
            if await self._initialize():
                await self._run()
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a pod's task failed", pod=str(self.ref))
            self._know(reason="InternalError", message="a fault of Retic; see the log of the cluster")

    async def _set_up(self) -> None:
        """Volumes, namespaces, network: each is tried until it works, with the reason in the status."""
        wait = _FIRST_RETRY
        while True:
            self._changed_objects.clear()
            try:
                await self._try_to_set_up()
                break
            except (environment.Missing, cni.Refused) as error:
                self._know(network=str(error))
            except OSError as error:
                self._know(network=f"cannot make the pod: {error.strerror or error}")
                log.warning("cannot make a pod yet", pod=str(self.ref), error=str(error))
            await self._pause(wait)
            wait = min(2 * wait, _LAST_RETRY)
        self._know(network=None)

    async def _pause(self, seconds: float) -> None:
        sleeping = asyncio.ensure_future(self._host.time.sleep(seconds))
        changed = asyncio.ensure_future(self._changed_objects.wait())
        try:
            await asyncio.wait({sleeping, changed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            changed.cancel()

    async def _try_to_set_up(self) -> None:
        pod, given = self.pod, self._host
        uid, node = pod.metadata.uid or "", pod.spec.node_name or ""
        if self.sandbox is None:
            self._volumes.mkdir(parents=True, exist_ok=True)
            self._write_volumes()
            services = given.services(pod.metadata.namespace)
            known = {
                item.name: environment.of(pod, item, given.look, services)
                for item in (*pod.spec.containers, *pod.spec.init_containers)
                if any(mount.sub_path_expr for mount in item.volume_mounts)
            }
            for server in naming.outside(pod):
                await given.nameserver(server)
            found = volumes.mounts(self._volumes, self._claims, pod, known)
            self.sandbox = await given.fabric.add_pod(
                uid,
                namespace=pod.metadata.namespace,
                name=pod.metadata.name,
                hostname=naming.host_name(pod),
                node=node,
                ip=pod.status.pod_ip or "",
                subdomain=pod.spec.subdomain,
                kernel_name=naming.kernel_name(pod),
                resolv_conf=naming.resolver(pod, given.resolver).text,
                aliases=naming.aliases(pod),
                volumes=[messages.Volume(source=m.source, path=m.path, read_only=m.read_only) for m in found],
            )
            self._starter = starting.Starter(given, pod, self.sandbox, self.folder)
        agent = given.agent(node)
        if agent is not None and not gateways.is_gateway(pod):
            await cni.add(agent, pod, self.sandbox.netns_path)

    async def _renew(self) -> None:
        """Write service account tokens anew, each before it ends, for as long as the pod is there."""
        while (when := self._tokens.renewal) is not None:
            await self._host.time.sleep(when - self._host.time.now().timestamp())
            try:
                self._write_volumes()
            except (environment.Missing, OSError) as error:
                log.warning("a service account token could not be written", pod=str(self.ref), error=str(error))
                await self._host.time.sleep(_LAST_RETRY)

    async def _host_guest(self) -> None:
        assert self.sandbox is not None
        if self._host.guest is None:
            return
        self._guest_state = (False, "the gateway's proxy is being started")
        self._know(initialized=True)

        def tell(ready: bool, why: str) -> None:
            self._guest_state, self._guest_runs = (ready, why), True
            self.changed()

        await self._host.guest.start(self.pod, self.sandbox, tell)

    async def _initialize(self) -> bool:
        """Run init containers in order; False when one failed for good and the pod with it."""
        for runner in self._inits:
            runner.begin()
            if runner.container.restart_policy == "Always":
                await runner.up.wait()
                continue
            await runner.over.wait()
            if not runner.succeeded:
                await self._stop_sidecars(self.grace)
                self._know(over="Failed", reason="InitContainerFailed")
                return False
            runner.status = status.replace(runner.status, ready=True)
        self._know(initialized=True)
        return True

    async def _run(self) -> None:
        for runner in self._containers:
            runner.begin()
        limit = self.pod.spec.active_deadline_seconds
        ended = asyncio.ensure_future(self._all_over())
        if limit is None:
            await ended
        else:
            late = asyncio.ensure_future(self._host.time.sleep(limit))
            await asyncio.wait({ended, late}, return_when=asyncio.FIRST_COMPLETED)
            late.cancel()
            if not ended.done():
                ended.cancel()
                await self._stop_all()
                self._know(
                    over="Failed",
                    reason="DeadlineExceeded",
                    message="Pod was active on the node longer than the specified deadline",
                )
                return
        await self._stop_sidecars(self.grace)
        good = all(runner.succeeded for runner in self._containers)
        self._know(over="Succeeded" if good else "Failed")

    async def _all_over(self) -> None:
        for runner in self._containers:
            await runner.over.wait()

    async def _stop_sidecars(self, grace: float) -> None:
        for runner in reversed(self._inits):
            if runner.container.restart_policy == "Always":
                await runner.stop(grace)

    async def _stop_all(self, grace: float | None = None) -> None:
        grace = self.grace if grace is None else grace
        began = self._host.time.now().timestamp()
        await asyncio.gather(*(runner.stop(grace) for runner in self._containers))
        left = max(0.0, grace - (self._host.time.now().timestamp() - began))
        for runner in reversed(self._inits):
            await runner.stop(left)

    def end(self) -> None:
        """Begin the pod's end; it takes up to its grace period, then `gone` is called."""
        if self._end_task is None:
            self._end_task = asyncio.create_task(self._end(), name=f"end of {self.ref}")

    async def ended(self) -> None:
        """Wait for the end, which must have begun."""
        assert self._end_task is not None
        await asyncio.wait({self._end_task})

    async def _end(self) -> None:
        try:
            if self.sandbox is not None:
                await self._host.time.sleep(self._host.drain)
                if self._host.heard is not None:
                    await self._host.heard()
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            await self._stop_all()
            if self._renewing is not None:
                self._renewing.cancel()
            if self._guest_state is not None and self._host.guest is not None:
                await self._host.guest.stop(self.pod)
        except Exception:
            log.exception("a pod did not end in order", pod=str(self.ref))
        finally:
            await self._remove()
            self._gone(self.pod)

    async def _remove(self) -> None:
        uid = self.pod.metadata.uid or ""
        agent = self._host.agent(self.pod.spec.node_name or "")
        try:
            if agent is not None and self.sandbox is not None and not gateways.is_gateway(self.pod):
                with contextlib.suppress(cni.Refused):
                    await cni.delete(agent, uid)
            await self._host.fabric.remove_pod(uid)
        except Exception:
            log.exception("a pod's namespaces could not be removed", pod=str(self.ref))
        if self._starter is not None:
            self._starter.close()
        shutil.rmtree(self.folder, ignore_errors=True)
