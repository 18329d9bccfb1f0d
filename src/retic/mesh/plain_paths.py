"""Paths that can be read in one way only, where a policy speaks of paths.

`/a/../b`, `/a//b`, `/%61`, `/a;x` and `/a%2Fb` are other paths to a server than to a comparison of texts. The proxy
changes no request: where a policy that applies compares paths, it refuses those that have a second reading. RFC 3986,
sections 2.3, 3.3 and 6.2.2, has the rules; `;` and `\\` are in, since servers part paths at them.
"""

import string
from collections.abc import Iterable

import re2

_UNRESERVED = frozenset((string.ascii_letters + string.digits + "-._~").encode())
_IN_SEGMENT = frozenset(b"!$&'()*+,=:@")
_NEVER = _UNRESERVED | frozenset(b"/\\;%?#") | frozenset(range(32)) | {127}


def written(text: str) -> str:
    """A policy's text in the one form that requests are let through in: escaped only where it must be, upper case."""
    answer, raw, at = [], text.encode(), 0
    while at < len(raw):
        byte, step = raw[at], 1
        if byte == ord("%") and _hex(raw[at + 1 : at + 3]):
            byte, step = int(raw[at + 1 : at + 3], 16), 3
        plain = byte in _UNRESERVED or byte in _IN_SEGMENT or (step == 1 and byte in b"/%;?#\\")
        answer.append(chr(byte) if plain else f"%{byte:02X}")
        at += step
    return "".join(answer)


def _hex(digits: bytes) -> bool:
    return len(digits) == 2 and all(chr(d) in string.hexdigits for d in digits)


def readable(texts: Iterable[str]) -> str:
    """RE2 for the paths (without the query) that have one reading only, for policies that have these texts in them.

    What may stand as it is can also be written escaped: that is refused for letters, digits and the like always, for
    other signs where a text has them.
    """
    said = {byte for text in texts for byte in text.encode()}
    refused = _NEVER | (_IN_SEGMENT & said)
    escaped = f"%(?:{'|'.join(_codes(refused))})"
    if ord("%") not in said:
        escaped = f"(?i:{escaped})"
    plain = "".join(re2.escape(chr(byte)) for byte in sorted(_IN_SEGMENT))
    one = rf"(?:[A-Za-z0-9\-_~{plain}\[\]^|{{}}\"<>`]|{escaped})"
    return rf"(?:/(?:\.{{0,2}}{one}|\.{{3}})(?:{one}|\.)*)*/?|\*"


def _codes(refused: frozenset[int]) -> list[str]:
    """The two digits of every other byte, those with equal second digits together."""
    rows: dict[str, str] = {}
    for high in range(2, 16):
        lows = "".join(f"{low:X}" for low in range(16) if 16 * high + low not in refused)
        if lows:
            rows[lows] = rows.get(lows, "") + f"{high:X}"
    return [f"[{highs}][{'0-9A-F' if len(lows) == 16 else lows}]" for lows, highs in rows.items()]
