"""Nodes and which of them a pod goes to, and the pod's address there.

A node is chosen by name or by labels, then by how few pods of the same owner, and how few at all, it has.
Taints, affinity and resources are not looked at. A pod that no node takes stays Pending, with a finding.
"""

from collections import Counter

import msgspec

from retic import findings
from retic.local.workloads import addresses, names, pods, times, world
from retic.objects import core, meta
from retic.objects import pods as structs

HOSTNAME = "kubernetes.io/hostname"
replace = msgspec.structs.replace


def nodes(bench: world.Bench) -> None:
    """Make a Node for each node of the mesh; a Node manifest of its name adds labels, zone among them."""
    wanted = []
    for number, name in enumerate(bench.nodes, start=1):
        key = findings.Ref("Node", "", name)
        written = bench.given.get(key)
        labels = {"kubernetes.io/os": "linux", HOSTNAME: name}
        labels |= written.metadata.labels if written else {}
        bench.put(
            core.Node(
                metadata=meta.Metadata(
                    name=name,
                    labels=labels,
                    annotations=written.metadata.annotations if written else {},
                    uid=names.uid(key),
                    creation_timestamp=None,
                )
            )
        )
        bench.cursors.setdefault(name, 0)
        wanted.append(key)
        assert number <= 254, "pod networks are 10.244.1.0/24 to 10.244.254.0/24"
    bench.keep_only("Node", wanted)


def labels(bench: world.Bench, node: str) -> dict[str, str]:
    """The labels of a node; {} when it does not exist."""
    found: core.Node | None = bench.made.get(findings.Ref("Node", "", node))
    return {} if found is None else found.metadata.labels


def fits(bench: world.Bench, spec: structs.PodSpec, node: str) -> bool:
    """Whether the pod's node name and node selector allow this node."""
    if spec.node_name is not None and spec.node_name != node:
        return False
    has = labels(bench, node)
    return all(has.get(key) == value for key, value in spec.node_selector.items())


def place(bench: world.Bench) -> None:
    """Give each pod without one a node and an address, in the order in which the pods were made."""
    everybody: list[structs.Pod] = [value for key, value in sorted(bench.made.items()) if key.kind == "Pod"]
    waiting = [pod for pod in everybody if not pod.status.pod_ip and not pods.ending(pod) and not pods.terminal(pod)]
    if not waiting:
        return
    load = Counter(pod.spec.node_name for pod in everybody if pod.status.pod_ip and not pods.terminal(pod))
    family = Counter(_family(pod) for pod in everybody if pod.status.pod_ip and pods.active(pod))
    taken = {pod.status.pod_ip for pod in everybody if pod.status.pod_ip}
    for pod in waiting:
        options = [node for node in bench.nodes if fits(bench, pod.spec, node)]
        if not options:
            _stuck(bench, pod, _why(bench, pod))
            continue
        node = min(options, key=lambda node: (family[(node, *_family(pod)[1:])], load[node], bench.nodes.index(node)))
        number = bench.nodes.index(node) + 1
        address = addresses.pod(number, {ip for ip in taken if ip}, bench.cursors.get(node, 0))
        if address is None:
            _stuck(bench, pod, f"{node} has no free address (253 pods at most)")
            continue
        bench.cursors[node] = int(address.rpartition(".")[2])
        placed = _bound(bench, pod, node, number, address)
        bench.put(placed)
        taken.add(address)
        load[node] += 1
        family[_family(placed)] += 1


def _family(pod: structs.Pod) -> tuple[str | None, str, str]:
    owner = pods.controller(pod)
    return (pod.spec.node_name, pod.metadata.namespace, owner.uid if owner else pod.metadata.name)


def _bound(bench: world.Bench, pod: structs.Pod, node: str, number: int, address: str) -> structs.Pod:
    stamp = times.stamp(bench.now)
    status = replace(
        pod.status,
        phase="Pending",
        reason=None,
        message=None,
        pod_ip=address,
        pod_ips=(structs.PodIP(ip=address),),
        host_ip=f"172.31.255.{10 + number}",
        start_time=stamp,
        conditions=(meta.Condition(type="PodScheduled", status="True", last_transition_time=stamp),),
    )
    return replace(pod, spec=replace(pod.spec, node_name=node), status=status)


def _why(bench: world.Bench, pod: structs.Pod) -> str:
    if pod.spec.node_name is not None and pod.spec.node_name not in bench.nodes:
        return f"there is no node {pod.spec.node_name}; the nodes are {', '.join(bench.nodes)}"
    wanted = ", ".join(f"{key}={value}" for key, value in sorted(pod.spec.node_selector.items()))
    return f"no node has the labels {wanted}"


def _stuck(bench: world.Bench, pod: structs.Pod, why: str) -> None:
    top: meta.Object = pod
    while pods.ref(top) not in bench.given and (owner := pods.controller(top)) is not None:
        found = bench.get(findings.Ref(owner.kind, pod.metadata.namespace, owner.name))
        if found is None:
            break
        top = found
    path = pods.spec_path(pods.ref(top).kind)
    path += ".nodeName" if pod.spec.node_name is not None else ".nodeSelector" if pod.spec.node_selector else ""
    bench.fault(
        "RT0506",
        pods.ref(top),
        path,
        f"pod {pod.metadata.name} stays Pending: {why}",
        "start more nodes (--nodes), give a Node manifest these labels, or change the pod's node selector",
    )
    bench.put(
        pods.ready_replaced(
            pod,
            "PodScheduled",
            status="False",
            reason="Unschedulable",
            message=why,
            last_transition_time=None,
        )
    )
