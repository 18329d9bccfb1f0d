"""A control service's other half for tests: queries whose answers a test sets."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from retic import findings as report
from retic.control import model, service
from retic.explain import why
from retic.explain.request import answer
from retic.explain.response import told


class Queries:
    """Fulfils `retic.control.service.Queries`. Set the attributes; `publish` makes followers see findings."""

    def __init__(self) -> None:
        self.state = model.Ps()
        self.listed: tuple[model.Policy, ...] = ()
        self.running = model.Version(retic="1.2.3", envoy="1.40.0")
        self.answers: dict[str, why.Why] = {}
        self.requests: dict[answer.Asked, answer.Answer] = {}
        self.told: dict[str, told.Told] = {}
        self.convergence = model.Converged(ready=True)
        self.found: tuple[report.Finding, ...] = ()
        self.rotation = model.Root("steady", "0" * 64)
        self.own_root = ""
        self.domains = model.Accepted()
        self.tapped: tuple[model.Tapped, ...] = ()
        self.followers = 0
        self._changed = asyncio.Condition()

    async def publish(self, *found: report.Finding) -> None:
        """The findings from now on."""
        self.found = found
        async with self._changed:
            self._changed.notify_all()

    async def ps(self) -> model.Ps:
        return self.state

    async def numbers(self, namespace: str) -> Sequence[model.Numbers]:
        """No proxy has counted anything."""
        return ()

    async def policies(self) -> Sequence[model.Policy]:
        return self.listed

    async def version(self) -> model.Version:
        return self.running

    async def findings(self) -> Sequence[report.Finding]:
        return self.found

    async def follow(self) -> AsyncGenerator[Sequence[report.Finding], None]:
        self.followers += 1
        try:
            while True:
                last = self.found
                yield last
                async with self._changed:
                    await self._changed.wait_for(lambda last=last: self.found != last)  # type: ignore[misc]
        finally:
            self.followers -= 1

    async def tap(self, asked: model.AskTap) -> AsyncGenerator[model.Tapped, None]:
        if not self.tapped:
            raise service.Refused(f"nobody is there: {asked.namespace}")
        for each in self.tapped:
            yield each

    async def why(self, resource: str) -> why.Why:
        if resource not in self.answers:
            raise why.Unknown(f"{resource} is no resource's name")
        return self.answers[resource]

    async def request(self, asked: answer.Asked) -> answer.Answer:
        if asked not in self.requests:
            raise answer.Unclear(f"{asked.source} is nobody")
        return self.requests[asked]

    async def response(self, wanted: str) -> told.Told:
        if wanted not in self.told:
            raise service.Refused(f"no proxy of this mesh has an entry with the id {wanted}")
        return self.told[wanted]

    async def failed(self, asked: model.AskFailed) -> told.Listed:
        every = [seen for one in self.told.values() for seen in one.seen]
        return told.Listed(tuple(every[: asked.last]))

    async def root(self) -> model.Root:
        return self.rotation

    async def rotate(self) -> model.Root:
        if self.own_root:
            raise service.Refused(self.own_root)
        return self.rotation

    async def accepted(self, change: model.Accepted | None) -> model.Accepted:
        self.domains = change or self.domains
        return self.domains

    async def converged(self, seconds: float) -> model.Converged:
        del seconds
        return self.convergence
