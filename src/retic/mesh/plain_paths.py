"""Paths that can be read in one way only, where a policy speaks of paths.

`/a/../b`, `/a//b`, `/%61`, `/a;x` and `/a%2Fb` are other paths to a server than to a comparison of texts. The proxy
changes no request: where a policy that applies compares paths, it refuses those that have a second reading. RFC 3986,
sections 2.3, 3.3 and 6.2.2, has the rules; `;` and `\\` are in, since servers part paths at them.
"""

import re
import string
from collections.abc import Iterable

import re2

_UNRESERVED = frozenset((string.ascii_letters + string.digits + "-._~").encode())
_IN_SEGMENT = frozenset(b"!$&'()*+,=:@")
_OFTEN_PLAIN = frozenset(b'[]^|{}"<>`')
# Bytes that no text in UTF-8 has (RFC 3629): with them some decoders write a slash in another way.
_NO_TEXT = frozenset({0xC0, 0xC1, *range(0xF5, 0x100)})
_NEVER = _UNRESERVED | frozenset(b"/\\;%?#") | frozenset(range(32)) | {127} | _NO_TEXT


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
    other signs where a text has them. What should be escaped and often is not (brackets and the like) passes in either
    form as long as no text has it.
    """
    given = list(texts)
    said = {byte for text in given for byte in _meant(text)}
    refused = _NEVER | (_IN_SEGMENT & said)
    escaped = f"%(?:{'|'.join(_codes(refused))})"
    if not any("%" in text for text in given):
        escaped = f"(?i:{escaped})"
    plain = "".join(re2.escape(chr(byte)) for byte in sorted(_IN_SEGMENT | (_OFTEN_PLAIN - said)))
    one = rf"(?:[A-Za-z0-9\-_~{plain}]|{escaped})"
    return rf"(?:/(?:\.{{0,2}}{one}|\.{{3}})(?:{one}|\.)*)*/?|\*"


def never(text: str, *, whole: bool) -> str | None:
    """Why no path that is let through has this text (as `written`) in it, or None; `whole`: is this text."""
    for sign, why in {"?": "? begins the query", "#": "# is in no request"}.items():
        if sign in text:
            return why
    for sign in (";", "\\"):
        if sign in text:
            return f"{sign} is refused"
    if "//" in text:
        return "// is refused"
    segments = text.split("/") if whole else text.split("/")[1:-1]
    if any(segment in (".", "..") for segment in segments):
        return ". and .. are refused"
    if whole and text != "*" and not text.startswith("/"):
        return "a path begins with /"
    if any(f"%{byte:02X}" in text for byte in _NEVER):
        return "this escape is refused"
    return None


def _meant(text: str) -> bytes:
    """The bytes that a text stands for, escaped or not; those of an escape as well."""
    raw = text.encode()
    return raw + re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), raw)


def _codes(refused: frozenset[int]) -> list[str]:
    """The two digits of every other byte, those with equal second digits together."""
    rows: dict[str, str] = {}
    for high in range(2, 16):
        lows = "".join(f"{low:X}" for low in range(16) if 16 * high + low not in refused)
        if lows:
            rows[lows] = rows.get(lows, "") + f"{high:X}"
    return [f"[{highs}][{'0-9A-F' if len(lows) == 16 else lows}]" for lows, highs in rows.items()]
