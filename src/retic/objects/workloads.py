"""Kinds that make pods: Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob."""

from typing import Annotated

from retic.objects import forms, meta, pods


class RollingUpdateDeployment(meta.Part, frozen=True):
    """How many pods more or fewer than wanted while rolling: numbers or percentages."""

    max_surge: forms.Surge | None = None
    max_unavailable: forms.Surge | None = None


class DeploymentStrategy(meta.Part, frozen=True):
    """How new pods replace old ones."""

    type: Annotated[str | None, forms.one_of("RollingUpdate", "Recreate")] = None
    rolling_update: RollingUpdateDeployment | None = None


class DeploymentSpec(meta.Part, frozen=True):
    """What a Deployment wants."""

    selector: meta.LabelSelector
    template: pods.PodTemplateSpec
    replicas: forms.AtLeastZero | None = None
    strategy: DeploymentStrategy | None = None
    min_ready_seconds: forms.AtLeastZero | None = None
    revision_history_limit: forms.AtLeastZero | None = None
    progress_deadline_seconds: forms.AtLeastOne | None = None
    paused: bool | None = None


class DeploymentStatus(meta.Part, frozen=True):
    """What a Deployment has."""

    observed_generation: int | None = None
    replicas: int | None = None
    updated_replicas: int | None = None
    ready_replicas: int | None = None
    available_replicas: int | None = None
    unavailable_replicas: int | None = None
    conditions: tuple[meta.Condition, ...] = ()


class Deployment(meta.Object, frozen=True):
    """A Deployment."""

    spec: DeploymentSpec
    status: DeploymentStatus = DeploymentStatus()


class ReplicaSetSpec(meta.Part, frozen=True):
    """What a ReplicaSet wants. A template is needed in practice, though the API lets it be left out."""

    selector: meta.LabelSelector
    template: pods.PodTemplateSpec
    replicas: forms.AtLeastZero | None = None
    min_ready_seconds: forms.AtLeastZero | None = None


class ReplicaSetStatus(meta.Part, frozen=True):
    """What a ReplicaSet has."""

    observed_generation: int | None = None
    replicas: int | None = None
    fully_labeled_replicas: int | None = None
    ready_replicas: int | None = None
    available_replicas: int | None = None
    conditions: tuple[meta.Condition, ...] = ()


class ReplicaSet(meta.Object, frozen=True):
    """A ReplicaSet."""

    spec: ReplicaSetSpec
    status: ReplicaSetStatus = ReplicaSetStatus()


class RollingUpdateStatefulSet(meta.Part, frozen=True):
    """Pods with an ordinal from `partition` on are updated."""

    partition: forms.AtLeastZero | None = None
    max_unavailable: forms.Surge | None = None


class StatefulSetUpdateStrategy(meta.Part, frozen=True):
    """How pods of a StatefulSet are replaced."""

    type: Annotated[str | None, forms.one_of("RollingUpdate", "OnDelete")] = None
    rolling_update: RollingUpdateStatefulSet | None = None


class Ordinals(meta.Part, frozen=True):
    """The number of the first pod."""

    start: forms.AtLeastZero | None = None


class VolumeClaimTemplate(meta.Part, frozen=True):
    """A claim per pod; its name is the volume's."""

    metadata: meta.Metadata
    spec: forms.Raw | None = None


class StatefulSetSpec(meta.Part, frozen=True):
    """What a StatefulSet wants."""

    selector: meta.LabelSelector
    template: pods.PodTemplateSpec
    service_name: str | None = None
    replicas: forms.AtLeastZero | None = None
    pod_management_policy: Annotated[str | None, forms.one_of("OrderedReady", "Parallel")] = None
    update_strategy: StatefulSetUpdateStrategy | None = None
    min_ready_seconds: forms.AtLeastZero | None = None
    revision_history_limit: forms.AtLeastZero | None = None
    ordinals: Ordinals | None = None
    volume_claim_templates: tuple[VolumeClaimTemplate, ...] = ()
    persistent_volume_claim_retention_policy: forms.Raw | None = None


class StatefulSetStatus(meta.Part, frozen=True):
    """What a StatefulSet has."""

    observed_generation: int | None = None
    replicas: int | None = None
    ready_replicas: int | None = None
    available_replicas: int | None = None
    current_replicas: int | None = None
    updated_replicas: int | None = None
    current_revision: str | None = None
    update_revision: str | None = None
    conditions: tuple[meta.Condition, ...] = ()


class StatefulSet(meta.Object, frozen=True):
    """A StatefulSet."""

    spec: StatefulSetSpec
    status: StatefulSetStatus = StatefulSetStatus()


class DaemonSetUpdateStrategy(meta.Part, frozen=True):
    """How pods of a DaemonSet are replaced."""

    type: Annotated[str | None, forms.one_of("RollingUpdate", "OnDelete")] = None
    rolling_update: RollingUpdateDeployment | None = None


class DaemonSetSpec(meta.Part, frozen=True):
    """What a DaemonSet wants: one pod on each node that the template's node selector allows."""

    selector: meta.LabelSelector
    template: pods.PodTemplateSpec
    update_strategy: DaemonSetUpdateStrategy | None = None
    min_ready_seconds: forms.AtLeastZero | None = None
    revision_history_limit: forms.AtLeastZero | None = None


class DaemonSetStatus(meta.Part, frozen=True):
    """What a DaemonSet has."""

    observed_generation: int | None = None
    desired_number_scheduled: int | None = None
    current_number_scheduled: int | None = None
    updated_number_scheduled: int | None = None
    number_misscheduled: int | None = None
    number_ready: int | None = None
    number_available: int | None = None
    number_unavailable: int | None = None
    conditions: tuple[meta.Condition, ...] = ()


class DaemonSet(meta.Object, frozen=True):
    """A DaemonSet."""

    spec: DaemonSetSpec
    status: DaemonSetStatus = DaemonSetStatus()


class JobSpec(meta.Part, frozen=True):
    """What a Job wants. Times in seconds. From `pod_failure_policy` on: read to say what has no effect."""

    template: pods.PodTemplateSpec
    completions: forms.AtLeastZero | None = None
    parallelism: forms.AtLeastZero | None = None
    backoff_limit: forms.AtLeastZero | None = None
    active_deadline_seconds: forms.AtLeastZero | None = None
    ttl_seconds_after_finished: forms.AtLeastZero | None = None
    completion_mode: Annotated[str | None, forms.one_of("NonIndexed", "Indexed")] = None
    suspend: bool | None = None
    selector: meta.LabelSelector | None = None
    manual_selector: bool | None = None
    pod_failure_policy: forms.Raw | None = None
    success_policy: forms.Raw | None = None
    backoff_limit_per_index: forms.AtLeastZero | None = None
    max_failed_indexes: forms.AtLeastZero | None = None
    pod_replacement_policy: Annotated[str | None, forms.one_of("TerminatingOrFailed", "Failed")] = None
    managed_by: str | None = None


class JobStatus(meta.Part, frozen=True):
    """What became of a Job."""

    active: int | None = None
    ready: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    terminating: int | None = None
    start_time: str | None = None
    completion_time: str | None = None
    completed_indexes: str | None = None
    conditions: tuple[meta.Condition, ...] = ()


class Job(meta.Object, frozen=True):
    """A Job."""

    spec: JobSpec
    status: JobStatus = JobStatus()


class JobTemplateSpec(meta.Part, frozen=True):
    """What a CronJob makes Jobs of."""

    spec: JobSpec
    metadata: meta.Metadata = meta.Metadata()


class CronJobSpec(meta.Part, frozen=True):
    """When to start which Job. `schedule` has five fields, or is a word such as @hourly."""

    schedule: str
    job_template: JobTemplateSpec
    time_zone: str | None = None
    concurrency_policy: Annotated[str | None, forms.one_of("Allow", "Forbid", "Replace")] = None
    starting_deadline_seconds: forms.AtLeastZero | None = None
    suspend: bool | None = None
    successful_jobs_history_limit: forms.AtLeastZero | None = None
    failed_jobs_history_limit: forms.AtLeastZero | None = None


class JobReference(meta.Part, frozen=True):
    """A Job that a CronJob has started."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


class CronJobStatus(meta.Part, frozen=True):
    """What a CronJob runs, and when it last did something."""

    active: tuple[JobReference, ...] = ()
    last_schedule_time: str | None = None
    last_successful_time: str | None = None


class CronJob(meta.Object, frozen=True):
    """A CronJob."""

    spec: CronJobSpec
    status: CronJobStatus = CronJobStatus()
