"""retic.dev/v1alpha1, RateLimit: how many requests may be made, by whom, of what.

`matches` have the form of those of an HTTPRoute's rule (Gateway API, HTTPRouteMatch).
"""

from typing import Annotated

from retic.objects import forms, meta, routes
from retic.objects import security as policies

GROUP = "retic.dev"

MOST_REQUESTS = 1_000_000_000
"""The most that a limit may allow in its time, and hold in its bucket."""

Number = Annotated[int, forms.Range(1, MOST_REQUESTS)]
Unit = Annotated[str, forms.one_of("second", "minute", "hour")]
Scope = Annotated[str | None, forms.one_of("Local", "Global")]


class LimitTarget(meta.Part, frozen=True):
    """What is limited, in the RateLimit's namespace: a Service or a pod's calls by its labels are limited where they
    arrive; an HTTPRoute where it is followed, at the caller's proxy or at the gateway; a Gateway where requests enter.
    `section_name` is the name of one rule of an HTTPRoute."""

    kind: Annotated[str, forms.one_of("Service", "HTTPRoute", "Gateway")]
    name: forms.Subdomain
    group: str | None = None
    section_name: forms.Subdomain | None = None


class LimitMatch(meta.Part, frozen=True):
    """What of a request must hold together: the parts of an HTTPRoute's match, but for the query."""

    path: routes.HTTPPathMatch | None = None
    headers: tuple[routes.HeaderMatch, ...] = ()
    method: routes.Method = None


class LimitBy(meta.Part, frozen=True):
    """Who has a bucket of his own: each service account that calls (`identity`), each value of these headers, each
    address that connections come from. Several of them: each combination. Nothing: all share one."""

    identity: bool | None = None
    headers: tuple[forms.HeaderName, ...] = ()
    address: bool | None = None


class Limit(meta.Part, frozen=True):
    """`requests` in a time (`per`). `burst` is what a local bucket holds, `requests` when left out. Without `matches`
    every request counts. `scope` Local (the default) counts in each proxy by itself, Global in one place for all.
    `dry_run`: counted, refused to nobody. `fail_closed`: what cannot be counted globally is refused, not let pass."""

    requests: Number
    per: Unit
    burst: Annotated[int | None, forms.Range(1, MOST_REQUESTS)] = None
    by: LimitBy | None = None
    matches: tuple[LimitMatch, ...] = ()
    scope: Scope = None
    dry_run: bool | None = None
    fail_closed: bool | None = None


class RateLimitSpec(meta.Part, frozen=True):
    """For pods by their labels, or for targets; for all pods of the namespace when neither is said."""

    limits: tuple[Limit, ...]
    selector: policies.WorkloadSelector | None = None
    target_refs: tuple[LimitTarget, ...] = ()


class RateLimit(meta.Object, frozen=True):
    """Limits for what is in its namespace."""

    spec: RateLimitSpec
    status: forms.Raw | None = None
