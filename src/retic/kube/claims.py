"""What a service account's token says of itself, unverified: enough to refuse most of the wrong ones unasked.

A token that passes here is not believed: the API server reviews it (`tokens`).
"""

import base64
import binascii

import msgspec

LONGEST = 16 * 1024  # bytes; an API server's own have about 1 KiB


class MalformedError(ValueError):
    """A text that is no service account's token. The message does not quote it."""


class _Named(msgspec.Struct, frozen=True):
    name: str = ""
    uid: str = ""


class _Kubernetes(msgspec.Struct, frozen=True):
    namespace: str = ""
    pod: _Named = _Named()
    node: _Named = _Named()
    serviceaccount: _Named = _Named()


class Claims(msgspec.Struct, frozen=True):
    """The claims that are looked at (kubernetes/pkg/serviceaccount/claims.go). `exp` in seconds since 1970."""

    aud: str | tuple[str, ...] = ()
    exp: float = 0.0
    kubernetes: _Kubernetes = msgspec.field(default=_Kubernetes(), name="kubernetes.io")

    @property
    def audiences(self) -> tuple[str, ...]:
        """For whom it was made."""
        return (self.aud,) if isinstance(self.aud, str) else self.aud

    @property
    def account(self) -> str:
        """NAMESPACE/NAME."""
        return f"{self.kubernetes.namespace}/{self.kubernetes.serviceaccount.name}"


def read(token: str) -> Claims:
    """The token's claims. MalformedError when it is no JWT, or longer than 16 KiB."""
    if len(token) > LONGEST:
        raise MalformedError(f"a token has at most {LONGEST} bytes, not {len(token)}")
    parts = token.split(".")
    if len(parts) != 3:
        raise MalformedError("this is no service account's token")
    body = parts[1]
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(data, type=Claims)
    except (binascii.Error, ValueError, RecursionError):
        # From None: what was wrong with it would quote it.
        raise MalformedError("this is no service account's token") from None
