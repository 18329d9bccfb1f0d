"""What every object has: metadata, owners, label selectors; and how Python names become Kubernetes names.

Structs hold only fields that somebody reads. An absent scalar is None, an absent list (), an absent map {}.
Maps are plain dicts and must never be changed.
"""

from typing import Annotated

import msgspec

from retic.objects import forms

_UPPER = {
    "ip": "IP", "ips": "IPs", "id": "ID", "pid": "PID", "ipc": "IPC", "fqdn": "FQDN", "cidr": "CIDR",
    "cidrs": "CIDRs",
}


def kubernetes_name(field: str) -> str:
    """`cluster_ips` -> `clusterIPs`, `http_get` -> `httpGet`, `from_` -> `from`."""
    first, *rest = field.rstrip("_").split("_")
    return first + "".join(_UPPER.get(word, word.capitalize()) for word in rest)


class Part(msgspec.Struct, frozen=True, omit_defaults=True, rename=kubernetes_name):
    """A value inside an object. Encoded, fields at their default are left out."""


class OwnerReference(Part, frozen=True):
    """Who made this object; `controller` marks the one that manages it."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(Part, frozen=True):
    """Name, labels and the like. `namespace` is "" for kinds without one, timestamps are RFC 3339."""

    name: str = ""
    namespace: str = ""
    generate_name: str | None = None
    labels: forms.Labels = msgspec.field(default_factory=dict)
    annotations: Annotated[dict[str, str], forms.Entries(key=forms.LABEL_KEY)] = msgspec.field(
        default_factory=dict
    )
    uid: str | None = None
    owner_references: tuple[OwnerReference, ...] = ()
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    generation: int | None = None


class LabelSelectorRequirement(Part, frozen=True):
    """One expression: `operator` In and NotIn want `values`, Exists and DoesNotExist want none."""

    key: Annotated[str, forms.LABEL_KEY]
    operator: Annotated[str, forms.one_of("In", "NotIn", "Exists", "DoesNotExist")]
    values: tuple[str, ...] = ()


class LabelSelector(Part, frozen=True):
    """Labels that must all match; an empty selector matches everything (meta/v1)."""

    match_labels: forms.Labels = msgspec.field(default_factory=dict)
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(labels.get(k) == v for k, v in self.match_labels.items()) and all(
            _holds(expression, labels) for expression in self.match_expressions
        )


def _holds(expression: LabelSelectorRequirement, labels: dict[str, str]) -> bool:
    present = expression.key in labels
    if expression.operator == "Exists":
        return present
    if expression.operator == "DoesNotExist":
        return not present
    listed = present and labels[expression.key] in expression.values
    return listed if expression.operator == "In" else not listed


class Condition(Part, frozen=True):
    """One condition of a status, as metav1.Condition and the older kinds' own have it."""

    type: str
    status: Annotated[str, forms.one_of("True", "False", "Unknown")]
    reason: str | None = None
    message: str | None = None
    last_transition_time: str | None = None
    last_update_time: str | None = None
    observed_generation: int | None = None


class Object(Part, frozen=True):
    """A top object: what `KINDS` lists and what has an `apiVersion` and a `kind` in JSON."""

    metadata: Metadata
