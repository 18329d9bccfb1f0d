"""`retic explain code`: what a code means, of an answer or of a finding. It needs no mesh."""

import difflib

from retic.cli import failure, show
from retic.explain.response import meanings
from retic.findings import catalogue
from retic.telemetry import causes

_LOWEST, _HIGHEST = 400, 599


def run(wanted: str, *, as_json: bool) -> None:
    """Print it. Raises Failure with code 2 for one that there is not, naming the nearest."""
    code = wanted.strip().upper()
    if code in catalogue.CODES:
        _finding(catalogue.CODES[code], as_json=as_json)
    elif code in meanings.CODES or _is_status(code):
        _answer(meanings.of(code), as_json=as_json)
    else:
        known = [*catalogue.CODES, *meanings.CODES]
        near = difflib.get_close_matches(code, known, n=3, cutoff=0.5)
        hint = f"; near it are {', '.join(near)}" if near else ": they look like RT0201 or RT1101"
        raise failure.Failure(f"there is no code {wanted[:40]!r}{hint}", code=2)


def _is_status(code: str) -> bool:
    number = code.removeprefix(causes.STATUS)
    return number != code and len(number) == 3 and number.isdecimal() and _LOWEST <= int(number) <= _HIGHEST


def _finding(code: catalogue.Code, *, as_json: bool) -> None:
    if as_json:
        known = {"code": code.code, "kind": "finding", "severity": code.severity, "title": code.title}
        show.json({**known, "url": code.url})
        return
    print(f"{code.code}  a finding ({code.severity.value}): {code.title}")
    print("retic analyze names the object, its file and line, and what to write instead", flush=True)


def _answer(meaning: meanings.Meaning, *, as_json: bool) -> None:
    if as_json:
        show.json({
            "code": meaning.code, "kind": "answer", "title": meaning.title, "flags": meaning.flags,
            "about": meaning.about, "look": meaning.look, "change": meaning.change, "url": meaning.url,
        })  # fmt: skip
        return
    flags = f" (Envoy's {', '.join(meaning.flags)})" if meaning.flags else ""
    print(f"{meaning.code}  a proxy's own answer: {meaning.title}{flags}")
    for what, text in (("about", meaning.about), ("look at", meaning.look), ("change", meaning.change)):
        print(f"{what:8} {text}")
    print("one      retic explain response ID, with the header x-retic-id of the answer", flush=True)
