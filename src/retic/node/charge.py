"""What the agent in charge of a cluster's node does beside serving Envoy: keeps pods, answers the CNI plugin, reports.

Begun when the agent takes charge, ended when another one has or when the agent ends. The plugin is put into the node's
chain only once somebody answers it, and stays there: without the agent new pods wait.
"""

import asyncio
from collections.abc import Callable

import structlog

from retic.identity import client, clock
from retic.node import attachments, chain, config, envoy, kernel, membership, namespaces, pods, reporting

_log = structlog.get_logger("retic.node")


class Charge:
    """`withdraw` closes the listeners in a namespace; `connect` gives a channel to the control plane, None as yet;
    `failed` hears of a duty that ended with an error."""

    def __init__(
        self,
        settings: config.Config,
        known: pods.Pods,
        withdraw: Callable[[str], None],
        connect: Callable[[], "client.Channel | None"],
        time: clock.Clock,
        failed: Callable[[BaseException], None],
        refusable: reporting.Refusable | None = None,
    ) -> None:
        self._settings = settings
        self.said = reporting.Reporting(known, connect, time, chain=self._chain, refusable=refusable)
        namespaces.allow_sysctls()
        self._spaces = namespaces.Namespaces(settings.netns_folder)
        self.members = membership.Membership(known, self._spaces, self.said, withdraw)
        self._failed = failed
        self._socket = settings.cni_socket or settings.socket("cni")
        self._attachments: attachments.Attachments | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ready(False)

    async def begin(self) -> None:
        """Answer the plugin, follow the list, report. UnusableEnvoyError when there is no Envoy."""
        if self._attachments is not None:
            return
        binary = envoy.binary(self._settings.envoy)
        self.said.envoy = await asyncio.to_thread(envoy.check_version, binary)
        self.said.kernel = await asyncio.to_thread(kernel.lacks)
        self._attachments = attachments.Attachments(self._socket, self.members)
        await self._attachments.start()
        self._tasks = [
            asyncio.create_task(self.members.run(), name="membership"),
            asyncio.create_task(self.said.run(), name="reports"),
        ]
        if self._settings.cni is not None:
            self._tasks.append(asyncio.create_task(chain.keep(self._settings.cni), name="chain of plugins"))
        for task in self._tasks:
            task.add_done_callback(self._ended)
        self._ready(True)

    async def end(self) -> None:
        """Do no more of it."""
        self._ready(False)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._attachments is not None:
            await self._attachments.close()
            self._attachments = None

    def _chain(self) -> str | None:
        return None if self._settings.cni is None else chain.fault(self._settings.cni)

    def _ready(self, ready: bool) -> None:
        if self._settings.ready_file is None:
            return
        if ready:
            self._settings.ready_file.touch()
        else:
            self._settings.ready_file.unlink(missing_ok=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            _log.error("a duty of the agent has ended", what=task.get_name(), exc_info=error)
            self._failed(error)
