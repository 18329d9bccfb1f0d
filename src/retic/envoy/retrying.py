"""Retries as Envoy's RetryPolicy: the mesh's own, and those that a route asks for.

The policy of a virtual host is the mesh's own; one of a route takes its place. How many of all requests may be second
attempts is a cluster's to say (`limits.retry_budget`). A request whose body is larger than what a connection may hold
(`limits.READ_BUFFER_BYTES`) is passed on as it comes, and not sent again.
"""

from collections.abc import Iterable

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.type.matcher.v3 import string_pb2

from retic.envoy import failures, limits, packing
from retic.mesh import route

Policy = route_components_pb2.RetryPolicy

# A connection that could not be made; HTTP/2's word that a request was not looked at; one that ended before an answer.
_CONNECT, _REFUSED, _RESET = "connect-failure", "refused-stream", "reset"
ON = (_CONNECT, _REFUSED, _RESET)


def own() -> Policy:
    """The mesh's own, for requests to a Service: again at another endpoint, if there is one."""
    policy = _policy(ON, limits.RETRIES)
    policy.retriable_request_headers.extend(_idempotent())
    return policy


def own_of_address() -> Policy:
    """The same for requests to one pod: where nothing listens nothing will, a moment later."""
    policy = Policy(retry_on=_words((_REFUSED, _RESET)))
    policy.num_retries.value = limits.RETRIES
    policy.retriable_headers.append(failures.said(reset=True))
    policy.retriable_request_headers.extend(_idempotent())
    return policy


def of_application() -> Policy:
    """For plaintext at a pod, where no caller's proxy tries again: a server that has just closed an idle connection."""
    policy = Policy(retry_on=",".join((_REFUSED, _RESET)))
    policy.num_retries.value = limits.RETRIES
    policy.retriable_request_headers.extend(_idempotent())
    return policy


def asked(wanted: route.Retries) -> Policy:
    """What a route asks for: of any method, since its author says that it may be done."""
    if not wanted.attempts:
        return Policy()  # takes the place of the mesh's own, and retries on nothing
    on = wanted.on if wanted.on or wanted.codes else ON
    policy = _policy(on, wanted.attempts)
    if wanted.codes:
        policy.retry_on = ",".join(filter(None, (policy.retry_on, "retriable-status-codes")))
        policy.retriable_status_codes.extend(wanted.codes)
    if wanted.try_timeout:
        policy.per_try_timeout.CopyFrom(limits.seconds(wanted.try_timeout))
    if wanted.backoff:
        policy.retry_back_off.base_interval.CopyFrom(limits.seconds(wanted.backoff))
        # Envoy doubles the pause up to there; ten times is what it does of itself.
        policy.retry_back_off.max_interval.CopyFrom(limits.seconds(10 * wanted.backoff))
    return policy


def _policy(on: Iterable[str], attempts: int) -> Policy:
    words = tuple(on)
    policy = Policy(retry_on=_words(words), host_selection_retry_max_attempts=limits.RETRY_CHOICES)
    policy.num_retries.value = attempts
    if _unanswered(words):
        policy.retriable_headers.append(failures.said(reset=_RESET in words))
    policy.retry_host_predicate.add(name="envoy.retry_host_predicates.previous_hosts").typed_config.CopyFrom(
        packing.pack(previous_hosts_pb2.PreviousHostsPredicate())
    )
    # Where all endpoints of the caller's zone were tried, those of the others are chosen from.
    policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
    policy.retry_priority.typed_config.CopyFrom(
        packing.pack(previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=1))
    )
    return policy


def _unanswered(words: tuple[str, ...]) -> bool:
    return _RESET in words or _CONNECT in words


def _words(words: tuple[str, ...]) -> str:
    return ",".join((*words, "retriable-headers") if _unanswered(words) else words)


def _idempotent() -> list[route_components_pb2.HeaderMatcher]:
    """One of these must match. Regular expressions take more memory, and this stands in every pod's listeners."""
    return [
        route_components_pb2.HeaderMatcher(name=":method", string_match=string_pb2.StringMatcher(exact=method))
        for method in limits.RETRY_METHODS
    ]
