"""Legal fields of the API that Retic does not read: silent when present, so that only typos are reported.

Names are those of the Kubernetes 1.35 and Gateway API 1.4 references. A field moves out of here when a
struct gets it.
"""

from retic.objects import core, discovery, meta, pods, volume, workloads

_NAMES: dict[type[meta.Part], str] = {
    meta.Object: "apiVersion kind",
    meta.Metadata: (
        "selfLink resourceVersion deletionGracePeriodSeconds finalizers managedFields "
        "clusterName"
    ),
    meta.Condition: "lastProbeTime",
    core.Namespace: "spec status",
    core.NodeSpec: "providerID externalID configSource",
    core.NodeStatus: (
        "capacity allocatable phase conditions daemonEndpoints nodeInfo images volumesInUse volumesAttached "
        "config runtimeHandlers features declaredFeatures"
    ),
    core.ServiceAccount: "secrets imagePullSecrets automountServiceAccountToken",
    core.Service: "status",
    core.ServiceSpec: (
        "loadBalancerIP loadBalancerSourceRanges loadBalancerClass healthCheckNodePort "
        "allocateLoadBalancerNodePorts ipFamily topologyKeys"
    ),
    volume.VolumeMount: "recursiveReadOnly",
    pods.Resources: "claims",
    pods.Container: "imagePullPolicy terminationMessagePath terminationMessagePolicy resizePolicy",
    pods.PodSpec: (
        "tolerations priority priorityClassName preemptionPolicy schedulerName imagePullSecrets "
        "automountServiceAccountToken hostIPC overhead workloadRef schedulingGroup"
    ),
    pods.PodStatus: (
        "qosClass nominatedNodeName hostIPs ephemeralContainerStatuses resize observedGeneration "
        "resourceClaimStatuses extendedResourceClaimStatus allocatedResources resources"
    ),
    pods.ContainerStatus: (
        "allocatedResources allocatedResourcesStatus resources volumeMounts user stopSignal"
    ),
    workloads.DeploymentStatus: "collisionCount terminatingReplicas",
    workloads.ReplicaSetStatus: "terminatingReplicas",
    workloads.StatefulSetStatus: "collisionCount",
    workloads.VolumeClaimTemplate: "apiVersion kind status",
    workloads.DaemonSetStatus: "collisionCount",
    workloads.JobStatus: "failedIndexes uncountedTerminatedPods",
    workloads.JobReference: "fieldPath resourceVersion",
    discovery.Endpoint: "deprecatedTopology",
    discovery.TargetRef: "apiVersion resourceVersion fieldPath",
}


def names(struct: type[meta.Part]) -> frozenset[str]:
    """Kubernetes names of the legal fields that `struct` leaves out."""
    own = _NAMES.get(struct, "").split()
    top = _NAMES[meta.Object].split() if issubclass(struct, meta.Object) else []
    return frozenset([*own, *top])


def listed() -> tuple[type[meta.Part], ...]:
    """Every struct that leaves legal fields out."""
    return tuple(_NAMES)
