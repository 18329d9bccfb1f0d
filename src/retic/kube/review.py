"""TokenReviews: the API server says whose a token is. Each is asked once in a while, and few at a time."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from retic.identity import attest
from retic.kube import kept
from retic.sources import api

AUDIENCE = "retic.dev"
PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
KEPT_SECONDS = 10.0  # an answer counts so long; a pod that goes meanwhile is noticed by the objects
MOST_KEPT = 1024
AT_ONCE = 8
_PREFIX = "authentication.kubernetes.io/"


class Reviewed(msgspec.Struct, frozen=True):
    """Whose a good token is. `account` is NAMESPACE/NAME; `node` is "" with API servers before 1.30."""

    account: str
    pod: str
    pod_uid: str
    node: str


class Reviews:
    """Asks, and keeps answers by the token's hash for some seconds. `now` in seconds, of any beginning."""

    def __init__(self, cluster: api.Api, now: Callable[[], float], *, audience: str = AUDIENCE) -> None:
        self._cluster = cluster
        self._audience = audience
        self._kept = kept.Answers(self._ask, now, KEPT_SECONDS, most=MOST_KEPT, again=_nobody_answered)
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.asked = 0

    def __repr__(self) -> str:
        return f"<Reviews: {self.asked} asked>"

    async def of(self, token: str) -> Reviewed:
        """Whose it is. RefusedError when it is no good, or when the API server cannot be asked."""
        return await self._kept.of(token)

    async def _ask(self, token: str) -> Reviewed:
        spec = {"token": token, "audiences": [self._audience]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        async with self._gate:
            self.asked += 1
            try:
                answer = await self._cluster.review(PATH, body)
            except api.Error as error:
                # Not the error's own words: they are the API server's, and the caller is anybody.
                status = error.status if isinstance(error, api.ApiError) else "no answer"
                raise attest.RefusedError(
                    f"the API server could not be asked about the token ({status}): try again",
                    attest.Reason.UNAVAILABLE,
                ) from None
        return self._read(answer.get("status") or {})

    def _read(self, status: dict[str, Any]) -> Reviewed:
        if status.get("authenticated") is not True:
            raise attest.RefusedError(
                "the API server refuses the token: it has ended, is not for the audience retic.dev, or its pod is gone",
                attest.Reason.TOKEN,
            )
        if self._audience not in (status.get("audiences") or ()):
            raise attest.RefusedError(f"the token is not for the audience {self._audience}", attest.Reason.AUDIENCE)
        user = status.get("user") or {}
        kind, _, account = str(user.get("username", "")).partition("serviceaccount:")
        if kind != "system:" or account.count(":") != 1:
            raise attest.RefusedError("the token is no service account's", attest.Reason.ACCOUNT)
        extra = user.get("extra") or {}
        pod, uid, node = (_one(extra.get(_PREFIX + name)) for name in ("pod-name", "pod-uid", "node-name"))
        return Reviewed(account.replace(":", "/"), pod, uid, node)


def _nobody_answered(error: BaseException) -> bool:
    """Whether the API server has not said that the token is no good: then it is asked again."""
    return not (isinstance(error, attest.RefusedError) and error.reason is not attest.Reason.UNAVAILABLE)


def _one(values: Any) -> str:
    return str(values[0]) if isinstance(values, list) and len(values) == 1 else ""
