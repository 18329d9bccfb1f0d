"""Who changes an agent's pods passes here: shut while another agent takes them over, gone once it has them."""

import asyncio


class SupersededError(Exception):
    """Another agent has the pods now: ask that one."""


class Gate:
    """`async with gate:` waits while it is shut. SupersededError once it is gone."""

    def __init__(self) -> None:
        self._inside = 0
        self._gone = False
        self._opened, self._idle = asyncio.Event(), asyncio.Event()
        self._opened.set()
        self._idle.set()

    async def __aenter__(self) -> None:
        while not self._opened.is_set():
            await self._opened.wait()
        if self._gone:
            raise SupersededError("another agent has the pods of this node now")
        self._inside += 1
        self._idle.clear()

    async def __aexit__(self, *_: object) -> None:
        self._inside -= 1
        if not self._inside:
            self._idle.set()

    @property
    def gone(self) -> bool:
        """Whether another agent has the pods."""
        return self._gone

    async def shut(self) -> None:
        """Let nobody in; returns once nobody is inside."""
        self._opened.clear()
        await self._idle.wait()

    def open(self, *, gone: bool = False) -> None:
        """Let everybody in again, or turn everybody away for good."""
        self._gone = gone
        self._opened.set()
