"""What can go wrong with an API server, as messages that a user can act on. No message quotes a credential."""

import msgspec


class Error(Exception):
    """The API server did not do what was asked."""


class ApiError(Error):
    """The server answered, and its answer is no. `reason` is the Status' (NotFound, Conflict ...), or "".

    `retry_after` is in seconds, None when the server named no time.
    """

    def __init__(
        self, status: int, reason: str, message: str, *, request: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(f"{request}: {message} ({status} {reason})".removeprefix(": ").replace(" )", ")"))
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class UnreachableError(Error):
    """The server cannot be reached, or there are no credentials to use. The message says what to do."""


class LostError(UnreachableError):
    """A connection broke or fell silent while its answer was read."""


class _Status(msgspec.Struct, frozen=True):
    message: str = ""
    reason: str = ""
    code: int = 0


def parse(status: int, body: bytes, *, request: str, retry_after: str | None = None) -> ApiError:
    """The error for a response; `body` is a metav1.Status, or whatever stands in its place (a proxy's page)."""
    try:
        found = msgspec.json.decode(body, type=_Status)
    except msgspec.MsgspecError:
        text = body[:200].decode(errors="replace").strip()
        found = _Status(message=text.splitlines()[0] if text else "an answer without a body")
    message = found.message or "no message"
    if status == 401:
        message = f"{message}: the API server does not accept these credentials; log in again, or use another context"
    return ApiError(status, found.reason, message, request=request, retry_after=_seconds(retry_after))


def _seconds(text: str | None) -> float | None:
    """Retry-After in whole seconds, as API servers write it (RFC 9110 allows dates; those count as absent)."""
    return float(text) if text is not None and text.isascii() and text.isdecimal() else None
