"""What must hold between the fields of one object; what needs a second object is meaning, and `mesh`'s.

Sources: the validation of core/v1, apps/v1 and batch/v1, what Envoy asks of certificates, and the CEL rules of
the Gateway API.
"""

from collections.abc import Callable, Iterator
from typing import Any

from retic import objects
from retic.objects import (
    authorizers,
    core,
    destination,
    discovery,
    gateway,
    limits,
    pods,
    routes,
    virtual_services,
    workloads,
)
from retic.sources import (
    checks_authorizers,
    checks_core,
    checks_destination,
    checks_limits,
    checks_pods,
    checks_routes,
    checks_virtual,
    validate,
)


def check(value: objects.Object) -> Iterator[validate.Fault]:
    """The faults of a well-typed object without defaults, as written."""
    for judge in _BY_KIND.get(type(value), ()):
        yield from judge(value)


_BY_KIND: dict[type[objects.Object], tuple[Callable[[Any], Iterator[validate.Fault]], ...]] = {
    core.Secret: (checks_core.secret,),
    core.Service: (checks_core.service,),
    discovery.EndpointSlice: (checks_core.endpoint_slice,),
    pods.Pod: (checks_pods.pod,),
    workloads.Deployment: (checks_pods.long_running, checks_pods.rolling),
    workloads.ReplicaSet: (checks_pods.long_running,),
    workloads.StatefulSet: (checks_pods.long_running,),
    workloads.DaemonSet: (checks_pods.long_running,),
    workloads.Job: (checks_pods.job,),
    workloads.CronJob: (checks_pods.cron_job,),
    gateway.Gateway: (checks_core.gateway,),
    routes.HTTPRoute: (checks_routes.http,),
    routes.GRPCRoute: (checks_routes.grpc,),
    destination.DestinationRule: (checks_destination.rule,),
    virtual_services.VirtualService: (checks_virtual.virtual_service,),
    authorizers.AuthorizationProvider: (checks_authorizers.provider,),
    limits.RateLimit: (checks_limits.rate_limit,),
}
