"""Who may read metrics on a cluster: whose token the API server knows, and whom RBAC lets `get` the path /metrics.

Only tokens for an audience of this purpose count. Whoever is shown one, and need not be who he seems, can do nothing
else with it: not call the API server, nor enrol.
"""

import asyncio
import collections
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog

from retic.identity import buckets
from retic.install import names
from retic.kube import claims, kept
from retic.sources import api

TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
AUDIENCE = names.METRICS_AUDIENCE
METRICS = {"path": "/metrics", "verb": "get"}
KEPT_SECONDS = 10.0
MOST_KEPT = 1024
GOOD_SECONDS, MOST_GOOD = 600.0, 256
AT_ONCE = 8
SECONDS = 5.0  # for an answer: Prometheus waits ten
PER_ASKER = buckets.Rate(burst=20, per_second=5)
"""Questions of one agent: it keeps answers itself, and what it asks beyond that somebody makes it ask."""
FOR_ALL = buckets.Rate(burst=200, per_second=20)
"""Tokens that the API server is asked about."""
log = structlog.get_logger(__name__)


class Readers:
    """Asks the API server, and keeps answers for some seconds. `now` in seconds, of any beginning."""

    def __init__(self, cluster: api.Api, now: Callable[[], float]) -> None:
        self._cluster = cluster
        self._kept = kept.Answers(self._ask, now, KEPT_SECONDS, most=MOST_KEPT, again=lambda _: True)
        self._now = now
        self._good: collections.OrderedDict[bytes, float] = collections.OrderedDict()
        self._askers = buckets.Buckets(PER_ASKER, now)
        self._all = buckets.Buckets(FOR_ALL, now, most=1)
        self._gate = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return "<Readers>"

    async def judge(self, token: str, asker: str) -> HTTPStatus:
        """OK, UNAUTHORIZED for a token that is nobody's, FORBIDDEN for one whose bearer lacks the right,
        SERVICE_UNAVAILABLE when the API server cannot be asked, or `asker` asks too often."""
        if not _is_for_us(token):
            return HTTPStatus.UNAUTHORIZED
        free = self._kept.knows(token) or self._was_good(token)
        if not free and not (self._askers.take(asker) and self._all.take("")):
            log.warning("too many questions about readers of metrics", asker=asker)
            return HTTPStatus.SERVICE_UNAVAILABLE
        try:
            async with asyncio.timeout(SECONDS):
                verdict = await self._kept.of(token)
        except (api.Error, OSError) as error:  # TimeoutError is an OSError
            # Its status and no more of its words: they may quote what was asked.
            status = error.status if isinstance(error, api.ApiError) else "no answer"
            log.warning("the API server could not be asked about a reader of metrics", status=status)
            return HTTPStatus.SERVICE_UNAVAILABLE

        if verdict is HTTPStatus.OK:
            self._remember(token)
        return verdict

    def _was_good(self, token: str) -> bool:
        """Whether it was good within the last minutes: then others' questions keep nobody from asking about it."""
        return self._good.get(kept.named(token), -GOOD_SECONDS) + GOOD_SECONDS > self._now()

    def _remember(self, token: str) -> None:
        name = kept.named(token)
        self._good.pop(name, None)
        self._good[name] = self._now()
        while len(self._good) > MOST_GOOD:
            self._good.popitem(last=False)

    async def _ask(self, token: str) -> HTTPStatus:
        async with self._gate:
            spec = {"token": token, "audiences": [AUDIENCE]}
            review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
            who = (await self._cluster.review(TOKENS, review)).get("status") or {}
            if who.get("authenticated") is not True or AUDIENCE not in (who.get("audiences") or ()):
                return HTTPStatus.UNAUTHORIZED
            body = {
                "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                "spec": {**_subject(who.get("user") or {}), "nonResourceAttributes": METRICS},
            }  # fmt: skip
            may = (await self._cluster.review(ACCESS, body)).get("status") or {}
        return HTTPStatus.OK if may.get("allowed") is True and not may.get("denied") else HTTPStatus.FORBIDDEN


def _is_for_us(token: str) -> bool:
    """Whether it says so of itself; the API server need not be asked about others."""
    try:
        return AUDIENCE in claims.read(token).audiences
    except claims.MalformedError:
        return False


def _subject(user: dict[str, Any]) -> dict[str, Any]:
    """The user of a TokenReview as a SubjectAccessReview has it."""
    found = {"user": user.get("username", ""), "uid": user.get("uid", ""), "groups": user.get("groups", ())}
    return {**{key: value for key, value in found.items() if value}, "extra": user.get("extra") or {}}
