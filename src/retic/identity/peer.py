"""Who is at the other end of a gRPC call, from its certificate alone; nothing the peer says about itself.

gRPC has verified the chain, the signatures and the dates before a call begins.
"""

from collections.abc import Iterable, Mapping

from retic.identity import attest, certificate, spiffe

_NAMES = "x509_subject_alternative_name"


class UnknownPeerError(attest.RefusedError):
    """The peer has no certificate of a kind that is let in. The message may be shown to it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, attest.Reason.PEER)


def identity(auth: Mapping[str, Iterable[bytes]], trust_domain: str) -> spiffe.Id:
    """The peer's SPIFFE id, from gRPC's auth context (`context.auth_context()`). UnknownPeerError."""
    names = tuple(auth.get(_NAMES, ()))
    if not names:
        raise UnknownPeerError("a client certificate is needed: enrol first")
    uris = [name.decode("utf-8", "replace") for name in names if name.startswith(spiffe.SCHEME.encode())]
    if len(uris) != 1:
        raise UnknownPeerError("the client certificate must have exactly one SPIFFE id")
    try:
        found = spiffe.parse(uris[0])
    except spiffe.InvalidIdError as error:
        raise UnknownPeerError(str(error)) from None
    if found.trust_domain != trust_domain:
        raise UnknownPeerError(f"{found} is not of the trust domain {trust_domain}")
    return found


def client(auth: Mapping[str, Iterable[bytes]], trust_domain: str) -> spiffe.Client:
    """As `identity`, for callers that only nodes and gateways may be: workloads are refused."""
    found = identity(auth, trust_domain)
    if not isinstance(found, spiffe.Node | spiffe.Gateway):
        raise UnknownPeerError(f"{found} is neither a node nor a gateway")
    return found


def bearer(auth: Mapping[str, Iterable[bytes]], trust_domain: str) -> attest.Bearer:
    """As `client`, with the pod that the certificate is bound to."""
    found = client(auth, trust_domain)
    suffix = certificate.POD_SUFFIX.encode()
    pods = [name.removesuffix(suffix) for name in auth.get(_NAMES, ()) if name.endswith(suffix)]
    if len(pods) > 1:
        raise UnknownPeerError("the client certificate is bound to more than one pod")
    return attest.Bearer(found.client_id, pods[0].decode("ascii", "replace") if pods else "")
