"""One agent put together: its identity, its pods' keys, discovery's relay, its Envoys, its sockets.

The order at a start: what is on disk serves Envoy first; the control plane is asked after.
"""

import asyncio
import pathlib
import shutil
import time as _time
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import cast

import grpc
import grpc.aio
import structlog
from envoy.config.core.v3 import base_pb2

from retic.identity import client, clock, service, spiffe
from retic.node import (
    access_log,
    cache,
    charge,
    config,
    envoy,
    keys,
    listed,
    measuring,
    opaque,
    pods,
    proxies,
    proxy,
    questions,
    readers,
    redirect,
    refusals,
    relay,
    reports,
    roots,
    secrets,
    slots,
    switches,
    telling,
    tenure,
    told,
    trust,
    upstream,
)
from retic.telemetry import intake

BUNDLE = "bundle.pem"
_log = structlog.get_logger("retic.node")


class Agent:
    """Everything of one agent. `rules` is the module `redirect`, or a fake of it."""

    def __init__(
        self,
        settings: config.Config,
        *,
        time: clock.Clock | None = None,
        rules: pods.Redirect | ModuleType = redirect,
    ) -> None:
        self._settings = settings
        self._time = time or clock.System()
        folder = settings.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        kept = folder / "cache"
        if trust.is_elsewhere(settings.root_file, kept / BUNDLE):
            _log.warning("another mesh: what was kept is forgotten", folder=str(kept))
            shutil.rmtree(kept)
        kept.mkdir(mode=0o700, exist_ok=True)
        self._trust = trust.Trust(settings.root_file, kept / BUNDLE, self._bundle_changed)
        self._own = keys.Keys(
            kept / "own", self._enroll, time=self._time, changed=self._own_changed, pod=settings.pod
        )
        self._keys = keys.Keys(kept / "keys", self._sign, time=self._time, changed=self._key_changed)
        self._cache = cache.Cache(kept / "answers.sqlite")
        own = self._own if settings.role is config.Role.GATEWAY else None
        self._secrets = secrets.Secrets(self._keys, own, self._trust, settings.trust_domain)
        self._roots = roots.Roots(
            self._trust, self._channel, self._public, self._trusting, self._time, self._signed_by
        )
        self.pods = pods.Pods(
            folder / "pods.json", settings.trust_domain, self._keys, cast("pods.Redirect", rules),
            settings.redirection, arrived=self._arrived, changed=self._changed, there=self._there,
        )  # fmt: skip
        self._questions = questions.Questions(self._connect)
        self._charge: charge.Charge | None = None
        if settings.enrolment is config.Enrolment.CLUSTER:
            counted = refusals.Refusals(self._admin_sockets, self._time)
            self._charge = charge.Charge(
                settings, self.pods, self._withdraw, self._channel, self._time, self._failed, counted.look
            )
        self._intake = intake.Intake(_time.monotonic)
        self._switches = switches.Switches(self._admin_sockets)
        self._reports = reports.Reports(self._intake, self._switches, self._reporting)
        self._telling = telling.Telling(
            self._intake, self._switches, access_log.AccessLog(settings.access_log)
        )
        self._measuring = measuring.Measuring(
            settings, self._own, readers.Readers(self._channel, _time.monotonic).judge,
            lambda: self.proxies.current.slot.socket("admin"), self._failed,
        )  # fmt: skip
        self._slots = slots.Slots(folder)
        self.proxies = proxies.Proxies(settings, self._slots, self.pods, self._make, self._moved, self._time)
        self.pods.decided = self.proxies.decided

    @property
    def envoy(self) -> envoy.Envoy:
        """The Envoy that pods are redirected to."""
        return self.proxies.current.envoy

    async def run(self, stop: asyncio.Event, leave_envoy: asyncio.Event) -> bool:
        """Run until `stop` is set, or what comes of it (`tenure`); then end Envoy too, unless `leave_envoy` is set.

        Whether the agent is to begin anew: as another `Agent`, in the same folder.
        """
        self._own.keep([self._settings.identity])
        term = tenure.Tenure(
            self._settings, self._slots, self.pods, self.proxies, self._charge, self._reports, self._measuring
        )
        tasks = [
            asyncio.create_task(self._life(term, stop, leave_envoy), name="life"),
            asyncio.create_task(self._roots.run(), name="roots"),
            asyncio.create_task(self._telling.run(), name="telling"),
            asyncio.create_task(self._telling.exporting.run(), name="spans"),
        ]
        try:
            done, _ = await asyncio.wait([self.proxies.broken, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Exception:  # who starts the agent again finds its Envoy, which serves meanwhile
            leave_envoy.set()
            raise
        finally:
            term.close()
            await self._measuring.end()
            if self._charge is not None:
                await self._charge.end()
            for task in tasks:
                task.cancel()
            self.proxies.broken.cancel()
            self._telling.close()
            await self._switches.close()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.proxies.close(leave_envoy=leave_envoy.is_set())
            self._slots.close()
            await self._questions.close()
            await self._keys.close()
            await self._own.close()
            self._cache.close()
            _log.info("agent stopped", id=self._settings.id, envoy_left=leave_envoy.is_set())
        return term.again and not stop.is_set()

    async def _life(self, term: tenure.Tenure, stop: asyncio.Event, leave_envoy: asyncio.Event) -> None:
        started = _time.monotonic()
        beginning, stopped = asyncio.create_task(term.begin()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([beginning, stopped], return_when=asyncio.FIRST_COMPLETED)
            if term.waiting and not beginning.done():
                return
            await beginning
        finally:
            for task in (beginning, stopped):
                task.cancel()
            await asyncio.gather(beginning, stopped, return_exceptions=True)
        _log.info("agent started", id=self._settings.id, seconds=round(_time.monotonic() - started, 3))
        watching = asyncio.create_task(self.proxies.watch())
        try:
            await term.end(stop, leave_envoy)
            if leave_envoy.is_set():  # then nobody turns it back
                await self.proxies.settle()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def _make(
        self, slot: slots.Slot, loaded: Iterable[str], failed: Callable[[BaseException], None]
    ) -> proxy.Proxy:
        above = upstream.Upstream(_node(self._settings), self._connect, self._time, self._changed)
        keeps = self._charge.members.keeps if self._charge else _keeps_none
        # A gateway's listeners have no neighbours.
        most = envoy.connections() if self._settings.role is config.Role.NODE else 0
        serving = relay.Relay(
            self._cache, self._secrets, above, connections=most, at=slot.ports, loaded=loaded,
            taken=self._envoy_came, keeps=keeps, more=(self._intake.service(), self._questions.handlers()),
        )
        return proxy.Proxy(slot, envoy.Envoy(self._settings, slot, self._time), serving, above, failed)

    def _envoy_came(self) -> None:
        self._roots.look()
        self._switches.again()

    async def _moved(self, to: proxy.Proxy) -> None:
        await to.relay.watch(opaque.TYPE_URL, opaque.NAME, self._opaque)
        await to.relay.watch(told.TYPE_URL, told.NAME, self._telling.take)
        if self._charge is not None:
            await to.relay.watch(listed.TYPE_URL, listed.NAME, self._charge.members.take)

    async def _enroll(self, _identity: spiffe.Id, request: bytes) -> service.Signed:
        token = self._settings.token_file.read_text().strip()
        channel = self._public()
        try:
            return self._learnt(await channel.enroll(self._settings.id, token, request))
        finally:
            await channel.close()

    async def _sign(self, identity: spiffe.Id, request: bytes) -> service.Signed:
        own = await self._own.ready(self._settings.identity)
        channel = client.Channel(self._settings.control, self._trust.roots, own.key, own.chain)
        try:
            return self._learnt(await channel.sign(str(identity), request))
        finally:
            await channel.close()

    def _learnt(self, answer: service.Signed) -> service.Signed:
        """The answer. BehindError for one whose signer may be on its way out, unknown to who signed."""
        self._trust.learn(answer.bundle.encode(), answer.serial, answer.domains, answer.issuer)
        return answer

    def _channel(self) -> client.Channel | None:
        """To the control plane, with the agent's certificate; None as yet."""
        own = self._own.get(self._settings.identity)
        if own is None:
            return None
        return client.Channel(self._settings.control, self._trust.roots, own.key, own.chain)

    def _public(self) -> client.Channel:
        """To the port that asks for no certificate."""
        return client.Channel(self._settings.enrol_address, self._trust.roots)

    def _connect(self) -> grpc.aio.Channel | None:
        found = self._channel()
        return found.channel if found else None

    async def _opaque(self, message: bytes | None) -> None:
        await self.pods.set_opaque(opaque.destinations(message))

    def _arrived(self) -> None:
        for one in self.proxies.all():
            one.relay.arrived()

    def _failed(self, error: BaseException) -> None:
        if not self.proxies.broken.done():
            self.proxies.broken.set_exception(error)

    def _withdraw(self, netns_path: str) -> None:
        for one in self.proxies.all():
            one.relay.withdraw(netns_path)

    def _there(self, known: Iterable[pods.Pod]) -> Iterable[pods.Pod]:
        return self._charge.members.restore(known) if self._charge else pods.mounted(known)

    def _changed(self) -> None:
        if self._charge is not None:
            self._charge.said.changed()

    def _admin_sockets(self) -> list[pathlib.Path]:
        return [one.slot.socket("admin") for one in self.proxies.all()]

    def _reporting(self) -> Iterable[str]:
        """Whose requests can be reported."""
        return [""] if self._settings.role is config.Role.GATEWAY else [pod.uid for pod in self.pods.all()]

    def _bundle_changed(self) -> None:
        self._questions.renew()
        for name in secrets.ROOTS:
            self._secret_changed(name)
        for store in (self._own, self._keys):
            store.of(self._trust.issuer)
        self._roots.look()

    def _trusting(self) -> bool:
        """Whether each of our Envoys goes by the newest bundle: of two, the one that drains has connections still."""
        return self._go_by(secrets.ROOTS, self._trust.version)

    def _go_by(self, names: Iterable[str], version: str) -> bool:
        each = self.proxies.all()
        return bool(each) and all(one.relay.goes_by(name, version) for one in each for name in names)

    def _signed_by(self) -> str:
        """The issuer of all certificates that we and our Envoys use; "" when they are of several, or one is missing."""
        issuer = self._trust.issuer
        for store in (self._own, self._keys):
            for identity in store.wanted:
                pair = store.get(identity)
                names = (str(identity), secrets.SERVER + str(identity))
                if pair is None or pair.issuer != issuer or not self._go_by(names, pair.version):
                    return ""
        return issuer

    def _own_changed(self, identity: spiffe.Id) -> None:
        self._questions.renew()
        self._key_changed(identity)
        for one in self.proxies.all():
            one.upstream.restart()
        self._measuring.renew()

    def _key_changed(self, identity: spiffe.Id) -> None:
        self._secret_changed(str(identity))
        self._secret_changed(secrets.SERVER + str(identity))
        self._roots.look()

    def _secret_changed(self, name: str) -> None:
        for one in self.proxies.all():
            one.relay.identity_changed(name)


def _keeps_none(_path: str) -> bool:
    return False


def _node(settings: config.Config) -> base_pb2.Node:
    node = base_pb2.Node(id=settings.id, cluster=settings.role.value)
    node.locality.zone = settings.zone
    node.metadata.update({"netns_dir": settings.netns_dir})
    return node
