"""Volumes of a pod, and where they are mounted. Sources that local mode cannot make are kept raw."""

from typing import Annotated

import msgspec

from retic.objects import forms, meta


class KeyToPath(meta.Part, frozen=True):
    """One key of a ConfigMap or Secret as a file; `path` is relative to the volume."""

    key: Annotated[str, forms.DATA_KEY]
    path: str
    mode: Annotated[int | None, forms.Range(0, 0o777)] = None


class ConfigMapSource(meta.Part, frozen=True):
    """A ConfigMap as files; without `items` every key is a file."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: Annotated[int | None, forms.Range(0, 0o777)] = None
    optional: bool | None = None


class SecretSource(meta.Part, frozen=True):
    """A Secret as files; without `items` every key is a file."""

    secret_name: str | None = None
    items: tuple[KeyToPath, ...] = ()
    default_mode: Annotated[int | None, forms.Range(0, 0o777)] = None
    optional: bool | None = None


class ObjectFieldSelector(meta.Part, frozen=True):
    """A field of the pod itself, such as `metadata.name` or `status.podIP`."""

    field_path: str
    api_version: str | None = None


class ResourceFieldSelector(meta.Part, frozen=True):
    """A resource of a container, such as `limits.cpu`."""

    resource: str
    container_name: str | None = None
    divisor: forms.Quantity | None = None


class DownwardFile(meta.Part, frozen=True):
    """A field of the pod as a file."""

    path: str
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    mode: Annotated[int | None, forms.Range(0, 0o777)] = None


class DownwardSource(meta.Part, frozen=True):
    """Fields of the pod as files."""

    items: tuple[DownwardFile, ...] = ()
    default_mode: Annotated[int | None, forms.Range(0, 0o777)] = None


class SecretProjection(meta.Part, frozen=True):
    """A Secret within a projected volume (here its field is `name`)."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None


class TokenProjection(meta.Part, frozen=True):
    """A service account token within a projected volume; it holds for 600 seconds at least."""

    path: str
    audience: str | None = None
    expiration_seconds: Annotated[int | None, forms.Range(600, 1 << 32)] = None


class Projection(meta.Part, frozen=True):
    """One source of a projected volume."""

    config_map: ConfigMapSource | None = None
    secret: SecretProjection | None = None
    downward_api: DownwardSource | None = msgspec.field(
        default=None, name="downwardAPI"
    )
    service_account_token: TokenProjection | None = None
    cluster_trust_bundle: forms.Raw | None = None
    pod_certificate: forms.Raw | None = None


class ProjectedSource(meta.Part, frozen=True):
    """Several sources in one folder."""

    sources: tuple[Projection, ...] = ()
    default_mode: Annotated[int | None, forms.Range(0, 0o777)] = None


class EmptyDirSource(meta.Part, frozen=True):
    """A folder that lives as long as the pod."""

    medium: str | None = None
    size_limit: forms.Quantity | None = None


class Volume(meta.Part, frozen=True):
    """One volume. With no source at all it is an emptyDir; `other_sources` tells what else was asked for."""

    name: forms.Name
    empty_dir: EmptyDirSource | None = None
    config_map: ConfigMapSource | None = None
    secret: SecretSource | None = None
    projected: ProjectedSource | None = None
    downward_api: DownwardSource | None = msgspec.field(default=None, name="downwardAPI")
    host_path: forms.Raw | None = None
    persistent_volume_claim: forms.Raw | None = None
    ephemeral: forms.Raw | None = None
    csi: forms.Raw | None = None
    nfs: forms.Raw | None = None
    image: forms.Raw | None = None
    iscsi: forms.Raw | None = None
    fc: forms.Raw | None = None
    rbd: forms.Raw | None = None
    cephfs: forms.Raw | None = None
    cinder: forms.Raw | None = None
    glusterfs: forms.Raw | None = None
    flex_volume: forms.Raw | None = None
    flocker: forms.Raw | None = None
    git_repo: forms.Raw | None = None
    aws_elastic_block_store: forms.Raw | None = msgspec.field(default=None, name="awsElasticBlockStore")
    gce_persistent_disk: forms.Raw | None = None
    azure_disk: forms.Raw | None = None
    azure_file: forms.Raw | None = None
    vsphere_volume: forms.Raw | None = None
    quobyte: forms.Raw | None = None
    portworx_volume: forms.Raw | None = None
    scale_io: forms.Raw | None = msgspec.field(default=None, name="scaleIO")
    storageos: forms.Raw | None = None
    photon_persistent_disk: forms.Raw | None = None

    @property
    def other_sources(self) -> tuple[str, ...]:
        """Kubernetes names of the sources that are kept raw, such as `hostPath`."""
        fields = msgspec.structs.fields(self)
        return tuple(field.encode_name for field in fields if isinstance(getattr(self, field.name), dict))


class VolumeMount(meta.Part, frozen=True):
    """Where a container sees a volume."""

    name: str
    mount_path: Annotated[str, forms.MOUNT_PATH]
    sub_path: str | None = None
    sub_path_expr: str | None = None
    read_only: bool | None = None
    mount_propagation: Annotated[str | None, forms.one_of("None", "HostToContainer", "Bidirectional")] = None
