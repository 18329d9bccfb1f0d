"""Certificates for the pair of Envoys configured by hand: of the same kind as the mesh's."""

import pathlib

import msgspec

from retic.identity import authority, certificate, spiffe

TRUST_DOMAIN = "cluster.local"
CLIENT = spiffe.Workload(TRUST_DOMAIN, "default", "client")
SERVER = spiffe.Workload(TRUST_DOMAIN, "default", "server")


class Holder(msgspec.Struct, frozen=True):
    """One end's key, its chain, and whom it trusts, as PEM; `peer` is the SPIFFE ID it talks to."""

    key: str
    chain: str
    roots: str
    peer: str


def make(folder: pathlib.Path) -> tuple[Holder, Holder]:
    """The client's and the server's, by a new authority kept in `folder`."""
    signer = authority.open_own(folder, TRUST_DOMAIN)

    def holder(mine: spiffe.Workload, peer: spiffe.Workload) -> Holder:
        key = certificate.new_key()
        return Holder(
            key=certificate.key_pem(key).decode(),
            chain=signer.issue(key.public_key(), mine).decode(),
            roots=signer.bundle().decode(),
            peer=str(peer),
        )

    return holder(CLIENT, SERVER), holder(SERVER, CLIENT)
