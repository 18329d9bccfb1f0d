"""The metrics endpoint of a mesh on one machine: HTTPS, with a certificate of the mesh's own authority and a token.

    /metrics                  of all proxies, and the control plane's own
    /proxies/PROXY/metrics    of one: a node's name, or gateway/NAMESPACE/NAME
    /control/metrics          the control plane's own
"""

import asyncio
import collections
import contextlib
import pathlib
import secrets
import ssl
import tempfile

import structlog
from cryptography import x509

from retic import ads, graph
from retic.answers import Answers, Refusals
from retic.identity import authority, certificate, current, spiffe
from retic.telemetry import endpoint, exposition, own, readings

log = structlog.get_logger("retic.control")
SERVER_NAME = "metrics.retic"
"""The DNS name in the endpoint's certificate."""
TOKEN = "metrics.token"  # noqa: S105 (a file's name)


class Metrics:
    """Serve, and `close`. `run` renews the certificate until cancelled."""

    def __init__(
        self, answers: Answers, db: graph.Graph, discovery: ads.Server, refusals: Refusals, signer: current.Current
    ) -> None:
        self._answers, self._db, self._discovery, self._refusals = answers, db, discovery, refusals
        self._signer = signer
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_alpn_protocols(["http/1.1"])
        self._endpoint: endpoint.Endpoint | None = None
        self._renew()

    async def start(self, listen: str, folder: pathlib.Path) -> None:
        """Listen at host:port. OSError when that cannot be had."""
        host, _, port = listen.rpartition(":")
        made = endpoint.Endpoint(self._context, _token(folder / TOKEN), self._page, exposition.CONTENT_TYPE)
        await made.start(host, int(port))
        self._endpoint = made

    async def run(self) -> None:
        """Renew the certificate in time, and whenever other roots sign."""
        await asyncio.gather(self._in_time(), self._with_roots())

    async def _in_time(self) -> None:
        while True:
            wait = (self._renew_at - self._signer.time.now()).total_seconds()
            await self._signer.time.sleep(max(1.0, wait))
            self._renew()

    async def _with_roots(self) -> None:
        async for _ in self._signer.follow():
            self._renew()

    async def close(self) -> None:
        """Serve no more."""
        if self._endpoint is not None:
            await self._endpoint.close()

    def _renew(self) -> None:
        key = certificate.new_key()
        chain = self._signer.issue(key.public_key(), spiffe.Control(self._signer.trust_domain), dns=(SERVER_NAME,))
        self._renew_at = certificate.renew_at(x509.load_pem_x509_certificate(chain))
        with tempfile.TemporaryDirectory() as folder:  # Python's ssl takes keys from files only
            file = pathlib.Path(folder) / "pair.pem"
            authority.write_private(file, certificate.key_pem(key) + chain)
            self._context.load_cert_chain(file)

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
        found = collections.Counter((one.code, one.severity.value) for one in await self._answers.findings())
        run, did, settled = self._db.counters, self._discovery.counters, self._discovery.convergence
        return own.text(
            own.Own(
                counters={
                    "queries_run": run.run, "queries_cut_off": run.cut_off, "queries_changed": run.changed,
                    "queries_failed": run.failed, "discovery_requests": did.received,
                    "discovery_messages": did.messages, "discovery_bytes": did.bytes,
                    "discovery_resources": did.resources, "discovery_acks": did.acks, "discovery_nacks": did.nacks,
                    "discovery_refused_streams": did.refused,
                },
                gauges={"discovery_streams": did.open, "rejected_resources": len(self._refusals.standing)},
                convergence=own.Convergence(ads.BOUNDS, settled.counts, settled.sum),
                findings=found,
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
