"""A path as a gateway reads it: dots and escapes taken away before anything compares it (RFC 3986, section 6.2.2)."""

import string

_PLAIN = frozenset(string.ascii_letters + string.digits + "-._~")


def path(target: str) -> str | None:
    """The target with its path in one form; its query as it stands. None for a path that is refused."""
    whole, mark, query = target.partition("?")
    if not whole.startswith("/"):
        return target
    text = _unescaped(whole).replace("\\", "/")
    return _dots(text) + mark + query


def _unescaped(text: str) -> str:
    answer, at = [], 0
    while at < len(text):
        digits = text[at + 1 : at + 3]
        if text[at] == "%" and len(digits) == 2 and all(d in string.hexdigits for d in digits):
            plain = chr(int(digits, 16))
            answer.append(plain if plain in _PLAIN else text[at : at + 3])
            at += 3
        else:
            answer.append(text[at])
            at += 1
    return "".join(answer)


def _dots(text: str) -> str:
    parts = text.split("/")[1:]
    kept: list[str] = []
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "..":
            del kept[-1:]
            kept += [""] if last else []
        elif part == ".":
            kept += [""] if last else []
        else:
            kept.append(part)
    return "/" + "/".join(kept)
