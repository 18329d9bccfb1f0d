"""Local mode's trust: its authority, whose root can be exchanged while the mesh runs, and the domains accepted beside.

The steps of a rotation are those of a cluster (`kube.authority`), with one replica and files instead of objects.
"""

import asyncio
import contextlib
import datetime
import pathlib
from collections.abc import Callable, Sequence

import watchfiles

from retic import findings
from retic.control import config as settings
from retic.control import model, service
from retic.findings import catalogue
from retic.identity import chains, clock, current, holdings, ownfiles, rotation
from retic.kube import authority, ordering
from retic.sources import api
from retic.wiring import accepting, rootfolder

FILES, FOREIGN = "RT0431", "RT0432"
SLACK = 2  # seconds: one control plane, one clock
_STEP, _LOOK = 50, 1000  # milliseconds: of quiet that end an edit; between two looks unasked


class Trust:
    """The authority and what is accepted beside it. `expected` says which clients there are to be; `tell` takes the
    aliases, now and whenever they are others.

    First `open`, then `run` for as long as the mesh lives.
    """

    def __init__(
        self,
        config: settings.Config,
        expected: Callable[[], set[str]],
        tell: Callable[[tuple[str, ...]], None],
        changed: Callable[[], None],
        *,
        time: clock.Clock | None = None,
    ) -> None:
        self._config = config
        self._expected = expected
        self._changed = changed
        own = config.authority
        self._given = ownfiles.Files(own.certificate, own.key, own.roots) if own else None
        time = time or clock.System()
        self._files = rootfolder.Folder(config.folder / "ca", config.trust_domain, self._given, time, changed)
        self._authority = authority.Authority(
            self._files, config.trust_domain, lifetime=datetime.timedelta(seconds=config.lifetime), time=time,
            make=own is None, slack=SLACK, reissued=self._is_reissued,
        )  # fmt: skip
        self.accepting = accepting.Accepting(config, tell, time)
        self._holdings: holdings.Holdings | None = None
        self._news = asyncio.Event()

    async def open(self) -> current.Current:
        """The authority. Waits for the user's files to be good; the mesh's own are made."""
        signer = await self._authority.open()
        self.accepting.open(signer)
        return signer

    async def run(self, heard: holdings.Holdings) -> None:
        """Follow the files and take a rotation's steps, until cancelled."""
        self._holdings = heard
        async with asyncio.TaskGroup() as group:
            group.create_task(self._authority.run(self._news))
            group.create_task(self._authority.lead(self._missing))
            group.create_task(self._follow())

    def findings(self) -> Sequence[findings.Finding]:
        """What is wrong with the files now."""
        paths = self._given.paths if self._given else ()
        wrong = [(FILES, self._files.fault, str(paths[0]))] if self._files.fault else []
        wrong += [(FOREIGN, fault, file) for file, fault in self.accepting.faults.items()]
        return tuple(_finding(*each) for each in wrong)

    async def status(self) -> model.Root:
        """How far a rotation is. service.Refused when there is no root yet."""
        try:
            told = ordering.told(await self._files.read())
        except (ordering.CannotRotateError, api.Error) as error:
            raise service.Refused(str(error)) from error
        return model.Root(told.phase, told.signer, told.next, told.ends, told.missing, told.ordered)

    async def rotate(self) -> model.Root:
        """Order a rotation, or show the one that is under way. service.Refused when the root is the user's own."""
        if self._given is not None:
            files = ", ".join(map(str, self._given.paths))
            raise service.Refused(
                f"the root is your own: write the new certificate and key into {files}; Retic makes the new root"
                " known, signs with it and lets the old one go by itself"
            )
        present = await self.status()
        if not present.ordered and present.phase == rotation.Phase.STEADY:
            try:
                self._files.order()
            except api.Error as error:
                raise service.Refused(str(error)) from error
            self._news.set()
        return await self.status()

    def accept(self, change: model.Accepted | None) -> model.Accepted:
        """The trust domains beside the own one; with `change`, these from now on. Refused, and nothing changes, when
        one of them cannot be accepted."""
        if change is not None:
            try:
                self.accepting.accept(change)
            except (chains.FaultyError, OSError) as error:
                raise service.Refused(str(error)) from error
        return self.accepting.accepted

    async def _missing(self, bundle: bytes) -> frozenset[str]:
        assert self._holdings is not None
        return self._holdings.without(bundle) | self._away()

    def _is_reissued(self, issuer: str) -> bool:
        heard = self._holdings
        return heard is not None and not (heard.elsewhere(issuer) | self._away())

    def _away(self) -> frozenset[str]:
        assert self._holdings is not None
        return frozenset(self._expected() - {one.client_id for one in self._holdings.held()})

    async def _follow(self) -> None:
        """Look at the files when something happens in their folders, and every second: a folder may be another one."""
        seen = self._seen()
        while True:
            watched = self._paths
            folders = {str(path.parent) for path in watched} | {str(self._config.folder / "ca")}
            with contextlib.suppress(FileNotFoundError):
                async for _ in watchfiles.awatch(
                    *folders, recursive=False, step=_STEP, rust_timeout=_LOOK, yield_on_timeout=True
                ):
                    now = self._seen()
                    if now != seen:
                        seen = now
                        self._look()
                    if self._paths != watched:
                        break
            await asyncio.sleep(_LOOK / 1000)

    @property
    def _paths(self) -> tuple[pathlib.Path, ...]:
        return (*(self._given.paths if self._given else ()), *self.accepting.paths)

    def _seen(self) -> dict[pathlib.Path, tuple[int, ...]]:
        """What tells one content of the files from another."""
        found: dict[pathlib.Path, tuple[int, ...]] = {}
        for path in self._paths:
            with contextlib.suppress(OSError):
                status = path.stat()
                found[path] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode)
        return found

    def _look(self) -> None:
        self._news.set()
        self.accepting.look()
        self._changed()


def _finding(code: str, message: str, file: str) -> findings.Finding:
    known = catalogue.CODES[code]
    return findings.Finding(
        known.code, known.severity, "authority" if code == FILES else "trusted root", file, 0, message,
        "mend the file; until then the last good content is used", known.url,
    )  # fmt: skip


