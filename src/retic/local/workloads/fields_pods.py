"""Fields of a pod's spec that local mode does not carry out; each once for all containers that have it.

The paths of what is said are relative to the spec.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from retic.local.workloads import said
from retic.objects import pods, volume

_Said = Iterator[said.Said]


def of_spec(spec: pods.PodSpec) -> _Said:
    """What is to be said of the fields of a pod's spec."""
    places = _places(spec)
    yield from _isolation(spec, places)
    yield from _placement(spec)
    yield from _containers(spec, places)
    yield from _parts(spec, places)
    yield from _volumes(spec.volumes)


class _Place(msgspec.Struct, frozen=True):
    path: str
    container: pods.Container


_Places = tuple[_Place, ...]


def _places(spec: pods.PodSpec) -> _Places:
    lists = (("initContainers", spec.init_containers), ("containers", spec.containers))
    return tuple(_Place(f"{field}[{i}]", each) for field, items in lists for i, each in enumerate(items))


def _isolation(spec: pods.PodSpec, places: _Places) -> _Said:
    """What separates containers from their machine and from each other."""
    given = [("securityContext", spec.security_context)]
    given += [(f"{each.path}.securityContext", each.container.security_context) for each in places]
    wanted = {path: asked for path, raw in given if (asked := settings(raw or {}))}
    if wanted:
        words = ", ".join(dict.fromkeys(itertools.chain.from_iterable(wanted.values())))
        yield said.Said(
            next(iter(wanted)),
            f"without effect: {words}; containers are processes with the rights of whoever runs retic up",
        )
    if spec.host_users is False:
        yield said.Said("hostUsers", "containers get no user namespace of their own")
    if spec.runtime_class_name:
        yield said.Said("runtimeClassName", "containers are processes of this machine, whatever the runtime class")
    if spec.host_pid:
        yield said.Said("hostPID", "the pod sees its own processes only")
    limited = ["resources"] if spec.resources is not None and spec.resources.limits else []
    limited += [f"{e.path}.resources" for e in places if e.container.resources and e.container.resources.limits]
    if limited:
        yield said.Said(f"{limited[0]}.limits", "limits are not enforced: a container may take what this machine has")
    if spec.resource_claims:
        yield said.changed("resourceClaims", "no device is given to the pod", "give the pod a way to run without it")
    if spec.os is not None and spec.os.get("name", "linux") != "linux":
        yield said.changed("os", "the pod runs on Linux all the same", "take the pod away for local mode")


_AS_IS: dict[str, tuple[Any, ...]] = {
    "allowPrivilegeEscalation": (True,),
    "runAsNonRoot": (False,),
    "privileged": (False,),
    "readOnlyRootFilesystem": (False,),
    "procMount": ("Default",),
    "seccompProfile": ({"type": "Unconfined"},),
    "appArmorProfile": ({"type": "Unconfined"},),
}


def settings(context: dict[str, Any]) -> list[str]:
    """Names of what a securityContext asks for beyond what a process has anyway."""
    return [
        name
        for name, value in context.items()
        if value not in (None, "", [], {})
        and value not in _AS_IS.get(name, ())
        and not (name == "capabilities" and isinstance(value, dict) and not any(value.values()))
        and not name.endswith("Policy")  # how something else is applied
    ]


def _placement(spec: pods.PodSpec) -> _Said:
    """Where a pod may run, and when."""
    hard = [name for name, part in (spec.affinity or {}).items() if isinstance(part, dict) and _required(part)]
    if hard:
        message = f"{', '.join(hard)} is not looked at: pods are spread over the nodes that nodeSelector allows"
        yield said.Said("affinity", message, "use nodeSelector where the node matters")
    strict = [i for i, each in enumerate(spec.topology_spread_constraints) if _strict(each)]
    if strict:
        yield said.Said(
            f"topologySpreadConstraints[{strict[0]}]",
            "no pod waits for an even spread: pods of one owner are spread over nodes as they come",
        )
    if spec.scheduling_gates:
        yield said.changed("schedulingGates", "the pod does not wait for its gates: it starts at once", "remove them")
    if spec.hostname_override:
        name = spec.hostname_override
        yield said.changed("hostnameOverride", f"the pod's host name is not {name}", "write hostname, a single label")
    if spec.ephemeral_containers:
        yield said.changed("ephemeralContainers", "they are not started", "write a container, or use retic exec")


def _required(affinity: dict[str, Any]) -> bool:
    return bool(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))


def _strict(constraint: dict[str, Any]) -> bool:
    return bool(constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule")


def _first(places: _Places, field: str, wanted: Callable[[pods.Container], Any]) -> tuple[str, str] | None:
    """The path of `field` in the first container that `wanted` takes, and the names of all that it takes."""
    found = [each for each in places if wanted(each.container)]
    if not found:
        return None
    return f"{found[0].path}.{field}", ", ".join(each.container.name for each in found)


def _containers(spec: pods.PodSpec, places: _Places) -> _Said:
    """Fields of containers, each once for all of them."""
    if not spec.host_network and (ports := _host_ports(places)):
        yield ports
    if found := _first(places, "stdin", lambda c: c.stdin):
        yield said.changed(
            found[0], f"nobody can attach to a container: {found[1]} reads the end of its input at once",
            "write a command that does not wait for input",
        )
    if found := _first(places, "tty", lambda c: c.tty):
        message = f"{found[1]} gets no terminal: output goes to its log"
        yield said.Said(found[0], message, "use retic exec for a terminal")
    if found := _first(places, "volumeDevices", lambda c: c.volume_devices):
        yield said.changed(found[0], f"{found[1]} sees no block device", "use volumeMounts")
    if found := _first(places, "restartPolicyRules", lambda c: c.restart_policy_rules):
        message = f"rules are not looked at: {found[1]} follows the pod's restartPolicy"
        yield said.changed(found[0], message, "write restartPolicy for the pod")
    ordinary = {id(each) for each in spec.containers}
    if found := _first(places, "restartPolicy", lambda c: _own_restart(c, spec, ordinary=id(c) in ordinary)):
        message = f"{found[1]} follows the pod's restartPolicy"
        yield said.changed(found[0], message, "write restartPolicy for the pod")


def _own_restart(container: pods.Container, spec: pods.PodSpec, *, ordinary: bool) -> bool:
    """Whether a container asks for another policy than it gets (an init container: Always makes a sidecar)."""
    asked, pod = container.restart_policy, spec.restart_policy or "Always"
    if asked is None:
        return False
    if ordinary:
        return asked != pod
    return asked not in ("Always", "Never" if pod == "Never" else "OnFailure")


def _host_ports(places: _Places) -> said.Said | None:
    paths = [
        (f"{each.path}.ports[{i}].hostPort", port.host_port)
        for each in places
        for i, port in enumerate(each.container.ports)
        if port.host_port
    ]
    if not paths:
        return None
    ports = ", ".join(str(port) for _, port in paths)
    return said.changed(paths[0][0], f"port {ports} of this machine is not opened for the pod", said.GATEWAY)


def _parts(spec: pods.PodSpec, places: _Places) -> _Said:
    """What is in parts of containers: variables, mounts, probes."""
    for each in places:
        for i, variable in enumerate(each.container.env):
            if variable.value_from is not None and variable.value_from.file_key_ref is not None:
                path = f"{each.path}.env[{i}].valueFrom.fileKeyRef"
                yield said.changed(path, f"variable {variable.name} is empty: files are not read", "use a ConfigMap")
    mounts = [
        f"{each.path}.volumeMounts[{i}].mountPropagation"
        for each in places
        for i, mount in enumerate(each.container.volume_mounts)
        if mount.mount_propagation not in (None, "None")
    ]
    if mounts:
        yield said.Said(mounts[0], "mounts made later, by the pod or by this machine, are not passed on")
    probes = [
        f"{each.path}.{name}.terminationGracePeriodSeconds"
        for each in places
        for name, probe in (
            ("livenessProbe", each.container.liveness_probe),
            ("startupProbe", each.container.startup_probe),
        )
        if probe is not None and _other_grace(probe, spec)
    ]
    if probes:
        message = "a container that fails the probe has the pod's grace period to end"
        yield said.Said(probes[0], message, "write it for the pod")


def _other_grace(probe: pods.Probe, spec: pods.PodSpec) -> bool:
    return probe.termination_grace_period_seconds not in (None, spec.termination_grace_period_seconds)


def _volumes(items: tuple[volume.Volume, ...]) -> _Said:
    """What a folder of this machine is not."""
    empty = [(i, item.name, item.empty_dir) for i, item in enumerate(items) if item.empty_dir is not None]
    media = [(i, name) for i, name, source in empty if source.medium]
    if media:
        message = f"{_names(media)} is a folder below the mesh's state, whatever the medium"
        yield said.Said(f"volumes[{media[0][0]}].emptyDir.medium", message)
    bounded = [(i, name) for i, name, source in empty if source.size_limit not in (None, 0, "0")]
    if bounded:
        message = f"{_names(bounded)} may grow beyond its limit: no pod is evicted"
        yield said.Said(f"volumes[{bounded[0][0]}].emptyDir.sizeLimit", message)
    for i, item in enumerate(items):
        for j, part in enumerate(item.projected.sources if item.projected else ()):
            both = (("clusterTrustBundle", part.cluster_trust_bundle), ("podCertificate", part.pod_certificate))
            for field in (name for name, raw in both if raw is not None):
                path, message = f"volumes[{i}].projected.sources[{j}].{field}", f"no file is made in volume {item.name}"
                yield said.changed(path, message, "use a Secret or a ConfigMap")


def _names(found: list[tuple[int, str]]) -> str:
    return f"volume {', '.join(name for _, name in found)}"
