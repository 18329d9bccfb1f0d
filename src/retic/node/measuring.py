"""An agent's metrics port: HTTPS with the agent's own certificate, what its Envoy has counted at `/metrics`.

It is there while the agent is in charge. Where the port is taken, by a predecessor or by somebody else, it is tried
again.
"""

import asyncio
import pathlib
from collections.abc import Callable

import structlog

from retic.identity import serving
from retic.node import admin, config, keys
from retic.telemetry import endpoint, exposition, readings

AGAIN_SECONDS = 1.0
LOOK_SECONDS = 20.0  # for Envoy to say its numbers
_log = structlog.get_logger("retic.node")


class Measuring:
    """`begin` and `end`, any number of times; `renew` when the agent's certificate is another.

    `socket` gives the admin socket of the Envoy that pods are redirected to; `failed` is called with what ends the
    serving otherwise.
    """

    def __init__(
        self, settings: config.Config, own: keys.Keys, judge: endpoint.Judge, socket: Callable[[], pathlib.Path],
        failed: Callable[[BaseException], None],
    ) -> None:  # fmt: skip
        self._settings, self._own, self._judge, self._socket, self._failed = settings, own, judge, socket, failed
        self._context = serving.context()
        self._task: asyncio.Task[None] | None = None
        self._made: endpoint.Endpoint | None = None
        self.port = 0
        """Where it is served now; 0: nowhere."""

    def begin(self) -> None:
        """Serve from now on, where the configuration names a port."""
        if self._settings.metrics_port and self._task is None:
            self._task = asyncio.create_task(self._run(), name="metrics")
            self._task.add_done_callback(self._ended)

    async def end(self) -> None:
        """Serve no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def renew(self) -> None:
        """Serve the newest certificate from now on. Where that cannot be, the one before is served on, and the log
        says so: nothing else depends on it."""
        pair = self._own.get(self._settings.identity)
        if pair is not None and self._settings.metrics_port:
            try:
                serving.load(self._context, pair.key, pair.chain)
            except OSError as error:
                _log.warning("metrics keep their certificate", reason=str(error))

    async def _run(self) -> None:
        await self._own.ready(self._settings.identity)
        self.renew()
        made = self._made = endpoint.Endpoint(self._context, self._judge, self._page, exposition.CONTENT_TYPE)
        said = False
        while not self.port:
            try:
                await made.start("0.0.0.0", self._settings.metrics_port)
                self.port = made.port
            except OSError as error:
                if not said:
                    _log.warning("no metrics yet", port=self._settings.metrics_port, reason=str(error))
                said = True
                await asyncio.sleep(AGAIN_SECONDS)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.port = 0
            await made.close()

    async def _page(self, path: str) -> bytes | None:
        if path != "/metrics":
            return None
        try:
            page = await admin.get(self._socket(), readings.PATH, seconds=LOOK_SECONDS)
        except admin.AdminError as error:
            _log.warning("no numbers of Envoy", reason=str(error))
            raise endpoint.UnavailableError("the proxy does not say its numbers now") from None
        return await asyncio.to_thread(self._told, page)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def _told(self, page: bytes) -> bytes:
        name = self._settings.id.removeprefix(f"{config.Role.NODE}/")
        return exposition.text({name: readings.parse(page.decode())}, self._settings.cluster_domain).encode()
