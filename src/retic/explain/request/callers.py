"""Who sends the request: a pod of a workload, a pod, a gateway, a service account, or somebody outside."""

import msgspec

from retic import findings
from retic.explain.request.answer import Asked, Unclear
from retic.explain.request.world import World, key_of
from retic.mesh import network, service, tables, workloads

_KINDS = {
    "deploy": "Deployment", "deployment": "Deployment", "rs": "ReplicaSet", "replicaset": "ReplicaSet",
    "sts": "StatefulSet", "statefulset": "StatefulSet", "ds": "DaemonSet", "daemonset": "DaemonSet", "job": "Job",
    "cronjob": "CronJob",
}  # fmt: skip
_FORMS = "deploy/NAME, pod/NAME, gateway/NAME, sa/NAME, sts/NAME, ds/NAME or job/NAME"
_HASH = "pod-template-hash"


class Caller(msgspec.Struct, frozen=True):
    """`identity` "" for one without the mesh's TLS; `address` "" when unknown. `gateway`: it sends as gateways do,
    to backends, without the routes of a mesh. `ref`: what was named. `uid`: the pod's, "" for no pod in particular."""

    words: str
    namespace: str
    identity: str
    address: str
    ref: findings.Ref | None = None
    gateway: bool = False
    uid: str = ""

    @property
    def meshed(self) -> bool:
        """Whether its node's proxy takes what it sends."""
        return bool(self.identity)


def find(world: World, asked: Asked) -> Caller:
    """Raises Unclear for one that is not there."""
    if not asked.source:
        return Caller("somebody outside the mesh", "", "", asked.address)
    word, slash, name = asked.source.partition("/")
    if not slash or not name:
        raise Unclear(f"--from {asked.source} names nobody: write {_FORMS}")
    match word.lower():
        case "pod" | "po" | "pods":
            return _pod(world, asked, findings.Ref("Pod", asked.namespace, name))
        case "sa" | "serviceaccount":
            return _account(world, asked, name)
        case "gateway" | "gtw":
            return gateway(world, asked, tables.Key(asked.namespace, name))
    kind = _KINDS.get(word.lower())
    if kind is None:
        raise Unclear(f"--from {asked.source} names nobody: write {_FORMS}")
    return _workload(world, asked, findings.Ref(kind, asked.namespace, name))


def _workload(world: World, asked: Asked, ref: findings.Ref) -> Caller:
    for pod, value in world.pods(ref.namespace):
        template = value.metadata.labels.get(_HASH)
        owners = set(_owners(world, pod))
        if ref in owners or (
            ref.kind == "Deployment" and findings.Ref("ReplicaSet", ref.namespace, f"{ref.name}-{template}") in owners
        ):
            return msgspec.structs.replace(_pod(world, asked, pod), ref=ref)
    if ref in world.objects:
        raise Unclear(f"{ref} has no pod, so nobody can send as it: retic analyze may say why")
    raise Unclear(f"there is no {ref}{_there(world, ref)}")


def _owners(world: World, ref: findings.Ref) -> list[findings.Ref]:
    found: list[findings.Ref] = []
    at = world.owner(ref)
    while at is not None and at not in found:
        found.append(at)
        at = world.owner(at)
    return found


def _there(world: World, ref: findings.Ref) -> str:
    same = [one.name for one in sorted(world.objects) if one.kind == ref.kind and one.namespace == ref.namespace]
    if same:
        return f"; there are {', '.join(same[:8])}"
    elsewhere = sorted(one.namespace for one in world.objects if one.kind == ref.kind and one.name == ref.name)
    return f"; there is one in namespace {elsewhere[0]}: choose it with -n {elsewhere[0]}" if elsewhere else ""


def _pod(world: World, asked: Asked, ref: findings.Ref) -> Caller:
    found = world.db.ask(workloads.workload, tables.Key(ref.namespace, ref.name))
    if found is None:
        if ref in world.objects:
            raise Unclear(f"{ref} has no node or is over, so it sends nothing: retic analyze may say why")
        raise Unclear(f"there is no {ref}{_there(world, ref)}")
    if found.role is service.Role.GATEWAY:
        value = world.db.get(tables.PODS, key_of(found))
        name = value.metadata.labels.get(tables.GATEWAY_LABEL, "") if value is not None else ""
        return gateway(world, asked, tables.Key(ref.namespace, name))
    meshed = found.captured and found.role in (service.Role.WORKLOAD, service.Role.OUTSIDE)
    identity = _identity(world, ref.namespace, found.account) if meshed else ""
    who = identity or f"without the mesh's TLS: {_why_not(found)}"
    return Caller(f"{ref}, {who}", ref.namespace, identity, asked.address or found.address, ref, uid=found.uid)


def _why_not(found: service.Workload) -> str:
    if found.role is service.Role.STRANGER:
        return "it uses the host's network"
    return "it is not in the mesh" if found.role is service.Role.OUTSIDE else "its node's proxy does not take it yet"


def _account(world: World, asked: Asked, name: str) -> Caller:
    ref = findings.Ref("ServiceAccount", asked.namespace, name)
    if ref not in world.objects and not any(
        (value.spec.service_account_name or "default") == name for _, value in world.pods(asked.namespace)
    ):
        raise Unclear(f"there is no {ref}{_there(world, ref)}")
    identity = _identity(world, asked.namespace, name)
    return Caller(f"{ref}, {identity}", asked.namespace, identity, asked.address, ref)


def gateway(world: World, asked: Asked, key: tables.Key) -> Caller:
    """A Gateway as the sender. Raises Unclear when it is not there, or none of Retic's."""
    ref = findings.Ref("Gateway", key.namespace, key.name)
    if ref not in world.objects:
        raise Unclear(f"there is no {ref}{_there(world, ref)}")
    accounts = world.db.ask(workloads.accounts_of_gateway, key)
    if not accounts:
        raise Unclear(f"{ref} has no pod: nobody can send as it")
    account = min(accounts)
    identity = _identity(world, account.namespace, account.name)
    return Caller(f"{ref}, {identity}", key.namespace, identity, address_of(world, key), ref, gateway=True)


def address_of(world: World, key: tables.Key) -> str:
    """The address of a gateway's pod, "" when it has none."""
    for pod in sorted(world.db.find(tables.PODS_BY_GATEWAY, key)):
        found = world.db.ask(workloads.workload, pod)
        if found is not None and found.address:
            return found.address
    return ""


def _identity(world: World, namespace: str, account: str) -> str:
    settings = world.db.ask(workloads.settings, tables.ONE)
    return network.identity(settings.trust_domain, namespace, account)
