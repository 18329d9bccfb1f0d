"""Who may enrol, and who may hold which identity: two questions, answered by local mode and clusters.

Here: the Protocols, why an answer is no, and the local answer to the first question, a token made from a key
that only this machine's control plane and the starter of its agents can read.
"""

import enum
import hashlib
import hmac
from typing import Protocol

import msgspec


class Reason(enum.StrEnum):
    """Why something was refused: what refusals are counted by."""

    MALFORMED = "malformed"  # a message, id or signing request that cannot be read or asks for too much
    TOKEN = "token"  # noqa: S105 - no token of the mesh: unknown, changed, ended, of a pod that is gone
    AUDIENCE = "audience"  # a good token that was made for somebody else
    ACCOUNT = "account"  # of a service account that no agent runs with
    POD = "pod"  # bound to no pod, to one that is not there any more, or to one that is no such agent
    NODE = "node"  # bound to another node
    IDENTITY = "identity"  # an identity that the client does not hold
    PEER = "peer"  # a client certificate that is none of an agent
    BUSY = "busy"  # too many attempts
    UNAVAILABLE = "unavailable"  # nobody could be asked


class RefusedError(PermissionError):
    """The answer no. The message is shown to the client and logged: what was wrong, never a secret."""

    def __init__(self, message: str, reason: Reason = Reason.IDENTITY) -> None:
        super().__init__(message)
        self.reason = reason


class Bearer(msgspec.Struct, frozen=True):
    """A client, and the uid of the pod that its certificate is bound to; "" where pods bind nobody."""

    client_id: str
    pod: str = ""


class MayEnroll(Protocol):
    """Is the bearer of this token that client? RefusedError when not.

    `peer` is where the call comes from, for limits. The answer is the uid of the pod that the token is bound
    to, and so the certificate will be; "" for none.
    """

    async def check(self, client_id: str, token: str, peer: str = "") -> str: ...


class MayHold(Protocol):
    """May this client hold the keys of that identity? RefusedError when not.

    A workload's: because it runs such a pod. Its own: because it still is who it was.
    """

    async def check(self, holder: Bearer, spiffe_id: str) -> None: ...


def local_token(key: bytes, client_id: str) -> str:
    """The token of a client in local mode: HMAC-SHA256 of its id, in hex."""
    return hmac.new(key, client_id.encode(), hashlib.sha256).hexdigest()


class LocalTokens:
    """MayEnroll for local mode. ValueError for a key of less than 32 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 32:
            raise ValueError("the token key must have at least 32 bytes")
        self._key = key

    def __repr__(self) -> str:
        return "<LocalTokens>"

    async def check(self, client_id: str, token: str, peer: str = "") -> str:
        """RefusedError unless the token is the client's own. No pod binds it."""
        wanted = local_token(self._key, client_id)
        if not hmac.compare_digest(wanted.encode(), token.encode("utf-8", "surrogateescape")):
            raise RefusedError(f"the token is not that of {client_id}", Reason.TOKEN)
        return ""
