"""Makes and mends what Gateways need in their namespaces, with server-side apply, only where something differs.

What is deleted with its Gateway is the API server's to delete (owner references). Here goes what a Gateway that
lives does not want any more: a disruption budget, a Service without ports, and a Service whose cluster IP, which
cannot be changed, is to be another.
"""

from typing import Any

import structlog

from retic import findings, graph
from retic.identity import clock
from retic.kube import differences, gateways, leading, naming, owned, requests, settings, status_gateway, work
from retic.mesh import gateways as mesh_gateways
from retic.mesh import tables, workloads
from retic.objects import gateway
from retic.sources import api, store

Json = dict[str, Any]
log = structlog.get_logger(__name__)

SELECTOR = f"{naming.GATEWAY_LABEL},{naming.MANAGED_LABEL}={naming.MANAGED_BY}"
COLLECTIONS = {kind: path.replace("/namespaces/{}", "") for kind, path in gateways.PATHS.items()}
_NOT_NOW = 2.0  # seconds until a Service that had to go is made anew
_CONFLICT, _REFUSED = 409, (400, 403, 422)


class GatewayWriter:
    """`done` is called with a Gateway's key when what is known of its Service may have changed."""

    def __init__(
        self, client: leading.Client, mesh: graph.Graph, kept: store.Store, told: settings.Settings,
        roots: gateways.Roots, time: clock.Clock, done: gateways.Told,
    ) -> None:  # fmt: skip
        self._api, self._mesh, self._kept, self._told, self._roots, self._done = client, mesh, kept, told, roots, done
        self._time = time
        self.made = owned.Owned(client, COLLECTIONS, SELECTOR, self._changed)
        self.queue = work.Queue("gateways", self._write, time)
        self._rate = work.Rate(20, 40, time)
        self._refused: dict[tables.Key, str] = {}

    def asked(self, value: gateway.Gateway) -> requests.Asked | requests.Problem:
        """What a Gateway asks for."""
        networks = self._mesh.ask(workloads.settings, tables.ONE).service_networks
        return requests.read(value, networks, self._told.service_type, self._told.gateway_replicas)

    def addresses(self, key: tables.Key) -> status_gateway.Addresses:
        """Where a Gateway is reached: what the load balancer gave, else its Service's cluster IP."""
        found = self.made.get(owned.Key("Service", key.namespace, naming.child(key.name)))
        refused = self._refused.get(key, "")
        if found is None:
            return status_gateway.Addresses((), refused)
        entries = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        values = [("IPAddress", e["ip"]) if e.get("ip") else ("Hostname", e.get("hostname", "")) for e in entries]
        cluster = found["spec"].get("clusterIP", "")
        value = self._gateway(key)
        asked = self.asked(value) if value is not None else None
        wants_cluster = isinstance(asked, requests.Asked) and asked.cluster_ip
        if cluster and (not values or wants_cluster):
            values.append(("IPAddress", cluster))
        return status_gateway.Addresses(tuple(pair for pair in values if pair[1]), refused)

    def _gateway(self, key: tables.Key) -> gateway.Gateway | None:
        value = self._kept.objects.get(findings.Ref("Gateway", key.namespace, key.name))
        if not isinstance(value, gateway.Gateway) or value.metadata.deletion_timestamp:
            return None
        return value if self._mesh.ask(mesh_gateways.ours, value.spec.gateway_class_name) else None

    def _changed(self, key: owned.Key) -> None:
        found = self.made.get(key)
        marks = (found["metadata"].get("annotations") or {}) if found else {}
        name = marks.get(tables.GATEWAY_ANNOTATION)
        names = [name] if name else [
            ref.name for ref in self._kept.objects
            if ref.kind == "Gateway" and ref.namespace == key.namespace and naming.child(ref.name) == key.name
        ]  # fmt: skip
        for each in names:
            gateway_key = tables.Key(key.namespace, each)
            self.queue.add(gateway_key)
            self._done(gateway_key)

    async def _write(self, key: tables.Key) -> None:
        await self.made.synced()
        value = self._gateway(key)
        if value is None:
            await self._drop(key)
            return
        asked = self.asked(value)
        if isinstance(asked, requests.Problem):
            return  # what there is stays as it is until the Gateway is mended
        control = self._control()
        wanted = gateways.wanted(value, asked, control, self._told)
        refused = ""
        for each in wanted:
            try:
                await self._apply(each)
            except api.ApiError as error:
                if error.status not in _REFUSED:
                    raise
                refused = f"{each['kind']} {each['metadata']['name']}: {error.message}"
        await self._prune(key, wanted)
        self._note(key, refused)
        if refused:
            raise work.AgainError(work.LONGEST)

    def _control(self) -> gateways.Control:
        ref = findings.Ref("Service", self._told.namespace, self._told.service)
        found: Any = self._kept.objects.get(ref)
        if found is None or not found.spec.cluster_ip or found.spec.cluster_ip == "None":
            raise api.UnreachableError(f"there is no {ref} with a cluster IP, by which gateways find the controller")
        return gateways.Control(found.spec.cluster_ip, self._roots().decode())

    def _note(self, key: tables.Key, refused: str) -> None:
        if self._refused.get(key, "") != refused:
            if refused:
                self._refused[key] = refused
                log.warning("an object of a Gateway was refused", gateway=f"{key.namespace}/{key.name}", reason=refused)
            else:
                del self._refused[key]
            self._done(key)

    async def _apply(self, wanted: Json) -> None:
        meta = wanted["metadata"]
        key = owned.Key(wanted["kind"], meta["namespace"], meta["name"])
        path = f"{gateways.PATHS[key.kind].format(key.namespace)}/{key.name}"
        present = self.made.get(key)
        if present is not None and differences.has(present, wanted):
            return
        if present is not None and self._must_go(present, wanted):
            await self._rate.take()
            await self._api.delete(path)
            self.made.put(key, None)
            raise work.AgainError(_NOT_NOW)
        if present is None and await self._foreign(path):
            text = f"{key.kind} {key.namespace}/{key.name} is there and was not made by Retic: rename it or the Gateway"
            raise api.ApiError(_REFUSED[0], "AlreadyExists", text)
        await self._rate.take()
        self.made.put(key, await self._api.apply(path, wanted))
        self._changed(key)

    async def _foreign(self, path: str) -> bool:
        """Whether an object of that name is somebody else's: it is not ours to take over."""
        try:
            found = await self._api.get(path)
        except api.ApiError as error:
            if error.status == 404:
                return False
            raise
        marks = found["metadata"].get("labels") or {}
        return bool(marks.get(naming.MANAGED_LABEL) != naming.MANAGED_BY or naming.GATEWAY_LABEL not in marks)

    def _must_go(self, present: Json, wanted: Json) -> bool:
        if wanted["kind"] == "Service":
            address = wanted["spec"].get("clusterIP")
            return bool(address) and present["spec"].get("clusterIP") != address
        if wanted["kind"] == "Deployment":  # its selector cannot be changed
            return bool(present["spec"]["selector"] != wanted["spec"]["selector"])
        return False

    async def _prune(self, key: tables.Key, wanted: list[Json]) -> None:
        names = {(each["kind"], each["metadata"]["name"]) for each in wanted}
        for found, value in self._mine(key):
            if (found.kind, found.name) not in names:
                await self._delete(found, value)

    async def _drop(self, key: tables.Key) -> None:
        """Of a Gateway that is there and is no longer ours; one that is gone has the API server do it."""
        self._refused.pop(key, None)
        ref = findings.Ref("Gateway", key.namespace, key.name)
        value = self._kept.objects.get(ref)
        if value is None or value.metadata.deletion_timestamp:
            return
        for found, item in self._mine(key):
            await self._delete(found, item)

    def _mine(self, key: tables.Key) -> list[tuple[owned.Key, Json]]:
        label = naming.label(key.name)
        return [
            (found, item)
            for found, item in self.made.of(key.namespace, naming.GATEWAY_LABEL, label)
            if (item["metadata"].get("annotations") or {}).get(tables.GATEWAY_ANNOTATION) == key.name
            and not item["metadata"].get("deletionTimestamp")
        ]

    async def _delete(self, found: owned.Key, item: Json) -> None:
        await self._rate.take()
        await self._api.delete(f"{gateways.PATHS[found.kind].format(found.namespace)}/{found.name}")
        self.made.put(found, None)
        log.info("an object of a Gateway is wanted no more", kind=found.kind, name=f"{found.namespace}/{found.name}")
