"""Namespaces and service accounts: those that a cluster has by itself, and those that a pod must find.

A namespace that is used and not declared is made, with a finding: Kubernetes would refuse its objects. A
service account that is named and missing is not made: the pod is not created, as in Kubernetes.
"""

from retic import findings
from retic.local.workloads import names, pods, world
from retic.objects import core, meta
from retic.objects import pods as structs

ALWAYS = ("default", "kube-system")


def defaults(bench: world.Bench) -> None:
    """Make the namespaces in use, and a service account `default` in each."""
    used = {key.namespace: key for key in sorted(bench.given, reverse=True) if key.namespace}
    declared = {key.name for key in bench.given if key.kind == "Namespace"}
    for name in sorted({*ALWAYS, *used} - declared):
        key = findings.Ref("Namespace", "", name)
        bench.put(
            core.Namespace(
                metadata=meta.Metadata(
                    name=name,
                    labels={"kubernetes.io/metadata.name": name},
                    uid=names.uid(key),
                )
            )
        )
        if name not in ALWAYS:
            bench.fault(
                "RT0107",
                used[name],
                "metadata.namespace",
                f"the namespace {name} is not declared; a cluster refuses objects in it unless it has it already",
                f"add a Namespace named {name}",
            )
    spaces = {*ALWAYS, *used, *declared}
    bench.keep_only("Namespace", (findings.Ref("Namespace", "", name) for name in spaces - declared))
    wanted = [findings.Ref("ServiceAccount", name, "default") for name in sorted(spaces)]
    wanted = [key for key in wanted if key not in bench.given]
    for key in wanted:
        bench.put(
            core.ServiceAccount(
                metadata=meta.Metadata(
                    name="default",
                    namespace=key.namespace,
                    uid=names.uid(key),
                )
            )
        )
    gateways = [key for key in bench.made if key.kind == "ServiceAccount" and key.name != "default"]
    bench.keep_only("ServiceAccount", [*wanted, *gateways])


def exists(bench: world.Bench, owner: meta.Object, spec: structs.PodSpec) -> bool:
    """Whether the pod's service account exists; reports RT0103 on `owner` when not."""
    name = spec.service_account_name or "default"
    key = findings.Ref("ServiceAccount", owner.metadata.namespace, name)
    if bench.get(key) is not None:
        return True
    top = _top(bench, owner)
    bench.fault(
        "RT0103",
        pods.ref(top),
        f"{pods.spec_path(pods.ref(top).kind)}.serviceAccountName",
        f"the ServiceAccount {key.namespace}/{name} does not exist, so the pod is not created",
        f"add a ServiceAccount named {name} in namespace {key.namespace}, or take the line away",
    )
    return False


def _top(bench: world.Bench, owner: meta.Object) -> meta.Object:
    """The object that a manifest holds: a Deployment for its ReplicaSet, a CronJob for its Job."""
    above = pods.controller(owner)
    if above is None:
        return owner
    found = bench.get(findings.Ref(above.kind, owner.metadata.namespace, above.name))
    return owner if found is None else found
