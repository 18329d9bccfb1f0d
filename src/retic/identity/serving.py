"""TLS at a port of our own over HTTP: a context whose certificate is exchanged while it serves."""

import asyncio
import pathlib
import ssl
import tempfile

from cryptography import x509

from retic.identity import authority, certificate, current, spiffe


def context() -> ssl.SSLContext:
    """For HTTP/1.1 over TLS 1.2 or later; it has no certificate yet."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    return made


def load(into: ssl.SSLContext, key: bytes, chain: bytes) -> None:
    """Have it serve this pair (PEM) to whoever connects from now on."""
    with tempfile.TemporaryDirectory() as folder:  # Python's ssl takes keys from files only
        file = pathlib.Path(folder) / "pair.pem"
        authority.write_private(file, key + chain)
        into.load_cert_chain(file)


class Own:
    """The control plane's own certificate for these DNS names, in `context`; `run` renews it until cancelled."""

    def __init__(self, signer: current.Current, names: tuple[str, ...]) -> None:
        self._signer, self._names = signer, names
        self.context = context()
        self._renew()

    async def run(self) -> None:
        """Renew it in time, and whenever other roots sign."""
        await asyncio.gather(self._in_time(), self._with_roots())

    async def _in_time(self) -> None:
        while True:
            wait = (self._renew_at - self._signer.time.now()).total_seconds()
            await self._signer.time.sleep(max(1.0, wait))
            self._renew()

    async def _with_roots(self) -> None:
        async for _ in self._signer.follow():
            self._renew()

    def _renew(self) -> None:
        key = certificate.new_key()
        chain = self._signer.issue(key.public_key(), spiffe.Control(self._signer.trust_domain), dns=self._names)
        self._renew_at = certificate.renew_at(x509.load_pem_x509_certificate(chain))
        load(self.context, certificate.key_pem(key), chain)
