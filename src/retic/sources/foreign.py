"""Kinds that Retic does not read: those that nobody misses, those that somebody may, and possible typos."""

import enum

import msgspec

from retic import objects
from retic.sources import nearest, traffic

_NAMES = """
    APIService CSIDriver CertificateSigningRequest ClusterRole ClusterRoleBinding ControllerRevision
    CustomResourceDefinition Event FlowSchema HorizontalPodAutoscaler IngressClass Kustomization Lease LimitRange
    MutatingWebhookConfiguration PersistentVolume PersistentVolumeClaim PodDisruptionBudget PodMonitor
    PodSecurityPolicy PodTemplate PriorityClass PriorityLevelConfiguration PrometheusRule ResourceQuota Role
    RoleBinding RuntimeClass ServiceMonitor StorageClass ValidatingAdmissionPolicy
    ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration VerticalPodAutoscaler VolumeAttachment
"""
_CLUSTER_ONLY = frozenset(_NAMES.split())


class Verdict(enum.Enum):
    """What a pair of apiVersion and kind is to Retic."""

    READ = "read"
    OTHER_VERSION = "a version that is not read"
    CLUSTER_ONLY = "known, and not needed"
    TRAFFIC = "known, and would decide about calls or pods"
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
    known, own = objects.KINDS.get(kind), group(api_version)
    if known is not None and api_version in known.api_versions:
        return Verdict.READ
    if traffic.lack(own, kind) is not None:
        return Verdict.TRAFFIC
    if known is None:
        return Verdict.CLUSTER_ONLY if kind in _CLUSTER_ONLY else Verdict.UNKNOWN
    kubernetes = "." not in own or own.endswith(".k8s.io")
    return Verdict.OTHER_VERSION if kubernetes or own == group(known.api_versions[0]) else Verdict.UNKNOWN


def meant(kind: str) -> str | None:
    """The kind that is read and that `kind` may be a misspelling of."""
    return nearest.word(kind, objects.KINDS) if kind not in objects.KINDS else None
