"""One agent put together: its identity, its pods' keys, discovery's relay, its Envoy, the CNI socket.

The order at a start: what is on disk serves Envoy first; the control plane is asked after.
"""

import asyncio
import shutil
import time as _time
from types import ModuleType
from typing import cast

import grpc
import grpc.aio
import structlog
from envoy.config.core.v3 import base_pb2

from retic.identity import client, clock, service, spiffe
from retic.node import (
    cache,
    cni,
    config,
    envoy,
    keys,
    opaque,
    pods,
    redirect,
    relay,
    roots,
    secrets,
    trust,
    upstream,
)

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
        self._own = keys.Keys(kept / "own", self._enroll, time=self._time, changed=self._own_changed)
        self._keys = keys.Keys(kept / "keys", self._sign, time=self._time, changed=self._key_changed)
        self._cache = cache.Cache(kept / "answers.sqlite")
        self._upstream = upstream.Upstream(_node(settings), self._connect, self._time)
        own = self._own if settings.role is config.Role.GATEWAY else None
        self._relay = relay.Relay(
            self._cache, secrets.Secrets(self._keys, own, self._trust), self._upstream,
            # A gateway's listeners have no neighbours.
            connections=envoy.connections() if own is None else 0,
            taken=self._envoy_changed,
        )  # fmt: skip
        self._roots = roots.Roots(
            self._trust, self._channel, self._public,
            lambda: self._relay.goes_by(secrets.ROOT, self._trust.version), self._time,
        )  # fmt: skip
        self.pods = pods.Pods(
            folder / "pods.json", settings.trust_domain, self._keys, cast("pods.Redirect", rules),
            settings.redirection, arrived=self._relay.arrived,
        )  # fmt: skip
        self.envoy = envoy.Envoy(settings, self._time)

    async def run(self, stop: asyncio.Event, leave_envoy: asyncio.Event) -> None:
        """Run until `stop` is set; then end Envoy too, unless `leave_envoy` is set."""
        started = _time.monotonic()
        self._own.keep([self._settings.identity])
        self.pods.restore(self._settings.identities)
        await self._relay.watch(opaque.TYPE_URL, opaque.NAME, self._opaque)
        await self._relay.start(self._settings.socket("xds"))
        tasks = [
            asyncio.create_task(self._upstream.run(self._relay), name="upstream"),
            asyncio.create_task(self._roots.run(), name="roots"),
        ]
        await self.envoy.start()
        tasks.append(asyncio.create_task(self.envoy.run(), name="envoy"))
        server = await cni.serve(self._settings.socket("cni"), self.pods)
        _log.info("agent started", id=self._settings.id, seconds=round(_time.monotonic() - started, 3))
        waiting = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            server.close()
            self._settings.socket("cni").unlink(missing_ok=True)
            for task in (waiting, *tasks):
                task.cancel()
            await asyncio.gather(waiting, *tasks, return_exceptions=True)
            if not leave_envoy.is_set():
                await self.envoy.stop()
            await self._relay.close()
            await self._keys.close()
            await self._own.close()
            self._cache.close()
            _log.info("agent stopped", id=self._settings.id, envoy_left=leave_envoy.is_set())

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
        self._trust.learn(answer.bundle.encode(), answer.serial)
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

    def _bundle_changed(self) -> None:
        self._relay.identity_changed(secrets.ROOT)
        self._roots.look()

    def _envoy_changed(self) -> None:
        self._roots.look()

    def _own_changed(self, identity: spiffe.Id) -> None:
        self._key_changed(identity)
        self._upstream.restart()

    def _key_changed(self, identity: spiffe.Id) -> None:
        self._relay.identity_changed(str(identity))
        self._relay.identity_changed(secrets.SERVER + str(identity))


def _node(settings: config.Config) -> base_pb2.Node:
    node = base_pb2.Node(id=settings.id, cluster=settings.role.value)
    node.locality.zone = settings.zone
    node.metadata.update({"netns_dir": settings.netns_dir})
    return node
