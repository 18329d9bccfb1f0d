"""Why a proxy answered a request itself, or ended it: one code for each cause.

The proxies' configuration is made from this table (envoy/replies.py), and entries are read by it: the code in a
response's header is the one that is found here. What a code means to people stands in `retic.explain.response`.
"""

import enum

import msgspec

from retic.telemetry import entries

STATUS = "RT1"
"""How a code begins that ends in the status: where the proxy's status says the cause."""


class Cause(msgspec.Struct, frozen=True):
    """`flags` are Envoy's response flags, any of them; `text` is what the client reads."""

    code: str
    flags: tuple[str, ...]
    text: str


class Code(enum.StrEnum):
    """Codes that the readers of entries ask for by name."""

    NO_ENDPOINT = "RT1101"
    NO_CONNECTION = "RT1102"
    RESET = "RT1103"
    RETRIES = "RT1104"
    OVERFLOW = "RT1105"
    NO_CLUSTER = "RT1106"
    CLIENT_LEFT = "RT1107"
    STREAM_TIME = "RT1108"
    AUTHORIZER = "RT1109"
    FAULT = "RT1110"
    UNKNOWN = "RT1199"
    MALFORMED = "RT1400"
    UNKNOWN_CALLER = "RT1401"
    REFUSED = "RT1403"
    NO_ROUTE = "RT1404"
    RATE = "RT1429"
    BROKEN = "RT1500"
    BAD_ANSWER = "RT1502"
    OVERLOAD = "RT1503"
    TIME_OUT = "RT1504"


# In this order: of several flags the first that stands here is the cause.
AUTHORIZER = Cause(Code.AUTHORIZER, ("UAEX",), "the external authorizer refused the request")
FAULT = Cause(Code.FAULT, ("FI",), "a fault was injected")
NO_CLUSTER = Cause(Code.NO_CLUSTER, ("NC",), "the destination is not known to the proxy yet")
NO_ENDPOINT = Cause(Code.NO_ENDPOINT, ("UH",), "no endpoint is ready")
OVERFLOW = Cause(Code.OVERFLOW, ("UO",), "too many requests are on their way")
NO_CONNECTION = Cause(Code.NO_CONNECTION, ("UF",), "the connection could not be made")
RESET = Cause(Code.RESET, ("UC", "UR", "LR"), "the connection ended before the answer was there")
BY_FLAG = (AUTHORIZER, FAULT, NO_CLUSTER, NO_ENDPOINT, OVERFLOW, NO_CONNECTION, RESET)

OTHER = "the request was refused or failed"
"""What a client reads where the status says the cause."""
TEXTS = {
    403: "the request was refused",
    421: "the request belongs to another connection",
    500: "the route cannot be carried out",
}

# Where no proxy answered: connections, and requests whose answer had begun or whose client had gone.
_WITHOUT_STATUS = (
    ("NR", Code.NO_ROUTE), ("UT", Code.TIME_OUT), ("DPE", Code.MALFORMED), ("UPE", Code.BAD_ANSWER),
    ("RL", Code.RATE), ("OM", Code.OVERLOAD), ("DT", Code.STREAM_TIME), ("UMSDR", Code.STREAM_TIME),
    ("SI", Code.STREAM_TIME), ("URX", Code.RETRIES), ("DC", Code.CLIENT_LEFT),
)  # fmt: skip
_ERROR = 400


def of(entry: entries.Entry) -> str:
    """The code of what failed; UNKNOWN where nothing of it is known."""
    if entry.refused and not entry.http:
        return Code.REFUSED
    for cause in BY_FLAG:
        if any(flag in entry.flags for flag in cause.flags):
            return cause.code
    if entry.code >= _ERROR and entry.details != entries.VIA_UPSTREAM and answered(entry):
        return f"{STATUS}{entry.code}"
    if entry.refused:
        return Code.REFUSED  # in a gRPC client's way, with 200
    found = (code for flag, code in _WITHOUT_STATUS if flag in entry.flags)
    return next(found, Code.UNKNOWN)


def answered(entry: entries.Entry) -> bool:
    """Whether this proxy made the answer that the client got. Envoy notes a status also where the client had gone."""
    return entry.http and "DC" not in entry.flags
