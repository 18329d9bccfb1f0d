"""Golden folders of a cluster's controllers: from manifests to statuses, and to what is made for Gateways, as text.

A case is a folder with `in.yaml`. Expected are `status.yaml`, by object, and `made.yaml`. Every Gateway has an address
and a proxy that has acknowledged everything; nodes have not.
"""

import pathlib
from typing import Any

import yaml

from retic import objects, wiring
from retic.kube import gateways, live, requests, settings, status_class, status_gateway, status_policy, status_route
from retic.mesh import gateways as mesh_gateways
from retic.mesh import governed, tables, verdicts
from retic.objects import gateway, routes
from retic.sources import manifests, model

_NOW = "2030-01-01T00:00:00Z"
_TOLD = settings.Settings(image="retic:1", pod="controller")
_NETWORKS = ("10.43.0.0/16",)
_ADDRESS = status_gateway.Addresses((("IPAddress", "10.43.0.9"),))
_ALL, _NONE = live.Live(1, 1), live.Live(0, 2)


class Case:
    """One folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.loaded = manifests.load([folder / "in.yaml"])
        self.db = wiring.offline([located.object for located in self.loaded.objects])

    def expected(self) -> dict[str, str]:
        """What the folder holds now, by path within it."""
        files = [self.folder / name for name in ("made.yaml", "status.yaml")]
        return {file.name: file.read_text() for file in files if file.exists()}

    def actual(self) -> dict[str, str]:
        """What it should hold, made anew."""
        statuses: dict[str, Any] = {}
        made: list[Any] = []
        for located in self.loaded.objects:
            found = self._status(located.object)
            if found:
                statuses[str(model.ref(located.object))] = found
            if isinstance(located.object, gateway.Gateway):
                made += self._made(located.object)
        return {"status.yaml": _dump(statuses), "made.yaml": _dump(made)}

    def _status(self, value: objects.Object) -> Any:
        ref = model.ref(value)
        key = tables.Key(ref.namespace, ref.name)
        if isinstance(value, gateway.GatewayClass) and value.spec.controller_name == tables.CONTROLLER:
            return status_class.merged({}, status_class.wanted(value, "v1.6.1"), generation=1, now=_NOW)
        if isinstance(value, gateway.Gateway):
            found = status_gateway.wanted(self.db, key, self._asked(value), _ADDRESS, _ALL)
            return status_gateway.merged({}, found, generation=1, now=_NOW) if found else None
        if isinstance(value, routes.HTTPRoute | routes.GRPCRoute):
            parents = self.db.ask(verdicts.parents, ref)
            far = {p.target: _ALL if p.target.kind == "Gateway" else _NONE for p in parents}
            entries = status_route.wanted(self.db, ref, far)
            return status_route.merged({}, entries, namespace=ref.namespace, generation=1, now=_NOW)
        if ref.kind in governed.POLICIES:
            reported = [each for each in self.loaded.findings if each.object == str(ref)]
            stands = status_policy.wanted(self.db, ref, reported, _ALL)
            return status_policy.merged({}, stands, generation=1, now=_NOW)
        return None

    def _asked(self, value: gateway.Gateway) -> requests.Asked | requests.Problem:
        return requests.read(value, _NETWORKS, _TOLD.service_type)

    def _made(self, value: gateway.Gateway) -> list[Any]:
        asked = self._asked(value)
        if isinstance(asked, requests.Problem) or not self.db.ask(mesh_gateways.ours, value.spec.gateway_class_name):
            return []
        return gateways.wanted(value, asked, gateways.Control("10.43.0.2", "(roots)"), _TOLD)


def _dump(value: Any) -> str:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump(value, Dumper=Plain, sort_keys=True, width=110, allow_unicode=True)
