"""Everything that is installed, in the order in which it is applied: what others stand on first."""

from typing import Any

import msgspec
import yaml

from retic.install import names, template, values
from retic.install.parts import admission, base, config, controller, definitions, network, node, rights


class Entry(msgspec.Struct, frozen=True):
    """One object. `file` names its template in the chart; `needs` is an API that not every cluster has."""

    file: str
    tree: Any
    needs: str = ""


def entries() -> tuple[Entry, ...]:
    """All of it."""
    return (
        Entry("namespace", base.namespace()),
        Entry("priority", base.priority()),
        Entry("definitions", definitions.authorization_provider()),
        Entry("definitions", definitions.rate_limit()),
        Entry("definitions", definitions.telemetry_provider()),
        Entry("accounts", base.account(names.CONTROLLER, "controller")),
        Entry("accounts", base.account(names.NODE, "node")),
        *(Entry("rights", tree) for tree in rights.objects_of()),
        Entry("config", config.config_map()),
        *(Entry("network-policies", tree) for tree in network.policies()),
        # Before the pods: the kubelet tells them the Service's address when they start, and never again.
        Entry("controller", controller.service()),
        Entry("controller", controller.budget()),
        Entry("controller", controller.deployment()),
        Entry("node", node.daemon_set()),
        Entry("webhook", admission.webhook()),
        Entry("gateway-class", admission.gateway_class(), needs=f"{admission.GATEWAY_CLASS_API}/GatewayClass"),
    )


def render(given: values.Values) -> list[dict[str, Any]]:
    """The objects for these values."""
    filled = (template.fill([entry.tree], given) for entry in entries())
    return [value for one in filled for value in one]


def text(rendered: list[dict[str, Any]]) -> str:
    """The objects as YAML documents."""
    return yaml.safe_dump_all(rendered, sort_keys=False, explicit_start=True, width=110, allow_unicode=True)


def about(value: dict[str, Any]) -> str:
    """An object as messages name it: `Deployment retic-system/retic-controller`."""
    meta = value["metadata"]
    place = f"{meta['namespace']}/" if meta.get("namespace") else ""
    return f"{value['kind']} {place}{meta['name']}"
