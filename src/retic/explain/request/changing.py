"""What a rule makes of a request's path and host, and where a redirect leads (Gateway API, HTTPURLRewriteFilter and
HTTPRequestRedirectFilter)."""

import re

import msgspec
import re2

from retic.explain.request import message
from retic.mesh import route

_KNOWN = {"http": 80, "https": 443}


def rewritten(request: message.Message, rule: route.Rule) -> message.Message:
    """With the rule's header changes, path and host."""
    changed = message.edited(request, rule.request)
    if rule.rewrite is None:
        return changed
    target, authority = changed.target, changed.authority
    if rule.rewrite.path is not None:
        target = _target(changed, rule.rewrite.path, rule.match.path)
    if rule.rewrite.host:
        authority = rule.rewrite.host
    return msgspec.structs.replace(changed, target=target, authority=authority)


def _target(request: message.Message, change: route.PathChange, matched: route.Path) -> str:
    """The new path; the query stays, unless the new one has its own."""
    path, mark, query = request.target.partition("?")
    if not change.prefix and not change.pattern and "?" in change.value:
        return change.value
    return path_changed(path, change, matched) + mark + query


def path_changed(path: str, change: route.PathChange, matched: route.Path) -> str:
    """All of it, or the prefix that matched: the rest keeps its own slash, and no slash is doubled."""
    if change.pattern:
        return replaced(change.pattern, change.value, path)
    if change.prefix and not change.joined:
        return change.value + path[len(matched.value) :]
    if not change.prefix:
        return change.value
    prefix, new = matched.value.rstrip("/"), change.value.rstrip("/")
    rest = path[len(prefix) :]
    if not new:
        return "/" + rest.lstrip("/")
    return new + rest if prefix else f"{new}/{path.removeprefix('/')}"


def replaced(pattern: str, by: str, text: str) -> str:
    """Every match replaced, as RE2's GlobalReplace does: a backslash and a digit stand for a group."""

    def written(found: "re2._Match[str]") -> str:
        return re.sub(r"\\([0-9\\])", lambda m: "\\" if m[1] == "\\" else found.group(int(m[1])) or "", by)

    options = re2.Options()
    options.log_errors = False
    return str(re2.sub(pattern, written, text, options=options))


def location(request: message.Message, rule: route.Rule, redirect: route.Redirect, scheme: str, port: int) -> str:
    """Where the client is sent. `scheme` is the request's, `port` the listener's, 0 where it goes without saying.

    The port is the redirect's, else its scheme's, else the listener's; one that goes without saying is left out.
    Where neither host nor port nor scheme is given, the client's own Host stays.
    """
    to = redirect.scheme or scheme
    if redirect.bare:
        return f"{to}://{_bare(request, redirect, to, scheme)}{_destination(request, rule, redirect)}"
    known = _KNOWN.get(redirect.scheme or "")
    number = redirect.port or known
    rest = _destination(request, rule, redirect)
    if number is None:
        own = request.authority if not redirect.host else redirect.host + (f":{port}" if port else "")
        return f"{to}://{own}{rest}"
    if redirect.host:
        return f"{to}://{redirect.host}{_suffix(number, known)}{rest}"
    host, colon, written = request.authority.rpartition(":")
    if not colon or (written and not written.isdigit()):
        return f"{to}://{request.authority}{_suffix(number, known)}{rest}"
    if number == known and not written:
        return f"{to}://{request.authority}{rest}"
    # Written in Host, a port is replaced and not left out.
    return f"{to}://{host}:{number}{rest}"


def _bare(request: message.Message, redirect: route.Redirect, to: str, scheme: str) -> str:
    """Host and port: a port that is told takes the place of the one in Host, and one that went without saying goes with
    its scheme (Envoy, RedirectAction)."""
    told = f":{redirect.port}" if redirect.port else ""
    if redirect.host:
        return redirect.host + told
    host, colon, written = request.authority.rpartition(":")
    implied = to != scheme and written == str(_KNOWN.get(scheme, ""))
    return (host if colon and (told or implied) else request.authority) + told


def _suffix(number: int, known: int | None) -> str:
    return "" if number == known else f":{number}"


def _destination(request: message.Message, rule: route.Rule, redirect: route.Redirect) -> str:
    if redirect.path is None:
        return request.target
    return _target(request, redirect.path, rule.match.path)
