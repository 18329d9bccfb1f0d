"""The pods of this node: enrolled one by one, remembered in pods.json, known again after a restart.

A pod counts as captured when its identity has a certificate, its rules are set, and Envoy accepts on the
three ports inside it. Until then its traffic goes nowhere: the rules come before the listeners.

There is one redirection for all pods: to the ports of one Envoy. `switch` turns it to those of the next.
"""

import asyncio
import contextlib
import pathlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import msgspec
import structlog

from retic.identity import authority, spiffe
from retic.node import gate, inside, keys, listening, passage, ports, redirect

ADD_SECONDS = 30.0
AT_ONCE = 4  # pods whose rules are set at the same time
LOOK = 0.02  # seconds between looks at the namespace's sockets; the kernel tells nobody of a new listener
_log = structlog.get_logger("retic.node")


class EnrolError(Exception):
    """A pod that could not be enrolled. The message is for who runs the pod."""


class SwitchError(Exception):
    """The redirection was not turned; it is as it was before. The message names the pods and says why."""


class Redirect(Protocol):
    """The module `redirect`, or a fake of it."""

    def enrol(self, netns_path: str, config: redirect.Config) -> None: ...

    def switch(self, netns_path: str, config: redirect.Config) -> None: ...

    def release(self, netns_path: str) -> None: ...

    def set_opaque(self, netns_path: str, destinations: Iterable[tuple[str, int]]) -> None: ...


class Passage(Protocol):
    """The module `passage`, or a fake of it."""

    def guard(self, netns_path: str) -> None: ...

    def unguard(self, netns_path: str) -> None: ...

    def stop(self, netns_path: str, to: ports.Ports) -> None: ...

    def clear(self, netns_path: str) -> None: ...


class Pod(msgspec.Struct, frozen=True):
    """A pod as the CNI request names it. `netns` is the path where its network namespace is bound; `sandbox` the
    runtime's id of it, or a text that has it as a part, "" when nobody knows. `leaving`: its new connections are not
    redirected any more, and those from before go on."""

    uid: str
    namespace: str
    name: str
    ip: str
    service_account: str
    netns: str
    captured: bool = False
    sandbox: str = ""
    leaving: bool = False


class _File(msgspec.Struct, frozen=True):
    pods: tuple[Pod, ...] = ()
    identities: tuple[str, ...] = ()


async def _at_once() -> None:
    pass


class Pods:
    """Enrols and releases. `rules` sets the redirection, `held` holds the keys; `arrived` hears of each new pod,
    `changed` of each that is captured now or no longer; `there` says which of the pods known still have a namespace.

    While `gate` is closed, who wants to change the pods waits; SupersededError once another agent has them.
    """

    def __init__(
        self,
        file: pathlib.Path,
        trust_domain: str,
        held: keys.Keys,
        rules: Redirect,
        redirection: redirect.Config,
        *,
        arrived: Callable[[], None] = lambda: None,
        changed: Callable[[], None] = lambda: None,
        there: Callable[[Iterable[Pod]], Iterable[Pod]] | None = None,
        way: Passage = passage,
        look: Callable[[str], contextlib.AbstractContextManager[listening.Tables]] = listening.opened,
    ) -> None:
        self._file = file
        self._trust_domain = trust_domain
        self._keys = held
        self._rules = rules
        self._redirection = redirection
        self._arrived = arrived
        self._changed = changed
        self._there = there or mounted
        self._way = way
        self._look = look
        self._pods: dict[str, Pod] = {}
        self._extra: tuple[spiffe.Id, ...] = ()
        self._opaque: frozenset[tuple[str, int]] = frozenset()
        self._locks: dict[str, asyncio.Lock] = {}
        self.gate = gate.Gate()
        self.decided: Callable[[], Awaitable[None]] = _at_once
        """Waits until Envoy has what its listeners decide by: before that they refuse."""

    @property
    def extra(self) -> tuple[str, ...]:
        """The identities that are held whatever the pods."""
        return tuple(map(str, self._extra))

    def all(self) -> list[Pod]:
        """The pods, by namespace and name."""
        return sorted(self._pods.values(), key=lambda pod: (pod.namespace, pod.name, pod.uid))

    def get(self, uid: str) -> Pod | None:
        """The pod of that uid, if it is known."""
        return self._pods.get(uid)

    def restore(self, always: Iterable[str] = ()) -> None:
        """Know the pods again that pods.json names and whose namespaces still exist.

        `always` are identities to hold beside the remembered ones.
        """
        try:
            kept = msgspec.json.decode(self._file.read_bytes(), type=_File)
        except FileNotFoundError:
            kept = _File()
        except msgspec.DecodeError as error:
            _log.error("pods.json cannot be read; pods must be enrolled again", reason=str(error))
            kept = _File()
        self.learn(kept.pods, (*kept.identities, *always))
        self._save()

    def learn(
        self, known: Iterable[Pod], identities: Iterable[str], *, at: ports.Ports | None = None
    ) -> None:
        """Know these pods, as far as their namespaces still exist, and hold these identities; write nothing.

        `at` are the ports to which they are redirected now.
        """
        if at is not None:
            self._redirection = msgspec.structs.replace(self._redirection, to=at)
        self._pods = {pod.uid: pod for pod in self._there(known)}
        self._extra = tuple(map(spiffe.parse, dict.fromkeys(identities)))
        self._keep()
        self._arrived()

    async def add(self, pod: Pod, *, running: bool = False) -> None:
        """Enrol; returns once the pod is captured. EnrolError when that fails or takes over 30 s.

        A pod that is `running` loses no connection meanwhile: its traffic goes on as it was until Envoy listens.

        A pod that fails is still remembered, so that its key is there at the next attempt; `delete` ends it.
        """
        identity = self._identity(pod)
        async with self.gate, self._locks.setdefault(pod.uid, asyncio.Lock()):
            self._pods[pod.uid] = msgspec.structs.replace(pod, captured=False)
            self._save()
            self._arrived()
            step = "no certificate for its service account"
            try:
                async with asyncio.timeout(ADD_SECONDS):
                    await self._keys.ready(identity)
                    if running:
                        step = "Envoy has no listeners in it"
                        await inside.on_thread(lambda: self._way.guard(pod.netns))
                        await self._accepting(pod.netns, self._redirection.to)
                        await self.decided()
                    step = "its rules could not be set"
                    await inside.on_thread(lambda: self._rules.enrol(pod.netns, self._redirection))
                    if running:
                        await inside.on_thread(lambda: self._way.unguard(pod.netns))
                    step = "Envoy has no listeners in it"
                    await self._accepting(pod.netns, self._redirection.to)
                    step = "its opaque destinations could not be set"
                    await self._follow_opaque(pod)
            except TimeoutError:
                raise EnrolError(
                    f"pod {pod.namespace}/{pod.name} is not enrolled after {ADD_SECONDS:.0f} s: {step}"
                ) from None
            except (OSError, redirect.RedirectionError) as error:
                raise EnrolError(f"pod {pod.namespace}/{pod.name} is not enrolled: {error}") from error
            self._save()
        self._changed()
        _log.info("pod enrolled", namespace=pod.namespace, name=pod.name, identity=str(identity))

    def uncapture(self, uid: str, *, leaving: bool = False) -> None:
        """The pod counts as captured no longer; its identity stays, and its rules unless it is `leaving`."""
        pod = self._pods.get(uid)
        if pod is not None and (pod.captured or pod.leaving != leaving):
            self._pods[uid] = msgspec.structs.replace(pod, captured=False, leaving=leaving)
            self._save()
            self._changed()

    async def stop(self, uid: str) -> None:
        """Redirect no new connection of the pod; those that exist go on. RedirectionError, OSError."""
        async with self.gate, self._locks.setdefault(uid, asyncio.Lock()):
            pod = self._pods[uid]
            self.uncapture(uid, leaving=True)
            await inside.on_thread(lambda: self._way.stop(pod.netns, self._redirection.to))

    async def clear(self, uid: str) -> None:
        """Take away all that the mesh has set in the pod, and know it no longer. RedirectionError, OSError."""
        async with self.gate, self._locks.setdefault(uid, asyncio.Lock()):
            pod = self._pods[uid]
            await inside.on_thread(lambda: self._way.clear(pod.netns))
            self.forget(uid)

    async def set_networks(self, mesh: tuple[str, ...], dns: str) -> None:
        """The mesh's networks (CIDRs) and its DNS ("": as before), in every pod. SwitchError when one refuses."""
        async with self.gate:
            now = msgspec.structs.replace(self._redirection, mesh_networks=mesh, dns=dns or self._redirection.dns)
            if now != self._redirection:
                self._redirection = now
                await self.point(now.to)

    def forget(self, uid: str) -> Pod | None:
        """Know the pod no longer, and leave its rules as they are. The pod, if it was known."""
        pod = self._pods.pop(uid, None)
        if pod is not None:
            self._save()
            self._changed()
        return pod

    async def delete(self, uid: str) -> None:
        """Release the pod; nothing when it is not known."""
        async with self.gate, self._locks.setdefault(uid, asyncio.Lock()):
            pod = self.forget(uid)
            if pod is None:
                self._locks.pop(uid, None)
                return
            try:
                await asyncio.to_thread(self._rules.release, pod.netns)
            except (OSError, redirect.RedirectionError) as error:  # mostly: the namespace went before
                _log.info("rules not released", namespace=pod.namespace, name=pod.name, reason=str(error))
        self._locks.pop(uid, None)
        _log.info("pod released", namespace=pod.namespace, name=pod.name)

    async def set_identities(self, identities: Iterable[str]) -> None:
        """Hold these identities too, whatever the pods; returns when each has a certificate.

        InvalidIdError for what is no workload's id; EnrolError when it takes over 30 s.
        """
        wanted = tuple(spiffe.parse(text) for text in identities)
        async with self.gate:
            self._extra = wanted
            self._save()
        for identity in wanted:
            try:
                async with asyncio.timeout(ADD_SECONDS):
                    await self._keys.ready(identity)
            except TimeoutError:
                raise EnrolError(f"no certificate for {identity} after {ADD_SECONDS:.0f} s") from None

    async def set_opaque(self, destinations: frozenset[tuple[str, int]]) -> None:
        """Set the opaque destinations in every captured pod, and in those to come.

        RedirectionError when a pod that still exists refuses them; the others have them all the same.
        """
        self._opaque = destinations
        refused: list[str] = []
        for pod in self.all():
            if not pod.captured or not pathlib.Path(pod.netns).exists():
                continue
            try:
                await asyncio.to_thread(self._rules.set_opaque, pod.netns, destinations)
            except (OSError, redirect.RedirectionError) as error:
                refused.append(f"pod {pod.namespace}/{pod.name}: {error}")
        if refused:
            raise redirect.RedirectionError("; ".join(refused))

    async def switch(self, to: ports.Ports, seconds: float = ADD_SECONDS) -> None:
        """Turn the redirection to the Envoy at these ports, once that accepts in every pod. All pods or none.

        SwitchError when it does not accept within so many seconds, or rules are refused. A pod where no Envoy
        accepts, neither there nor at the other ports, is not waited for.
        """
        before = self._redirection.to
        await self.served(to, seconds)
        try:
            await self.point(to, asyncio.get_running_loop().time() + seconds)
        except SwitchError:
            with contextlib.suppress(SwitchError):
                await self.point(before)
            raise

    async def served(self, to: ports.Ports, seconds: float) -> None:
        """Wait until an Envoy accepts at these ports in every pod. SwitchError when it does not in that time."""
        deadline = asyncio.get_running_loop().time() + seconds
        refused = await self._each(lambda pod: self._served(pod, to, deadline))
        if refused:
            raise SwitchError("; ".join(refused))

    async def point(self, to: ports.Ports, deadline: float | None = None) -> None:
        """Set the rules of all pods anew, to these ports, where by the loop's time `deadline` Envoy must accept.

        SwitchError when a captured pod refuses them; the others have them all the same.
        """
        self._redirection = msgspec.structs.replace(self._redirection, to=to)

        async def turn(pod: Pod) -> None:
            if deadline is not None:
                await self._served(pod, to, deadline)
            await asyncio.to_thread(self._rules.switch, pod.netns, self._redirection)

        refused = await self._each(turn)
        if refused:
            raise SwitchError("; ".join(refused))

    async def _each(self, act: Callable[[Pod], Awaitable[None]]) -> list[str]:
        """Do it with every pod that is there, several at once: most of it is waiting for the kernel. What failed
        with captured ones, as texts."""
        refused: list[str] = []
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(uid: str) -> None:
            async with turns, self._locks.setdefault(uid, asyncio.Lock()):
                pod = self._pods.get(uid)
                if pod is None or pod.leaving or not pathlib.Path(pod.netns).exists():
                    return
                try:
                    await act(pod)
                except (OSError, redirect.RedirectionError, SwitchError) as error:
                    if pod.captured and pathlib.Path(pod.netns).exists():
                        refused.append(f"pod {pod.namespace}/{pod.name}: {error}")

        await asyncio.gather(*map(one, list(self._pods)))
        return refused

    async def _served(self, pod: Pod, to: ports.Ports, deadline: float) -> None:
        """Wait until Envoy accepts at these ports of the pod, or no Envoy does any more. SwitchError: too late."""
        if not pod.captured:
            return
        try:
            async with asyncio.timeout_at(deadline):
                with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
                    tables = await asyncio.to_thread(stack.enter_context, self._look(pod.netns))
                    while (found := listening.ports(tables)) & ports.EVERY and not found >= to.all:  # noqa: ASYNC110
                        await asyncio.sleep(LOOK)
        except TimeoutError:
            raise SwitchError("the next Envoy has no listeners in it") from None

    async def _follow_opaque(self, pod: Pod) -> None:
        """Mark the pod as captured once it has the set of the moment, which may change meanwhile."""
        applied: frozenset[tuple[str, int]] = frozenset()
        while applied != self._opaque:
            applied = self._opaque
            await asyncio.to_thread(self._rules.set_opaque, pod.netns, applied)
        self._pods[pod.uid] = msgspec.structs.replace(pod, captured=True)

    async def closed(self, netns: str, seconds: float) -> None:
        """Wait until nobody accepts on the proxy's ports in the namespace, no longer than that. OSError."""
        with self._look(netns) as tables, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while listening.ports(tables) & ports.EVERY:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK)

    async def _accepting(self, netns: str, at: ports.Ports) -> None:
        with self._look(netns) as tables:
            while not listening.ports(tables) >= at.all:  # noqa: ASYNC110
                await asyncio.sleep(LOOK)

    def save(self) -> None:
        """Write down what `learn` was told."""
        self._save()

    def _identity(self, pod: Pod) -> spiffe.Workload:
        return spiffe.Workload(self._trust_domain, pod.namespace, pod.service_account)

    def _save(self) -> None:
        kept = _File(tuple(self._pods.values()), tuple(map(str, self._extra)))
        authority.write_private(self._file, msgspec.json.encode(kept))
        self._keep()

    def _keep(self) -> None:
        self._keys.keep({*map(self._identity, self._pods.values()), *self._extra})


def mounted(kept: Iterable[Pod]) -> list[Pod]:
    """Those whose namespaces are where they say."""
    return [pod for pod in kept if pathlib.Path(pod.netns).exists()]
