"""Leader election over a Lease (coordination.k8s.io/v1): of several candidates one leads, at no time two.

No clock is compared with another machine's. A leader stops by its own clock `deadline` seconds after the
beginning of its last renewal that succeeded; a candidate takes over when it has seen no renewal for `duration`
seconds by its own clock, which is longer. That holds while no clock runs faster than another by
`duration / deadline`, and for writes that ask `is_held` just before they are sent.
"""

import asyncio
import contextlib
import datetime
import os
import random
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec
import structlog

from retic.sources import api

_log = structlog.get_logger(__name__)


class Objects(Protocol):
    """What is needed of `api.Api`."""

    async def get(self, path: str) -> dict[str, Any]:
        """As `Api.get`."""

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """As `Api.create`."""

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """As `Api.replace`."""


class Clock(Protocol):
    """Seconds that never go back, and waiting."""

    def seconds(self) -> float:
        """Since some moment; the time in which the machine slept counts."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """CLOCK_BOOTTIME: a leader whose machine was suspended knows that it is none any more."""

    def seconds(self) -> float:
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Times(msgspec.Struct, frozen=True):
    """In seconds: how long a lease holds, when its holder gives up renewing it, how often everybody tries.

    `retry` is spread by a fifth. ValueError unless retry < deadline < duration and duration is whole.
    """

    duration: int = 15
    deadline: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.deadline < self.duration:
            raise ValueError("a lease wants retry < deadline < duration")


class _Spec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class _Lease(msgspec.Struct, frozen=True):
    spec: _Spec = _Spec()
    metadata: _Metadata = _Metadata()


TIMES = Times()


def identity() -> str:
    """A name for this process that no other has, not even one before it on the same host."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{secrets.token_hex(4)}"


class Lease:
    """One candidate. `run` takes part until it is cancelled; several candidates need several identities."""

    def __init__(
        self, objects: Objects, namespace: str, name: str, *,
        holder: str | None = None, times: Times = TIMES, clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self._objects, self._times, self._clock = objects, times, clock or SystemClock()
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self.holder = holder or identity()
        self._until = float("-inf")
        self._seen: _Lease | None = None
        self._seen_at = 0.0

    @property
    def is_held(self) -> bool:
        """Whether we lead at this moment. Ask just before each write; True says nothing about the next second."""
        return self._clock.seconds() < self._until

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Whenever we lead, run `lead`; it is cancelled when we do not any more, and at the end.

        What `lead` raises ends this. When it returns by itself we go on leading, until the lease is lost. The
        lease is released at the end, so that another need not wait.
        """
        try:
            while True:
                await self._acquire()
                _log.info("leading", lease=self._name, holder=self.holder)
                await self._lead(lead)
                _log.warning("not leading any more", lease=self._name, holder=self.holder)
        finally:
            await self._release()

    async def _acquire(self) -> None:
        while not await self._attempt():
            await self._clock.sleep(self._pause())

    def _pause(self) -> float:
        return self._times.retry * (1 + random.random() / 5)

    async def _lead(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Until the lease is lost."""
        work = asyncio.ensure_future(lead())
        renewing = asyncio.create_task(self._renew())
        try:
            await asyncio.wait({work, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                await renewing
        finally:
            renewing.cancel()
            work.cancel()
            await asyncio.gather(work, renewing, return_exceptions=True)
            if not work.cancelled():
                work.result()

    async def _renew(self) -> None:
        """Until no renewal has succeeded in time."""
        while True:
            await self._within(self._clock.sleep(self._pause()))
            if not self.is_held:
                return
            await self._within(self._attempt())
            if not self.is_held:
                return

    async def _within(self, doing: Awaitable[Any]) -> None:
        """Wait for it for as long as we lead."""
        task = asyncio.ensure_future(doing)
        end = asyncio.create_task(self._clock.sleep(self._until - self._clock.seconds()))
        try:
            await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (task, end):
                each.cancel()
            await asyncio.gather(task, end, return_exceptions=True)
        if not task.cancelled():
            task.result()

    async def _attempt(self) -> bool:
        """Take or renew the lease, when it is ours to take. What goes wrong is logged: the next try may succeed."""
        began = self._clock.seconds()
        try:
            found = await self._look()
            if found is None:
                await self._objects.create(self._collection, self._body(self._ours(_Lease()), ""))
            elif not self._may_take(found):
                self._lost(found)
                return False
            else:
                await self._write(found, self._ours(found))
        except api.ApiError as error:
            if error.status == 409:  # somebody else was faster
                return False
            _log.warning("the lease cannot be had", lease=self._name, reason=str(error))
            return False
        except (api.Error, msgspec.ValidationError) as error:
            _log.info("the lease cannot be had", lease=self._name, reason=str(error))
            return False
        self._until = began + self._times.deadline
        return self.is_held  # an answer may have taken longer than it is good for

    async def _look(self) -> _Lease | None:
        """The lease as it is; None when there is none."""
        try:
            found = msgspec.convert(await self._objects.get(f"{self._collection}/{self._name}"), _Lease)
        except api.ApiError as error:
            if error.status == 404:
                return None
            raise
        if found != self._seen:
            self._seen, self._seen_at = found, self._clock.seconds()
        return found

    def _may_take(self, found: _Lease) -> bool:
        spec = found.spec
        if not spec.holder_identity or spec.holder_identity == self.holder:
            return True
        promised = spec.lease_duration_seconds or self._times.duration
        return self._clock.seconds() >= self._seen_at + promised

    def _lost(self, found: _Lease) -> None:
        """Somebody else has it: whatever our clock says, we lead no more."""
        if self.is_held:
            _log.error("the lease was taken from us", lease=self._name, by=found.spec.holder_identity)
        self._until = float("-inf")

    def _ours(self, found: _Lease) -> _Spec:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        same = found.spec.holder_identity == self.holder
        transitions = found.spec.lease_transitions or 0
        return _Spec(
            holder_identity=self.holder, lease_duration_seconds=self._times.duration,
            acquire_time=found.spec.acquire_time if same else now, renew_time=now,
            lease_transitions=transitions + (not same and found.spec.acquire_time is not None),
        )  # fmt: skip

    async def _write(self, found: _Lease, spec: _Spec) -> None:
        """As it was seen, else 409."""
        body = self._body(spec, found.metadata.resource_version)
        await self._objects.replace(f"{self._collection}/{self._name}", body)

    def _body(self, spec: _Spec, version: str) -> dict[str, Any]:
        metadata = {"name": self._name, **({"resourceVersion": version} if version else {})}
        return {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": msgspec.to_builtins(spec),
        }  # fmt: skip

    async def _release(self) -> None:
        """Leave it to others at once. Half the deadline at most, and no error: it ends by itself too."""
        was_held, self._until = self.is_held, float("-inf")
        if not was_held:
            return
        with contextlib.suppress(api.Error, msgspec.ValidationError, TimeoutError):
            async with asyncio.timeout(self._times.deadline / 2):
                found = await self._look()
                if found is not None and found.spec.holder_identity == self.holder:
                    left = msgspec.structs.replace(found.spec, holder_identity="", lease_duration_seconds=1)
                    await self._write(found, left)
