"""TLS towards an API server: its authority, our client certificate. Keys touch no disk where Linux is."""

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retic.sources.api import hidden, kubeconfig
from retic.sources.api.errors import UnreachableError


class Pair(hidden.Hidden, frozen=True):
    """A client certificate chain and its key, PEM."""

    certificate: bytes
    key: bytes


def files(access: kubeconfig.Access) -> tuple[str, ...]:
    """Files that the context is made of: when one of them changes, it is to be made anew."""
    cluster, user = access.cluster, access.user
    return tuple(
        path
        for path, data in (
            (cluster.certificate_authority, cluster.certificate_authority_data),
            (user.client_certificate, user.client_certificate_data),
            (user.client_key, user.client_key_data),
        )
        if path and not data
    )


def context(access: kubeconfig.Access, pair: Pair | None = None) -> ssl.SSLContext:
    """The context for `access`; `pair` is what an exec plugin gave. UnreachableError when a part is unusable."""
    cluster, user = access.cluster, access.user
    authority = _authority(access)
    try:
        made = ssl.create_default_context(cadata=authority.decode("ascii") if authority else None)
    except (ssl.SSLError, ValueError):
        raise UnreachableError(f"{access.origin}: certificate-authority is not PEM") from None
    # Authorities of many clusters lack an Authority Key Identifier, which Python asks for since 3.13.
    made.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
    if cluster.insecure_skip_tls_verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    certificate = _material(access, "client-certificate", user.client_certificate_data, user.client_certificate)
    if pair is None and certificate:
        pair = Pair(certificate, _material(access, "client-key", user.client_key_data, user.client_key))
    if pair is not None:
        try:
            with _file(pair.certificate + b"\n" + pair.key) as path:
                made.load_cert_chain(path, password=lambda: b"")  # never ask at the terminal
        except (ssl.SSLError, ValueError):
            raise UnreachableError(
                f"{access.origin}: the client certificate and its key do not fit, or are no plain PEM"
            ) from None
    return made


def _material(access: kubeconfig.Access, what: str, data: str, path: str) -> bytes:
    """Data wins over a file (clientcmd's rule)."""
    if data:
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error:
            raise UnreachableError(f"{access.origin}: {what}-data is not base64") from None
    if not path:
        return b""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnreachableError(f"{access.origin}: {what} {path} cannot be read: {error.strerror}") from None


@contextmanager
def _file(data: bytes) -> Iterator[str]:
    """A path that OpenSSL can read `data` from, gone afterwards."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("retic-client", os.MFD_CLOEXEC)
        with os.fdopen(number, "wb", buffering=0) as file:
            file.write(data)
            yield f"/proc/self/fd/{number}"
    else:
        with tempfile.NamedTemporaryFile() as file:  # mode 0600
            file.write(data)
            file.flush()
            yield file.name


def authority_data(access: kubeconfig.Access) -> str:
    """The server's authority as base64 of PEM, "" when the system's are used."""
    return base64.b64encode(_authority(access)).decode()


def _authority(access: kubeconfig.Access) -> bytes:
    given = access.cluster
    return _material(access, "certificate-authority", given.certificate_authority_data, given.certificate_authority)
