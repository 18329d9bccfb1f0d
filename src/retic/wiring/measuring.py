"""The metrics endpoint of a mesh on one machine: HTTPS, with a certificate of the mesh's own authority and a token.

    /metrics                  of all proxies, and the control plane's own
    /proxies/PROXY/metrics    of one: a node's name, or gateway/NAMESPACE/NAME
    /control/metrics          the control plane's own

On a cluster the proxies' agents serve theirs, and the control plane its own alone.
"""

import asyncio
import collections
import contextlib
import pathlib
import secrets
from collections.abc import Callable, Iterable

import structlog

from retic import ads, findings, graph
from retic.answers import Answers, Refusals
from retic.identity import authority, certificate, current, serving
from retic.telemetry import endpoint, exposition, own, readings

log = structlog.get_logger("retic.control")
TOKEN = "metrics.token"  # noqa: S105 (a file's name)


class Metrics:
    """Serve, and `close`. `run` renews the certificate until cancelled."""

    def __init__(
        self, answers: Answers, db: graph.Graph, discovery: ads.Server, refusals: Refusals, signer: current.Current
    ) -> None:
        self._answers, self._db, self._discovery, self._refusals = answers, db, discovery, refusals
        self._certificate = serving.Own(signer, (certificate.METRICS_NAME,))
        self._endpoint: endpoint.Endpoint | None = None

    async def start(self, listen: str, folder: pathlib.Path) -> None:
        """Listen at host:port. OSError when that cannot be had."""
        host, _, port = listen.rpartition(":")
        judge = endpoint.token_of(_token(folder / TOKEN))
        made = endpoint.Endpoint(self._certificate.context, judge, self._page, exposition.CONTENT_TYPE)
        await made.start(host, int(port))
        self._endpoint = made

    async def run(self) -> None:
        """Renew the certificate in time, and whenever other roots sign."""
        await self._certificate.run()

    async def close(self) -> None:
        """Serve no more."""
        if self._endpoint is not None:
            await self._endpoint.close()

    async def _page(self, path: str) -> bytes | None:
        if path == "/control/metrics":
            return (await self._own()).encode()
        chosen = path.removeprefix("/proxies/").removesuffix("/metrics") if path.startswith("/proxies/") else ""
        if path not in ("/metrics", f"/proxies/{chosen or '-'}/metrics"):
            return None
        found = {one.proxy: one.text for one in await self._answers.numbers("") if chosen in ("", one.proxy)}
        if chosen and not found:
            return None
        # Away from the event loop: a big node's page takes a second.
        text = await asyncio.to_thread(_told, found)
        return (text if chosen else text + await self._own()).encode()

    async def _own(self) -> str:
        return own_numbers(self._db, self._discovery, self._refusals, await self._answers.findings())


class OfControl:
    """The control plane's own numbers on a cluster: `/metrics` at `port` of its pod, for whom `judge` lets.

    Port 0: nowhere.
    """

    def __init__(
        self, signer: current.Current, judge: endpoint.Judge, port: int, text: Callable[[], str]
    ) -> None:
        self._certificate, self._port, self._text = serving.Own(signer, (certificate.METRICS_NAME,)), port, text
        self._endpoint = endpoint.Endpoint(self._certificate.context, judge, self._page, exposition.CONTENT_TYPE)

    async def run(self) -> None:
        """Until cancelled. OSError when the port cannot be had."""
        if self._port:
            await self._endpoint.start("0.0.0.0", self._port)
        try:
            await self._certificate.run()
        finally:
            await self._endpoint.close()

    async def _page(self, path: str) -> bytes | None:
        return self._text().encode() if path == "/metrics" else None


def own_numbers(db: graph.Graph, discovery: ads.Server, refusals: Refusals, found: Iterable[findings.Finding]) -> str:
    """The control plane's own, as text."""
    run, did, settled = db.counters, discovery.counters, discovery.convergence
    return own.text(
        own.Own(
            counters={
                "queries_run": run.run, "queries_cut_off": run.cut_off, "queries_changed": run.changed,
                "queries_failed": run.failed, "discovery_requests": did.received,
                "discovery_messages": did.messages, "discovery_bytes": did.bytes,
                "discovery_resources": did.resources, "discovery_acks": did.acks, "discovery_nacks": did.nacks,
                "discovery_refused_streams": did.refused,
            },
            gauges={"discovery_streams": did.open, "rejected_resources": len(refusals.standing)},
            convergence=own.Convergence(ads.BOUNDS, settled.counts, settled.sum),
            findings=collections.Counter((one.code, one.severity.value) for one in found),
        )
    )  # fmt: skip


def _told(found: dict[str, str]) -> str:
    return exposition.text({name: readings.parse(text) for name, text in found.items()})


def _token(file: pathlib.Path) -> str:
    """What the file holds; made when it is not there, of mode 0600. A new one is made by removing the file."""
    with contextlib.suppress(FileNotFoundError):
        if kept := file.read_text().strip():
            return kept
    made = secrets.token_urlsafe(32)
    authority.write_private(file, made.encode())
    return made
