"""Fields without effect: those of which a finding says so, and those that are passed over and why.

By the names of the structs in `retic.objects`. `tools/reference.py` makes the columns of
docs/reference/manifests.md of it, and refuses a field that nobody reads and that stands nowhere here. The
tests take `SAID` as the list of manifests that must have a finding.
"""

# What a finding of that code says of the field: always, or where its value asks for more than happens.
SAID: dict[str, dict[str, str]] = {
    "NodeSpec": {"RT0503": "taints unschedulable"},
    "ConfigMap": {"RT0507": "immutable"},
    "Secret": {"RT0507": "immutable"},
    "ServiceSpec": {
        "RT0108": "ipFamilies ipFamilyPolicy",
        "RT0110": "externalIPs",
        "RT0507": "externalTrafficPolicy",
    },
    "ClientIPConfig": {"RT0523": "timeoutSeconds"},
    "ServicePort": {"RT0503": "nodePort"},
    "PodSpec": {
        "RT0503": "hostNetwork schedulingGates resourceClaims ephemeralContainers hostnameOverride os",
        "RT0507": (
            "securityContext resources affinity topologySpreadConstraints hostUsers hostPID runtimeClassName"
        ),
    },
    "Container": {
        "RT0503": "stdin volumeDevices restartPolicyRules",
        "RT0507": "securityContext tty",
    },
    "EnvVarSource": {"RT0503": "fileKeyRef"},
    "ContainerPort": {"RT0503": "hostPort hostIP"},
    "Probe": {"RT0507": "terminationGracePeriodSeconds"},
    "VolumeMount": {"RT0507": "mountPropagation"},
    "Resources": {"RT0507": "limits"},
    "Volume": {
        "RT0503": (
            "csi nfs image iscsi fc rbd cephfs cinder glusterfs flexVolume flocker gitRepo awsElasticBlockStore "
            "gcePersistentDisk azureDisk azureFile vsphereVolume quobyte portworxVolume scaleIO storageos "
            "photonPersistentDisk"
        ),
    },
    "EmptyDirSource": {"RT0507": "medium sizeLimit"},
    "Projection": {"RT0503": "clusterTrustBundle podCertificate"},
    "DeploymentSpec": {"RT0507": "progressDeadlineSeconds"},
    "StatefulSetSpec": {"RT0507": "persistentVolumeClaimRetentionPolicy"},
    "RollingUpdateStatefulSet": {"RT0507": "maxUnavailable"},
    "JobSpec": {
        "RT0503": "podFailurePolicy successPolicy backoffLimitPerIndex maxFailedIndexes managedBy",
        "RT0507": "podReplacementPolicy",
    },
    "Endpoint": {"RT0110": "hints"},
    "TelemetrySpec": {"RT0804": "metrics"},
    "Tracing": {"RT0805": "useRequestIdForTraceSampling enableIstioTags"},
    "CustomTag": {"RT0805": "environment formatter"},
    "GatewayClassSpec": {"RT0308": "parametersRef"},
    "GatewaySpec": {"RT0308": "addresses tls allowedListeners backendTLS defaultScope"},
    "ListenerTLS": {"RT0308": "options", "RT0307": "frontendValidation"},
    "GatewayInfrastructure": {"RT0308": "parametersRef"},
    "HTTPRouteSpec": {"RT0205": "useDefaultGateways"},
    "SessionPersistence": {"RT0521": "idleTimeout"},
    "HTTPRouteFilter": {"RT0205": "extensionRef cors externalAuth"},
    "GRPCRouteSpec": {"RT0205": "useDefaultGateways"},
    "TrafficPolicy": {"RT0707": "tunnel proxyProtocol retryBudget"},
    "OutlierDetection": {"RT0707": "consecutiveErrors"},
    "TCPSettings": {"RT0707": "idleTimeout"},
    "HTTPSettings": {"RT0707": "h2UpgradePolicy"},
    "TLS": {
        "RT0707": (
            "clientCertificate privateKey caCertificates caCrl credentialName subjectAltNames sni insecureSkipVerify"
        ),
    },
    "DestinationRuleSpec": {"RT0704": "workloadSelector"},
    "GRPCRouteFilter": {"RT0205": "extensionRef"},
    "VirtualServiceSpec": {"RT0554": "tls tcp"},
    "HTTPMatchRequest": {"RT0548": "statPrefix"},
    "HTTPRetry": {"RT0548": "retryRemoteLocalities retryIgnorePreviousHosts"},
    "Delay": {"RT0548": "exponentialDelay"},
    "Abort": {"RT0548": "http2Error"},
}

# Structs that stand within such fields only.
WITHIN: dict[str, str] = {
    "SessionAffinityConfig": "RT0110",
    "ClientIPConfig": "RT0110",
    "EndpointHints": "RT0110",
    "ZoneHint": "RT0110",
    "ParametersReference": "RT0308",
    "GatewayAddress": "RT0308",
    "LocalParametersReference": "RT0308",
    "LocalObjectReference": "RT0205",
    "CORS": "RT0205",
    "Metrics": "RT0804",
    "MetricsOverride": "RT0804",
    "MetricSelector": "RT0804",
    "TagOverride": "RT0804",
    "Environment": "RT0805",
    "Formatter": "RT0805",
}

# Why nothing is said, and of which fields.
SILENT: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "a cluster writes it, manifests do not",
        {
            "Metadata": "selfLink resourceVersion managedFields deletionGracePeriodSeconds",
            "NodeSpec": "configSource externalID podCIDR podCIDRs providerID",
            "TargetRef": "apiVersion fieldPath resourceVersion",
            "VolumeClaimTemplate": "apiVersion kind status",
        },
    ),
    (
        "clusters of today take no notice of it either",
        {"Metadata": "clusterName", "ServiceSpec": "ipFamily topologyKeys", "Endpoint": "deprecatedTopology"},
    ),
    ("an object without a name is a finding anyway ([RT0007](../findings.md#rt0007))", {"Metadata": "generateName"}),
    ("nothing holds up the end of an object", {"Metadata": "finalizers", "Namespace": "spec"}),
    ("it is for people to read", {"GatewayClassSpec": "description", "HTTPRouteRule": "name", "GRPCRouteRule": "name",
      "VirtualHTTPRoute": "name", "HTTPMatchRequest": "name"}),
    (
        "no image is pulled: a container without a command is a finding ([RT0501](../findings.md#rt0501))",
        {
            "Container": "image imagePullPolicy",
            "PodSpec": "imagePullSecrets",
            "ServiceAccount": "imagePullSecrets",
        },
    ),
    (
        "there is no API server to which a mounted token would open the door",
        {"PodSpec": "automountServiceAccountToken", "ServiceAccount": "automountServiceAccountToken secrets"},
    ),
    (
        "the finding on `type` says that nothing outside reaches the Service ([RT0503](../findings.md#rt0503))",
        {
            "ServiceSpec": (
                "allocateLoadBalancerNodePorts healthCheckNodePort loadBalancerClass loadBalancerIP "
                "loadBalancerSourceRanges"
            )
        },
    ),
    ("the one address is `clusterIP`", {"ServiceSpec": "clusterIPs"}),
    (
        "pods do not compete for room: all are started (`requests` can be read by `resourceFieldRef`)",
        {"PodSpec": "overhead preemptionPolicy priority priorityClassName", "Resources": "requests"},
    ),
    ("no node keeps pods away by taints", {"PodSpec": "tolerations"}),
    (
        "there is one scheduler, and it waits for nothing",
        {"PodSpec": "schedulerName schedulingGroup workloadRef"},
    ),
    (
        "it is so in any case: containers of a pod share their view of processes, and all share the IPC namespace",
        {"PodSpec": "shareProcessNamespace hostIPC"},
    ),
    ("the finding on `stdin` says it", {"Container": "stdinOnce"}),
    ("the finding on `resourceClaims` says it", {"Resources": "claims"}),
    ("statuses have no such text", {"Container": "terminationMessagePath terminationMessagePolicy"}),
    ("no running pod is resized", {"Container": "resizePolicy"}),
    ("volumes hold no mounts of their own", {"VolumeMount": "recursiveReadOnly"}),
    ("a claim is a folder, whatever its class and size", {"VolumeClaimTemplate": "spec"}),
    ("only one value is possible", {"ObjectFieldSelector": "apiVersion"}),
    (
        "no old revision is kept to go back to",
        {"StatefulSetSpec": "revisionHistoryLimit", "DaemonSetSpec": "revisionHistoryLimit"},
    ),
    ("a Job knows its pods by their owner, which finds the same ones", {"JobSpec": "selector manualSelector"}),
)

def said(struct: str, field: str) -> str:
    """The code of the finding that says that the field has no effect; "" when none does."""
    if struct in WITHIN:
        return WITHIN[struct]
    return next((code for code, names in SAID.get(struct, {}).items() if field in names.split()), "")


def silent(struct: str, field: str) -> int:
    """The number, from 1, of the reason why nothing is said of a field without effect; 0: there is none."""
    found = (number for number, (_, by) in enumerate(SILENT, start=1) if field in by.get(struct, "").split())
    return next(found, 0)


def named() -> set[tuple[str, str]]:
    """Every struct and field that stands in a list here."""
    by_struct = [(struct, names) for struct, codes in SAID.items() for names in codes.values()]
    by_struct += [pair for _, by in SILENT for pair in by.items()]
    return {(struct, field) for struct, names in by_struct for field in names.split()}
