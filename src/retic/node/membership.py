"""Which pods of the node are in the mesh, kept as the control plane says: who is to come in comes, who is to go goes.

New pods come from the CNI plugin (`join`), which holds them meanwhile; running ones are found among the node's
processes. On leaving, a pod is reported as not captured first, so that nobody speaks mTLS to it any more; then its new
connections are left alone; when the last one through the proxy has ended, nothing of the mesh is left in it.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

import msgspec
import structlog

from retic.node import connections, gate, inside, listed, namespaces, pods, redirect, reporting

KNOWN_SECONDS = 20.0  # how long a new pod waits for the control plane to name it; the plugin waits for 30 s
SETTLE = 5.0  # seconds from the control plane's hearing that a pod leaves until all proxies have heard it
DRAIN = 3600.0  # seconds that a pod's last connections through the proxy may take
LOOK = 1.0  # seconds between looks at those
CLOSING = 10.0  # seconds for Envoy to close a pod's listeners
AGAIN = 5.0  # seconds between looks for pods that have no process yet, and attempts that failed
_STATIC = re.compile(r"[0-9a-f]{32}")  # a hash of its manifest, which the API server shows as config.hash only
_log = structlog.get_logger("retic.node")


class Asked(msgspec.Struct, frozen=True):
    """A pod as the CNI plugin names it. `sandbox` is the runtime's id."""

    uid: str
    namespace: str
    name: str
    sandbox: str = ""
    ip: str = ""


class Membership:
    """`withdraw` closes the listeners in a namespace at once."""

    def __init__(
        self,
        known: pods.Pods,
        spaces: namespaces.Namespaces,
        said: reporting.Reporting,
        withdraw: Callable[[str], None],
    ) -> None:
        self._known = known
        self._spaces = spaces
        self._said = said
        self._withdraw = withdraw
        self._listed: dict[str, listed.Entry] | None = None
        self._news = asyncio.Condition()
        self._look = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._busy: dict[str, set[asyncio.Task[Any]]] = {}  # what the runtime has asked, by uid

    def restore(self, kept: Iterable[pods.Pod]) -> list[pods.Pod]:
        """For `Pods.restore`: those that still run. Their namespaces are held then."""
        kept = list(kept)
        self._spaces.find(pod.uid for pod in kept if not self._spaces.is_held(pod.uid))
        return [pod for pod in kept if self._spaces.is_held(pod.uid) and pod.netns == str(self._spaces.path(pod.uid))]

    def keeps(self, netns_path: str) -> bool:
        """For `relay.Relay`: whether rules in a pod still lead to listeners in that namespace."""
        return any(pod.netns == netns_path for pod in self._known.all())

    async def take(self, message: bytes | None) -> None:
        """The control plane's list; None leaves the last one in force. MalformedError."""
        if message is None:
            _log.warning("the control plane has no list of this node's pods; the last one stays")
            return
        said = listed.decode(message)
        if said.network is not None and said.network.carried:
            try:
                dns = said.network.dns if ":" not in said.network.dns else ""
                await self._known.set_networks(said.network.carried, dns)
            except pods.SwitchError as error:
                _log.warning("the mesh's networks are not known in every pod", reason=str(error))
            except gate.SupersededError:
                return
        self._listed = said.pods
        async with self._news:
            self._news.notify_all()
        self._look.set()

    async def run(self) -> None:
        """Follow the list for ever."""
        try:
            while True:
                self._look.clear()
                try:
                    await self._follow()
                except OSError as error:
                    _log.warning("the node's processes cannot be looked at; tried again", reason=str(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN):
                        await self._look.wait()
        finally:
            await self._cancel(*self._tasks)

    async def join(self, asked: Asked, netns: int) -> bool:
        """A new pod: whether it is in the mesh; it is captured then. `netns` is a descriptor of its namespace.

        A static pod passes: the runtime knows it by another uid than the API server does. EnrolError when the control
        plane does not name the pod in time, or it cannot be captured.
        """
        if _STATIC.fullmatch(asked.uid):
            return False
        entry = await self._entry(asked)
        async with self._alone(asked.uid):
            if not self._spaces.same(asked.uid, netns):
                await self._dismantle(asked.uid)
            if not entry.mesh:
                return False
            try:
                async with self._known.gate:
                    path = await inside.on_thread(lambda: self._spaces.hold(asked.uid, netns))
            except OSError as error:
                raise pods.EnrolError(f"pod {asked.namespace}/{asked.name} is not enrolled: {error}") from error
            await self._known.add(_pod(entry, str(path), sandbox=asked.sandbox, ip=asked.ip))
            return True

    async def gone(self, asked: Asked) -> None:
        """The runtime takes the pod's sandbox down: its listeners go at once. Nothing for a sandbox of before."""
        pod = self._known.get(asked.uid)
        if pod is None or (pod.sandbox and asked.sandbox not in pod.sandbox):
            return
        async with self._alone(asked.uid):
            await self._dismantle(asked.uid)

    def check(self, asked: Asked) -> None:
        """EnrolError when the pod is to be captured and is not."""
        entry, pod = (self._listed or {}).get(asked.uid), self._known.get(asked.uid)
        if entry is not None and entry.mesh and (pod is None or not pod.captured):
            raise pods.EnrolError(f"pod {asked.namespace}/{asked.name} is to be in the mesh and is not captured")

    async def _follow(self) -> None:
        if self._listed is None:
            return
        for pod in self._known.all():
            if not self._wanted(pod.uid) and self._free(pod.uid):
                self._start(pod.uid, self._leave(pod))
        coming = [uid for uid in self._listed if self._free(uid) and self._missing(uid)]
        if not coming:
            return
        found = await inside.on_thread(lambda: self._spaces.find(coming))
        for uid, group in found.items():
            entry = self._wanted(uid)
            if entry and self._free(uid) and self._missing(uid):
                self._start(uid, self._enter(entry, group))

    def _free(self, uid: str) -> bool:
        return uid not in self._tasks and uid not in self._busy

    def _missing(self, uid: str) -> bool:
        pod = self._known.get(uid)
        return self._wanted(uid) is not None and (pod is None or not pod.captured)

    def _wanted(self, uid: str) -> listed.Entry | None:
        entry = (self._listed or {}).get(uid)
        return entry if entry is not None and entry.mesh else None

    def _start(self, uid: str, doing: Coroutine[Any, Any, None]) -> None:
        async def do() -> None:
            try:
                await doing
            except (pods.EnrolError, redirect.RedirectionError, OSError) as error:
                _log.warning("a pod is not where it should be; tried again", uid=uid, reason=str(error))
            except gate.SupersededError:
                _log.info("another agent goes on with a pod", uid=uid)
            except Exception:
                _log.exception("a pod is not where it should be; tried again", uid=uid)
            finally:
                del self._tasks[uid]

        self._tasks[uid] = asyncio.create_task(do(), name=f"membership of {uid}")

    async def _enter(self, entry: listed.Entry, group: str) -> None:
        """A running pod, whose namespace is held."""
        before = self._known.get(entry.uid)
        sandbox = before.sandbox if before is not None and before.sandbox else group
        path = str(self._spaces.path(entry.uid))
        await self._known.add(_pod(entry, path, sandbox=sandbox, ip=entry.ip), running=True)

    async def _leave(self, pod: pods.Pod) -> None:
        if not await asyncio.to_thread(self._spaces.alive, pod.uid):
            await self._dismantle(pod.uid)
            return
        if not pod.leaving:
            self._known.uncapture(pod.uid)
            await self._said.told()
            await asyncio.sleep(SETTLE)
            if self._wanted(pod.uid):
                return  # back again: the next look brings it in
        await self._known.stop(pod.uid)
        _log.info("pod leaves", namespace=pod.namespace, name=pod.name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                while not self._wanted(pod.uid) and await _proxied(pod):  # noqa: ASYNC110
                    await asyncio.sleep(LOOK)
        if self._wanted(pod.uid):
            return
        self._withdraw(pod.netns)
        await self._known.closed(pod.netns, DRAIN)  # those of an Envoy that drains stay until it has
        await self._known.clear(pod.uid)
        await inside.on_thread(lambda: self._spaces.drop(pod.uid))
        _log.info("pod released", namespace=pod.namespace, name=pod.name)

    async def _dismantle(self, uid: str) -> None:
        """The pod, or its sandbox, is over: close what listens in it, and let its namespace go."""
        async with self._known.gate:
            pod = self._known.forget(uid)
            path = self._spaces.path(uid)
            if pod is None and not self._spaces.is_held(uid):
                return
            self._withdraw(str(path))
            if self._spaces.is_held(uid):
                with contextlib.suppress(OSError):
                    await self._known.closed(str(path), CLOSING)
            await inside.on_thread(lambda: self._spaces.drop(uid))
        if pod is not None:
            _log.info("pod gone", namespace=pod.namespace, name=pod.name)

    async def _entry(self, asked: Asked) -> listed.Entry:
        try:
            async with asyncio.timeout(KNOWN_SECONDS), self._news:
                await self._news.wait_for(lambda: asked.uid in (self._listed or {}))
        except TimeoutError:
            raise pods.EnrolError(
                f"the control plane does not know pod {asked.namespace}/{asked.name} yet (uid {asked.uid}); is it up?"
            ) from None
        entry = (self._listed or {})[asked.uid]
        if (entry.namespace, entry.name) != (asked.namespace, asked.name):
            raise pods.EnrolError(
                f"uid {asked.uid} is of pod {entry.namespace}/{entry.name}, not of {asked.namespace}/{asked.name}"
            )
        return entry

    @contextlib.asynccontextmanager
    async def _alone(self, uid: str) -> AsyncIterator[None]:
        """End all else that is done with the pod: what the runtime says last counts."""
        mine = asyncio.current_task()
        assert mine is not None
        others = [*self._busy.get(uid, ())]
        self._busy.setdefault(uid, set()).add(mine)
        try:
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self._cancel(uid)
            yield
        finally:
            self._busy[uid].discard(mine)
            if not self._busy[uid]:
                del self._busy[uid]
            self._look.set()

    async def _cancel(self, *uids: str) -> None:
        tasks = [self._tasks[uid] for uid in uids if uid in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _proxied(pod: pods.Pod) -> int:
    return (await asyncio.to_thread(connections.counted, pod.netns)).proxied


def _pod(entry: listed.Entry, netns: str, *, sandbox: str, ip: str) -> pods.Pod:
    return pods.Pod(
        uid=entry.uid, namespace=entry.namespace, name=entry.name, ip=ip,
        service_account=entry.service_account, netns=netns, sandbox=sandbox,
    )  # fmt: skip
