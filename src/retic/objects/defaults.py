"""Kubernetes' defaults: what an API server fills in, as one pure function on structs.

Sources: the kinds' v1 `SetDefaults_*`, the ServiceAccount admission plugin, and the kubebuilder defaults of
the Gateway API. Refuses to allocate (addresses, node ports, uids): that is done by whoever plays API server.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from retic.objects import (
    core,
    defaults_gateway,
    defaults_pods,
    discovery,
    gateway,
    kinds,
    meta,
    pods,
    routes,
    workloads,
)
from retic.objects.defaults_pods import fill


def apply(value: meta.Object) -> meta.Object:
    """The object as an API server would store it; applying twice changes nothing more.

    Namespace "default" for kinds that have one, "" for kinds that have none.
    """
    namespaced = kinds.KINDS[type(value).__name__].namespaced
    namespace = (value.metadata.namespace or "default") if namespaced else ""
    if namespace != value.metadata.namespace:
        value = msgspec.structs.replace(
            value, metadata=msgspec.structs.replace(value.metadata, namespace=namespace)
        )
    complete = _BY_KIND.get(type(value))
    return complete(value) if complete else value


def _namespace(value: core.Namespace) -> core.Namespace:
    labels = {**value.metadata.labels, "kubernetes.io/metadata.name": value.metadata.name}
    return core.Namespace(metadata=msgspec.structs.replace(value.metadata, labels=labels))


def _secret(value: core.Secret) -> core.Secret:
    text = {key: item.encode() for key, item in value.string_data.items()}
    return msgspec.structs.replace(
        value, type=value.type or "Opaque", data={**value.data, **text}, string_data={}
    )


def _service(value: core.Service) -> core.Service:
    spec = fill(value.spec, type="ClusterIP", session_affinity="None")
    if spec.session_affinity == "ClientIP":
        settings = spec.session_affinity_config or core.SessionAffinityConfig()
        client = fill(settings.client_ip or core.ClientIPConfig(), timeout_seconds=10800)
        spec = msgspec.structs.replace(
            spec, session_affinity_config=core.SessionAffinityConfig(client_ip=client)
        )
    if spec.type != "ExternalName":
        spec = fill(spec, internal_traffic_policy="Cluster", ip_family_policy="SingleStack")
    if spec.type in {"NodePort", "LoadBalancer"}:
        spec = fill(spec, external_traffic_policy="Cluster")
    ports = tuple(fill(port, protocol="TCP", target_port=port.port) for port in spec.ports)
    return msgspec.structs.replace(value, spec=msgspec.structs.replace(spec, ports=ports))


def _endpoint_slice(value: discovery.EndpointSlice) -> discovery.EndpointSlice:
    ports = tuple(fill(port, name="", protocol="TCP") for port in value.ports)
    return msgspec.structs.replace(value, ports=ports)


def _pod(value: pods.Pod) -> pods.Pod:
    return msgspec.structs.replace(value, spec=defaults_pods.spec(value.spec))


def _rolling(
    given: workloads.RollingUpdateDeployment | None, surge: int | str, unavailable: int | str
) -> workloads.RollingUpdateDeployment:
    return fill(
        given or workloads.RollingUpdateDeployment(), max_surge=surge, max_unavailable=unavailable
    )


def _deployment(value: workloads.Deployment) -> workloads.Deployment:
    strategy = fill(value.spec.strategy or workloads.DeploymentStrategy(), type="RollingUpdate")
    if strategy.type == "RollingUpdate":
        rolling = _rolling(strategy.rolling_update, "25%", "25%")
        strategy = msgspec.structs.replace(strategy, rolling_update=rolling)
    spec = fill(value.spec, replicas=1, revision_history_limit=10, progress_deadline_seconds=600)
    spec = msgspec.structs.replace(
        spec, strategy=strategy, template=defaults_pods.template(spec.template)
    )
    return msgspec.structs.replace(value, spec=spec)


def _replica_set(value: workloads.ReplicaSet) -> workloads.ReplicaSet:
    spec = fill(value.spec, replicas=1)
    return msgspec.structs.replace(
        value, spec=msgspec.structs.replace(spec, template=defaults_pods.template(spec.template))
    )


def _stateful_set(value: workloads.StatefulSet) -> workloads.StatefulSet:
    strategy = fill(value.spec.update_strategy or workloads.StatefulSetUpdateStrategy(), type="RollingUpdate")
    if strategy.type == "RollingUpdate":
        rolling = fill(strategy.rolling_update or workloads.RollingUpdateStatefulSet(), partition=0)
        strategy = msgspec.structs.replace(strategy, rolling_update=rolling)
    spec = fill(value.spec, replicas=1, revision_history_limit=10, pod_management_policy="OrderedReady")
    spec = msgspec.structs.replace(
        spec, update_strategy=strategy, template=defaults_pods.template(spec.template)
    )
    return msgspec.structs.replace(value, spec=spec)


def _daemon_set(value: workloads.DaemonSet) -> workloads.DaemonSet:
    strategy = fill(value.spec.update_strategy or workloads.DaemonSetUpdateStrategy(), type="RollingUpdate")
    if strategy.type == "RollingUpdate":
        rolling = _rolling(strategy.rolling_update, 0, 1)
        strategy = msgspec.structs.replace(strategy, rolling_update=rolling)
    spec = fill(value.spec, revision_history_limit=10)
    spec = msgspec.structs.replace(
        spec, update_strategy=strategy, template=defaults_pods.template(spec.template)
    )
    return msgspec.structs.replace(value, spec=spec)


def _job_spec(spec: workloads.JobSpec) -> workloads.JobSpec:
    if spec.completions is None and spec.parallelism is None:
        spec = fill(spec, completions=1)
    spec = fill(spec, parallelism=1, backoff_limit=6, completion_mode="NonIndexed", suspend=False)
    return msgspec.structs.replace(spec, template=defaults_pods.template(spec.template))


def _job(value: workloads.Job) -> workloads.Job:
    return msgspec.structs.replace(value, spec=_job_spec(value.spec))


def _cron_job(value: workloads.CronJob) -> workloads.CronJob:
    spec = fill(
        value.spec, concurrency_policy="Allow", suspend=False, successful_jobs_history_limit=3,
        failed_jobs_history_limit=1,
    )
    template = msgspec.structs.replace(spec.job_template, spec=_job_spec(spec.job_template.spec))
    return msgspec.structs.replace(value, spec=msgspec.structs.replace(spec, job_template=template))


_BY_KIND: dict[type[meta.Object], Callable[[Any], meta.Object]] = {
    core.Namespace: _namespace,
    core.Secret: _secret,
    core.Service: _service,
    pods.Pod: _pod,
    workloads.Deployment: _deployment,
    workloads.ReplicaSet: _replica_set,
    workloads.StatefulSet: _stateful_set,
    workloads.DaemonSet: _daemon_set,
    workloads.Job: _job,
    workloads.CronJob: _cron_job,
    discovery.EndpointSlice: _endpoint_slice,
    gateway.Gateway: defaults_gateway.gateway_object,
    routes.HTTPRoute: defaults_gateway.http_route,
    routes.GRPCRoute: defaults_gateway.grpc_route,
}
