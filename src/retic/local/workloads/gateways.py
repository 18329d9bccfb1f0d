"""Gateways of Retic's classes: one pod each, with an account of its own, in which a proxy will run.

The pod has no command: whoever runs pods sees its annotation and starts an agent there instead. Which
listeners work and what they route is not decided here. GatewayClass `retic` exists by itself.
"""

from retic import findings
from retic.local.workloads import names, pods, world
from retic.objects import core, gateway, meta
from retic.objects import pods as structs

CONTROLLER = "retic.dev/gateway-controller"
CLASS = "retic"
LABEL = "gateway.networking.k8s.io/gateway-name"
CLASS_LABEL = "gateway.networking.k8s.io/gateway-class-name"
ROLE = "retic.dev/role"


def gateways(bench: world.Bench) -> None:
    """Make class, accounts and pods, and end the pods of Gateways that are no more."""
    built_in = findings.Ref("GatewayClass", "", CLASS)
    if built_in not in bench.given:
        bench.put(
            gateway.GatewayClass(
                metadata=meta.Metadata(name=CLASS, uid=names.uid(built_in)),
                spec=gateway.GatewayClassSpec(controller_name=CONTROLLER),
            )
        )
    else:
        bench.keep_only("GatewayClass", ())
    accounts: set[findings.Ref] = set()
    for value in bench.every("Gateway"):
        if not ours(bench, value):
            continue
        accounts.add(_account(bench, value))
        if not any(not pods.ending(pod) for pod in bench.owned("Pod", value)):
            _pod(bench, value)
    for key in [key for key in bench.made if key.kind == "ServiceAccount" and key.name != "default"]:
        if key not in accounts:
            bench.drop(key)


def ours(bench: world.Bench, value: gateway.Gateway) -> bool:
    """Whether the Gateway's class is one of Retic's."""
    found: gateway.GatewayClass | None = bench.get(findings.Ref("GatewayClass", "", value.spec.gateway_class_name))
    return found is not None and found.spec.controller_name == CONTROLLER


def _account(bench: world.Bench, value: gateway.Gateway) -> findings.Ref:
    key = findings.Ref("ServiceAccount", value.metadata.namespace, value.metadata.name)
    if key not in bench.given:
        bench.put(
            core.ServiceAccount(
                metadata=meta.Metadata(
                    name=key.name,
                    namespace=key.namespace,
                    uid=names.uid(key),
                    owner_references=(world.reference(value),),
                )
            )
        )
    return key


def _pod(bench: world.Bench, value: gateway.Gateway) -> None:
    name, space = value.metadata.name, value.metadata.namespace
    extra = value.spec.infrastructure
    labels = {LABEL: name, CLASS_LABEL: value.spec.gateway_class_name}
    template = structs.PodTemplateSpec(
        metadata=meta.Metadata(
            labels={**(extra.labels if extra else {}), **labels},
            annotations={**(extra.annotations if extra else {}), ROLE: "gateway"},
        ),
        spec=structs.PodSpec(
            containers=(structs.Container(name="proxy"),),
            service_account_name=name,
            restart_policy="Always",
        ),
    )
    unique = names.generated(f"{name}-{CLASS}-", space, bench.serial(pods.ref(value)))
    bench.create_pod(value, template, unique, space)


def is_gateway(pod: structs.Pod) -> bool:
    """Whether a pod is one that was made here."""
    owner = pods.controller(pod)
    return owner is not None and owner.kind == "Gateway" and pod.metadata.annotations.get(ROLE) == "gateway"
