"""The environment of a container: Services, ConfigMaps, Secrets, the pod's own fields, literal values.

Order and expansion follow kubelet's makeEnvironmentVariables: Services first, `envFrom` over them, `env` over
both, `$(VAR)` seeing what stands before it. What is missing and not optional raises `Missing`.
"""

import math
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from retic import findings
from retic.local.kubelet import variables
from retic.objects import core, volume
from retic.objects import pods as structs

Look = Callable[[findings.Ref], Any | None]
_PATH = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]\Z")
_UNITS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
}


class Missing(Exception):  # noqa: N818
    """Something that the container needs is not there; the message says what."""


def base(hostname: str) -> dict[str, str]:
    """What every process gets: PATH, HOME and LANG of this machine, HOSTNAME as the kernel has it."""
    return {
        # First the interpreter that runs the mesh, so that `python3` is the one with its packages.
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ.get('PATH', '/usr/local/bin:/usr/bin:/bin')}",
        "HOME": os.environ.get("HOME", "/"),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "HOSTNAME": hostname,
    }


def of(pod: structs.Pod, container: structs.Container, look: Look, services: Iterable[core.Service]) -> dict[str, str]:
    """All variables but the base ones. Raises Missing."""
    links = {} if pod.spec.enable_service_links is False else service_links(services)
    known: dict[str, str] = {}
    for source in container.env_from:
        known |= _whole(pod, source, look)
    for variable in container.env:
        value = _value(pod, container, variable, look, {**links, **known})
        if value is not None:
            known[variable.name] = value
    return {**links, **known}


def _whole(pod: structs.Pod, source: structs.EnvFrom, look: Look) -> dict[str, str]:
    kind, ref = ("ConfigMap", source.config_map_ref) if source.config_map_ref else ("Secret", source.secret_ref)
    if ref is None:
        return {}
    found = look(findings.Ref(kind, pod.metadata.namespace, ref.name))
    if found is None:
        if ref.optional:
            return {}
        raise Missing(f'{kind.lower()} "{ref.name}" not found')
    prefix = source.prefix or ""
    return {prefix + key: text(value) for key, value in found.data.items()}


def text(value: str | bytes) -> str:
    """A value of a ConfigMap or Secret as text."""
    return value if isinstance(value, str) else value.decode(errors="surrogateescape")


def _value(
    pod: structs.Pod, container: structs.Container, variable: structs.EnvVar, look: Look, known: dict[str, str]
) -> str | None:
    """None when what it refers to is optional and missing: the variable is then not set at all."""
    source = variable.value_from
    if source is None:
        return variables.expand(variable.value or "", known)
    if source.field_ref is not None:
        return field(pod, source.field_ref.field_path)
    if source.resource_field_ref is not None:
        return resource(pod, container, source.resource_field_ref)
    kind, ref = (
        ("ConfigMap", source.config_map_key_ref) if source.config_map_key_ref else ("Secret", source.secret_key_ref)
    )
    if ref is None:
        return ""
    found = look(findings.Ref(kind, pod.metadata.namespace, ref.name))
    if found is not None and ref.key in found.data:
        return text(found.data[ref.key])
    if ref.optional:
        return None
    if found is None:
        raise Missing(f'{kind.lower()} "{ref.name}" not found')
    raise Missing(f"couldn't find key {ref.key} in {kind} {pod.metadata.namespace}/{ref.name}")


def field(pod: structs.Pod, path: str) -> str:
    """A field of the pod, such as `metadata.name`. Raises Missing for one that cannot be read so."""
    keyed = _PATH.match(path)
    if keyed is not None:
        return str(getattr(pod.metadata, keyed[1]).get(keyed[2], ""))
    simple = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.podIP": pod.status.pod_ip,
        "status.hostIP": pod.status.host_ip,
        "status.podIPs": ",".join(item.ip for item in pod.status.pod_ips),
        "status.hostIPs": pod.status.host_ip,
    }
    if path in ("metadata.labels", "metadata.annotations"):
        values: dict[str, str] = getattr(pod.metadata, path.partition(".")[2])
        return "\n".join(f'{key}="{_quoted(value)}"' for key, value in sorted(values.items()))
    if path not in simple:
        raise Missing(f"the field {path} cannot be read; a pod's name, namespace, labels or address can")
    return simple[path] or ""


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def quantity(value: str | float) -> float:
    """A Kubernetes quantity, such as 500m or 64Mi, as a number. Raises Missing when it is none."""
    if not isinstance(value, str):
        return float(value)
    found = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)([a-zA-Z]*)", value)
    if found is None or found[2] not in _UNITS:
        raise Missing(f"{value} is not a quantity")
    return float(found[1]) * _UNITS[found[2]]


def resource(pod: structs.Pod, container: structs.Container, ref: volume.ResourceFieldSelector) -> str:
    """A limit or request of a container, rounded up to its divisor; without a limit, what the machine has."""
    named = next((item for item in pod.spec.containers if item.name == ref.container_name), container)
    kind, _, name = ref.resource.partition(".")
    found = named.resources or structs.Resources()
    value: str | float | None = found.limits.get(name) if kind == "limits" else found.requests.get(name)
    if value is None and kind == "limits":
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        value = {"cpu": os.cpu_count() or 1, "memory": memory}.get(name, 0)
    divisor = quantity(ref.divisor) if ref.divisor not in (None, "0", 0) else 1.0
    return str(math.ceil(quantity(value or 0) / divisor - 1e-9))


def service_links(services: Iterable[core.Service]) -> dict[str, str]:
    """The variables of Services with an address, as Docker links had them (kubelet/envvars)."""
    out: dict[str, str] = {}
    for service in services:
        address = service.spec.cluster_ip
        if not address or address == "None" or not service.spec.ports:
            continue
        name = service.metadata.name.upper().replace("-", "_")
        first = service.spec.ports[0]
        out[f"{name}_SERVICE_HOST"] = address
        out[f"{name}_SERVICE_PORT"] = str(first.port)
        out[f"{name}_PORT"] = f"{(first.protocol or 'TCP').lower()}://{address}:{first.port}"
        for port in service.spec.ports:
            protocol = (port.protocol or "TCP").upper()
            if port.name:
                out[f"{name}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
            prefix = f"{name}_PORT_{port.port}_{protocol}"
            out[prefix] = f"{protocol.lower()}://{address}:{port.port}"
            out[f"{prefix}_PROTO"] = protocol.lower()
            out[f"{prefix}_PORT"] = str(port.port)
            out[f"{prefix}_ADDR"] = address
    return out
