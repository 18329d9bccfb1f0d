"""What came of a request, and whether `explain` had it among what may come."""

import json

import differential_routes as routes

_GRPC = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_SHOWN = tuple(name.lower() for name in routes.NAMES)


class Seen:
    """What came: who answered ("" for a proxy), its status, a redirect's location, the head that an application got."""

    def __init__(self, request, raw):
        self.pod = self.location = ""
        self.status, self.head, self.grpc = None, None, None
        if request.kind == "tcp":
            self.pod = raw["body"].strip()
            return
        headers = raw["headers"]
        self.pod = headers.get("x-answered-by", "")
        self.location = headers.get("location", "")
        if self.pod:
            self.head = json.loads(raw["body"]) if raw["body"] else None
            return
        self.status = raw["status"] or None
        if raw["status"] == 200 and "grpc-status" in headers:
            self.grpc = int(headers["grpc-status"])

    def __repr__(self):
        return f"pod={self.pod!r} status={self.status} grpc={self.grpc} location={self.location!r} head={self.head}"


def fits(seen, outcome):
    """Whether this is what was seen."""
    if seen.pod:
        return outcome.allowed and outcome.status is None and outcome.pod == seen.pod and _head(seen, outcome)
    if outcome.allowed and outcome.status is None and outcome.pod:
        return False
    if seen.grpc is not None:
        return seen.grpc == _GRPC.get(outcome.status, 2)
    return seen.status == outcome.status and seen.location == outcome.location


def _head(seen, outcome):
    if outcome.seen is None or seen.head is None:
        return True
    target, authority, headers = outcome.seen
    said = {name: value for name, value in headers if name in _SHOWN}
    got = {name: value for name, value in seen.head["headers"].items() if name in _SHOWN}
    return (target, authority, said) == (seen.head["target"], seen.head["authority"], got)
