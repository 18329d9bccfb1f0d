"""Who may enrol, and who may hold which identity: two questions, answered by local mode and clusters.

Here: the Protocols, and the local answer to the first, a token made from a key that only this machine's
control plane and the starter of its agents can read.
"""

import hashlib
import hmac
from typing import Protocol


class RefusedError(PermissionError):
    """The answer no. The message is shown to the client: a reason, never a secret."""


class MayEnroll(Protocol):
    """Is the bearer of this token that client? RefusedError when not."""

    async def check(self, client_id: str, token: str) -> None: ...


class MayHold(Protocol):
    """May this client hold the keys of that identity, because it runs such a pod? RefusedError when not."""

    async def check(self, client_id: str, spiffe_id: str) -> None: ...


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

    async def check(self, client_id: str, token: str) -> None:
        """RefusedError unless the token is the client's own."""
        wanted = local_token(self._key, client_id)
        if not hmac.compare_digest(wanted.encode(), token.encode("utf-8", "surrogateescape")):
            raise RefusedError(f"the token is not that of {client_id}")
