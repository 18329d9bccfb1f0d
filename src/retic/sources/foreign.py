"""Kinds that Retic does not read: those that a cluster has anyway, and those that may be typos."""

import enum

import msgspec

from retic import objects
from retic.sources import nearest

_NAMES = """
    APIService BackendTLSPolicy CSIDriver CertificateSigningRequest ClusterRole ClusterRoleBinding
    ControllerRevision CustomResourceDefinition Endpoints Event FlowSchema HorizontalPodAutoscaler Ingress
    IngressClass Kustomization Lease LimitRange MutatingWebhookConfiguration NetworkPolicy PersistentVolume
    PersistentVolumeClaim PodDisruptionBudget PodMonitor PodSecurityPolicy PodTemplate PriorityClass
    PriorityLevelConfiguration PrometheusRule ReplicationController ResourceQuota Role RoleBinding
    RuntimeClass ServiceMonitor StorageClass TCPRoute TLSRoute UDPRoute ValidatingAdmissionPolicy
    ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration VerticalPodAutoscaler VolumeAttachment
"""
_CLUSTER_ONLY = frozenset(_NAMES.split())


class Verdict(enum.Enum):
    """What a pair of apiVersion and kind is to Retic."""

    READ = "read"
    OTHER_VERSION = "a version that is not read"
    CLUSTER_ONLY = "known, and not needed"
    UNKNOWN = "unknown"


class Foreign(msgspec.Struct, frozen=True):
    """An object of a kind that is not read. `group` "" is the core group."""

    kind: str
    group: str
    line: int
    verdict: Verdict

    @property
    def label(self) -> str:
        """The kind as a user would name it, with its group."""
        return f"{self.kind} ({self.group})" if self.group else self.kind


def group(api_version: str) -> str:
    """`apps` of `apps/v1`; "" of `v1`."""
    return api_version.rpartition("/")[0]


def judge(api_version: str, kind: str) -> Verdict:
    """A kind of ours in a group that is not Kubernetes' own is somebody else's kind, not a wrong version."""
    known = objects.KINDS.get(kind)
    if known is None:
        return Verdict.CLUSTER_ONLY if kind in _CLUSTER_ONLY else Verdict.UNKNOWN
    if api_version in known.api_versions:
        return Verdict.READ
    own = group(api_version)
    kubernetes = "." not in own or own.endswith(".k8s.io")
    return Verdict.OTHER_VERSION if kubernetes else Verdict.UNKNOWN


def meant(kind: str) -> str | None:
    """The kind that is read and that `kind` may be a misspelling of."""
    return nearest.word(kind, objects.KINDS) if kind not in objects.KINDS else None
