"""A path as a gateway reads it: dots and escapes taken away before anything compares it (RFC 3986, section 6.2.2).

As browsers do it (URL Standard, path state), and Envoy with them: a backslash is a slash, and what a path may not have
is escaped. A dot segment with parameters, `..;x`, is one only where its dots are not escaped, and behind a slash.
"""

import re
import string

_PLAIN = frozenset(string.ascii_letters + string.digits + "-._~")
_ESCAPED = frozenset("\"<>^`{|}")
_DOTS = re.compile(r"((?:\.|%2[eE]){1,2})(?=[/\\]|\Z)|(\.{1,2});[^/]*")
_SEGMENT = re.compile(r"[^/\\]*")


def path(target: str) -> str | None:
    """The target with its path in one form; its query as it stands. None for a path that is refused."""
    whole, mark, query = target.partition("?")
    if "%00" in whole:
        return None
    return (_segments(whole) if whole.startswith("/") else whole) + mark + query


def _segments(whole: str) -> str:
    kept: list[str] = []
    at = 0
    while at < len(whole):
        at += 1  # the slash before
        dots = _DOTS.match(whole, at)
        if dots is None or (dots[2] and whole[at - 1] != "/"):
            found = _SEGMENT.match(whole, at)
            text = found[0] if found is not None else ""
            kept.append(_written(text))
            at += len(text)
            continue
        at = dots.end()
        if len(re.sub("%2[eE]", ".", dots[1] or dots[2])) == 2:
            del kept[-1:]
        if at == len(whole):
            kept.append("")
    return "/" + "/".join(kept)


def _written(text: str) -> str:
    """Escaped only where it must be."""
    plain = re.sub("%([0-9A-Fa-f]{2})", _unescaped, text)
    return "".join(f"%{ord(c):02X}" if c in _ESCAPED else c for c in plain)


def _unescaped(found: "re.Match[str]") -> str:
    char = chr(int(found[1], 16))
    return char if char in _PLAIN else found[0]
