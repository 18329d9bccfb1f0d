"""The cluster's authority: what the Secret and the ConfigMap say, in use in every controller, moved on by one.

Every replica follows both objects and signs as the rotation's state says. One, the leader, makes the Secret
when there is none, and takes the rotation's next step. Whoever dies, the next one finds everything in the two
objects. Content that cannot sign is a fault; the last good one goes on.
"""

import asyncio
import datetime
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from retic import findings
from retic.identity import authority, chains, clock, current, pairs, rotation
from retic.kube import rootfiles
from retic.kube.rootfiles import unix
from retic.sources import api

FAULT = "RT0603"
LOOK, LOOK_MOVING = 30.0, 5.0  # seconds between two looks at the objects, beside those that a watch brings
ASK = 2.0  # seconds between two questions who is missing
_log = structlog.get_logger("retic.kube.authority")

Missing = Callable[[bytes], Awaitable[frozenset[str]]]
"""Which agents have not said yet that they go by a bundle."""

Reissued = Callable[[str], bool]
"""Whether every agent has said that all its certificates are of that issuer (`identity.authority.Authority.issuer`)."""


class Authority:
    """`current` signs and is trusted, once `open` is done. `faults` are what is wrong with the Secret now.

    `make` says whether a root is made when the Secret is not there; without it, one is waited for. `reissued`: a root
    that retires goes at once when it says so, and not when its last certificate would have ended.
    """

    def __init__(
        self,
        files: rootfiles.Store,
        trust_domain: str,
        *,
        namespace: str = "retic-system",
        lifetime: datetime.timedelta = authority.DAY,
        time: clock.Clock | None = None,
        make: bool = True,
        slack: int = rotation.SLACK,
        reissued: Reissued = lambda _: False,
    ) -> None:
        self._files = files
        self._trust_domain = trust_domain
        self._ref = findings.Ref("Secret", namespace, rootfiles.SECRET)
        self._lifetime = lifetime
        self._time = time or clock.System()
        self._make = make
        self._slack = slack
        self._reissued = reissued
        self._kept = rootfiles.Kept(None, None)
        self._pairs: dict[str, pairs.Pair] = {}  # by fingerprint: those of the Secret, and the one in use
        self._wanted: pairs.Pair | None = None
        self._made: tuple[str, bytes] = ("", b"")
        self._news = asyncio.Event()
        self.faults: tuple[findings.Fault, ...] = ()
        self.current: current.Current | None = None

    def __repr__(self) -> str:
        return f"<Authority of {self._trust_domain}>"

    async def open(self) -> current.Current:
        """The authority, as soon as there is a Secret to sign with. Waits for it; give it a time-out."""
        while self.current is None:
            try:
                if self._make and (await self._files.read()).secret is None:
                    await self._create(pairs.new(self._trust_domain, self._time.now()))
                await self.look()
            except api.Error as error:
                _log.warning("the root cannot be read yet", reason=str(error))
            if self.current is None:
                await self._time.sleep(1)
        return self.current

    async def _create(self, made: pairs.Pair) -> None:
        kept = rootfiles.Kept(None, None)
        try:
            await self._files.write_secret(kept, pairs.write(made), rotation.fingerprint(made.chain))
            _log.info("a root was made", secret=str(self._ref))
        except api.ApiError as error:
            if error.status != 409:
                raise
            _log.info("a root is there already", secret=str(self._ref))

    async def look(self) -> None:
        """Read both objects and go by them. api.Error when the API server cannot be asked."""
        seen = self._time.now()
        kept = await self._files.read()
        if kept != self._kept:
            self._news.set()
        self._kept = kept
        self._read(kept)
        if self._wanted is not None:
            self._use(self._state(), seen)

    async def run(self, changes: "asyncio.Event | None" = None) -> None:
        """Follow the objects for ever: at `changes`, and every now and then."""
        changes = changes or asyncio.Event()
        moving = min(LOOK_MOVING, self._slack / 4)  # twice before what was seen is too old to sign by
        while True:
            changes.clear()
            pause = moving
            try:
                await self.look()
                pause = LOOK if self._steady else moving
            except api.Error as error:
                _log.warning("the root cannot be read", reason=str(error))
            await self._sleep(pause, changes)

    async def lead(self, missing: Missing) -> None:
        """Take the rotation's steps for ever. For the leader; of two, one learns from a conflict that it is second."""
        while True:
            moved = False
            self._news.clear()
            try:
                moved = await self.step(missing)
            except api.Error as error:
                _log.warning("the root is not moved on", reason=str(error))
            if not moved:
                await self._sleep(LOOK if self._steady else ASK, self._news)

    async def step(self, missing: Missing) -> bool:
        """One step, if one is due: whether there was one. api.Error when it could not be written."""
        await self.look()
        wanted = self._wanted
        if wanted is None:
            return False
        if self._kept.secret is None:
            return await self._restore()
        state = rotation.lived(self._state(), int(self._lifetime.total_seconds()))
        ordered = self._kept.request if self._kept.own else ""
        if ordered and ordered != state.request and state.phase is rotation.Phase.STEADY:
            if wanted.signer == state.signer:
                await self._write_next(wanted)
                return True
            state = msgspec.structs.replace(state, request=ordered)
        absent = await missing(state.bundle) if state.phase is rotation.Phase.SPREADING else frozenset()
        over = state.phase is rotation.Phase.RETIRING and self._is_reissued()
        after = rotation.step(
            state, wanted.candidate, unix(self._time.now()), absent, slack=self._slack, reissued=over
        )
        if await self._publish(after, absent):
            return True
        if pairs.NEXT_CERTIFICATE in self._kept.data and after.signer == wanted.signer:
            await self._promote(wanted)
            return True
        return False

    def _is_reissued(self) -> bool:
        return self.current is not None and self._reissued(self.current.signer.issuer)

    async def _publish(self, after: rotation.State, absent: frozenset[str]) -> bool:
        told, names = self._kept.told, tuple(sorted(absent))
        same = told is not None and (told.missing, told.own) == (names, self._kept.own)
        if same and after == self._kept.state:
            return False
        await self._files.write_state(self._kept, after, names, own=self._kept.own)
        if told is None or told.phase is not after.phase:
            _log.info("root", phase=after.phase.value, signer=after.signer[:12], serial=after.serial)
        await self.look()
        return True

    async def _write_next(self, present: pairs.Pair) -> None:
        """The first act of a rotation: the pair that is to follow, in the Secret."""
        upcoming = pairs.new(self._trust_domain, self._time.now())
        own = rotation.fingerprint(present.chain)
        await self._files.write_secret(self._kept, pairs.write(present, upcoming), own)
        await self.look()

    async def _promote(self, now_signing: pairs.Pair) -> None:
        """The pair that followed is the one that signs, and the key of the one before is gone."""
        own = rotation.fingerprint(now_signing.chain)
        await self._files.write_secret(self._kept, pairs.write(now_signing), own)
        await self.look()

    async def _restore(self) -> bool:
        """The Secret was deleted. Ours is made again from what is in memory: another root would cut everybody off."""
        own = self._kept.told.own if self._kept.told else self._make
        if not own or self.current is None:
            return False
        present = self._pairs.get(self._state().signer)
        if present is None:
            return False
        await self._create(present)
        await self.look()
        return True

    def _read(self, kept: rootfiles.Kept) -> None:
        """The Secret's pairs, as far as they are good."""
        if kept.secret is None:
            self._fault("the Secret is not there", "restore it, or let Retic make one")
            return
        now = self._time.now()
        try:
            found = pairs.read(kept.data, now, self._trust_domain)
            upcoming = None
            if kept.own and pairs.NEXT_CERTIFICATE in kept.data:
                upcoming = pairs.read(
                    kept.data, now, self._trust_domain, crt=pairs.NEXT_CERTIFICATE, key=pairs.NEXT_KEY
                )
        except chains.FaultyError as error:
            self._fault(str(error), "mend the Secret; until then the last good content is used")
            return
        self.faults = ()
        self._wanted = upcoming or found
        in_use = self._pairs.get(self._made[0])
        self._pairs = {one.signer: one for one in (in_use, found, upcoming) if one}

    def _fault(self, message: str, fix: str) -> None:
        fault = findings.Fault(FAULT, self._ref, "data", message, fix)
        if self.faults != (fault,):
            _log.error("the root's Secret cannot be used", secret=str(self._ref), reason=message)
        self.faults = (fault,)

    def _state(self) -> rotation.State:
        """The state that is published, or the first one."""
        assert self._wanted is not None
        first = rotation.start(
            self._wanted.candidate, unix(self._time.now()), int(self._lifetime.total_seconds())
        )
        if self.current is not None and self._kept.state is None and self._made[0] in self._pairs:
            # The ConfigMap was deleted: what is in use is published again.
            roots = self.current.roots
            return rotation.State(
                rotation.Phase.STEADY, self._made[0], roots.bundle, max(roots.serial, first.serial),
                longest=first.longest,
            )  # fmt: skip
        return self._kept.state or first

    @property
    def _steady(self) -> bool:
        told = self._kept.told
        return told is not None and told.phase is rotation.Phase.STEADY

    def _use(self, state: rotation.State, seen: datetime.datetime) -> None:
        """Sign and trust as the state says."""
        assert self._wanted is not None
        found = self._pairs.get(state.signer)
        pair, bundle, until = found or self._wanted, state.bundle, None
        if found is None:
            # The key that is to sign is known to nobody any more. Agents may enrol and learn the new root; workloads
            # get no certificate that a proxy might not trust yet.
            bundle, until = rotation.union(bundle, pair.roots), seen - datetime.timedelta(seconds=1)
        elif state.phase is rotation.Phase.SPREADING:
            until = seen + datetime.timedelta(seconds=self._slack / 2)
        made = pair.signer, bundle
        if self.current is None or made != self._made:
            signer = pair.authority(self._trust_domain, bundle, self._lifetime, self._time)
            self._made = made
        else:
            signer = self.current.signer
        if self.current is None:
            self.current = current.Current(signer, serial=state.serial)
        self.current.replace(signer, serial=state.serial, until=until)

    async def _sleep(self, seconds: float, or_until: asyncio.Event) -> None:
        waiting = [
            asyncio.ensure_future(self._time.sleep(seconds)), asyncio.ensure_future(or_until.wait())
        ]  # fmt: skip
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
