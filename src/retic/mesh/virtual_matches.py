"""One `match` of a VirtualService as a match of `mesh.route`, with the faults found on the way."""

import msgspec

from retic import graph
from retic.mesh import route, tables, translation
from retic.objects import virtual_services as vs

_PATHS = {
    route.How.EXACT: route.PathKind.EXACT,
    route.How.PREFIX: route.PathKind.START,
    route.How.REGEX: route.PathKind.REGEX,
}
_EVERY = route.Path(route.PathKind.START, "/")


class Labelled(msgspec.Struct, frozen=True):
    """The pods of a namespace that have all these labels."""

    namespace: str
    labels: tuple[tuple[str, str], ...]


@graph.query
def labelled(db: graph.Db, key: Labelled) -> tuple[str, ...]:
    """The uids of such pods, in order."""
    answer = []
    for name in db.find(tables.PODS_BY_NAMESPACE, key.namespace):
        pod = db.get(tables.PODS, name)
        over = pod is not None and pod.status is not None and pod.status.phase is not None
        if pod is not None and pod.metadata.uid and not over:
            labels = pod.metadata.labels
            if all(labels.get(k) == v for k, v in key.labels):
                answer.append(pod.metadata.uid)
    return tuple(sorted(answer))


def of(notes: translation.Notes, match: vs.HTTPMatchRequest, path: str) -> route.Match | None:
    """What it says of the request itself; None, and a fault, when it can never be met."""
    where = _path(notes, match, path)
    answer = route.Match() if where is None else route.Match(where)
    headers: list[route.Condition] = []
    faulty = where is None
    for name in ("method", "scheme", "authority"):
        given = getattr(match, name)
        if given is None:
            continue
        how, value = said(given)
        faulty |= _refused(notes, how, value, f"{path}.{name}")
        if name == "method" and how is route.How.EXACT:
            answer = msgspec.structs.replace(answer, method=value)
        elif how is not route.How.PRESENT:
            headers.append(route.Condition(f":{name}", value, how))
    for key, given in match.headers.items():
        faulty |= _refused(notes, *said(given), f"{path}.headers.{key}")
        headers.append(route.Condition(key.lower(), *_turned(given)))
    for key, given in match.without_headers.items():
        faulty |= _refused(notes, *said(given), f"{path}.withoutHeaders.{key}")
        value, how = _turned(given)
        headers.append(route.Condition(key.lower(), value, how, negated=True))
    query = []
    for key, given in match.query_params.items():
        faulty |= _refused(notes, *said(given), f"{path}.queryParams.{key}")
        query.append(route.Condition(key, *_turned(given)))
    if faulty:
        return None
    return msgspec.structs.replace(answer, headers=tuple(headers), query=tuple(query))


def said(given: vs.StringMatch) -> tuple[route.How, str]:
    """How a text is compared, and with what. None of the three asks only that it is there."""
    if given.exact is not None:
        return route.How.EXACT, given.exact
    if given.prefix is not None:
        return route.How.PREFIX, given.prefix
    if given.regex is not None:
        return route.How.REGEX, given.regex
    return route.How.PRESENT, ""


def _turned(given: vs.StringMatch) -> tuple[str, route.How]:
    how, value = said(given)
    return value, how


def _path(notes: translation.Notes, match: vs.HTTPMatchRequest, path: str) -> route.Path | None:
    if match.uri is None:
        return _EVERY
    how, value = said(match.uri)
    if how is route.How.PRESENT or (how is route.How.PREFIX and not value):
        return _EVERY
    if _refused(notes, how, value, f"{path}.uri"):
        return None
    ignored = bool(match.ignore_uri_case) and how is not route.How.REGEX
    if how is not route.How.REGEX and not value.startswith("/"):
        notes.add(
            "RT0546", f"{path}.uri.{how.value}",
            f"no request has a path that begins with {value!r}: this matches nothing",
            f"write /{value}",
        )
        return None
    if match.ignore_uri_case and not ignored:
        notes.add(
            "RT0547", f"{path}.ignoreUriCase", "ignoreUriCase has no effect beside a regular expression",
            "write (?i) before the expression",
        )
    return route.Path(_PATHS[how], value, ignored)


def _refused(notes: translation.Notes, how: route.How, value: str, path: str) -> bool:
    """Whether it is an expression that nobody can use: then the whole match is left out."""
    fault = translation.regex_fault(value) if how is route.How.REGEX else None
    if fault:
        notes.add("RT0207", f"{path}.regex", f"RE2 does not accept {value!r}: {fault}", "correct it")
    return fault is not None
