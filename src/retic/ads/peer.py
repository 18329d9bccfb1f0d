"""Who is at the other end of a connection, by its certificate; refuses to believe the message alone."""

from collections.abc import Callable

import grpc.aio

TRUST_DOMAIN = "cluster.local"

Identify = Callable[["grpc.aio.ServicerContext[bytes, bytes]"], str]
"""From a call to the id of its client. Raises `UnidentifiedError`."""


class UnidentifiedError(PermissionError):
    """The peer has no certificate, or not a client's. The message is shown to it."""


def by_certificate(trust_domain: str = TRUST_DOMAIN) -> Identify:
    """The client id is the path of the certificate's SPIFFE id after `spiffe://TRUST DOMAIN/retic/`."""
    prefix = f"spiffe://{trust_domain}/retic/"

    def identify(call: "grpc.aio.ServicerContext[bytes, bytes]") -> str:
        names = call.auth_context().get("x509_subject_alternative_name", ())
        uris = [name.decode(errors="replace") for name in names if name.startswith(b"spiffe://")]
        if len(uris) != 1:
            raise UnidentifiedError(f"a client needs one SPIFFE id, this certificate has {len(uris)}")
        client = uris[0].removeprefix(prefix)
        if client == uris[0] or not client.startswith(("node/", "gateway/")):
            raise UnidentifiedError(f"{uris[0]} is not a discovery client of {trust_domain}")
        return client

    return identify
