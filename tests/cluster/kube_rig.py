"""The controllers against a real API server, with the real discovery service and proxies that take what they get."""

import asyncio
import contextlib
import json
import pathlib
import subprocess

import grpc.aio
import yaml

from retic import ads, findings, graph
from retic.envoy import resources
from retic.identity import authority, certificate, client, current, spiffe
from retic.identity import server as identity_server
from retic.kube import lease, run, settings
from retic.mesh import network, tables
from retic.sources import api, store
from retic.sources.api import kinds, reflector
from retic.testing import discovery

VERSION = "v1.6.1"
__all__ = ["api", "findings", "tables"]
GATEWAYS = "/apis/gateway.networking.k8s.io/v1"
SERVICES = ("10.43.0.0/16",)


CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: retic}
spec: {controllerName: retic.dev/gateway-controller}
---
apiVersion: v1
kind: Namespace
metadata: {name: retic-system}
---
apiVersion: v1
kind: Service
metadata: {name: retic-controller, namespace: retic-system}
spec:
  selector: {app: retic-controller}
  ports: [{name: discovery, port: 15010}]
"""


def gateway_crds():
    """The folder of the Gateway API's CRDs, from the Go module cache."""
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"sigs.k8s.io/gateway-api@{VERSION}"],
        cwd="/", capture_output=True, text=True, check=True,
    )  # fmt: skip
    return pathlib.Path(json.loads(done.stdout)["Dir"]) / "config" / "crd" / "standard"


async def install_crds(kube):
    """Apply the CRDs that are not there yet, and wait until they are served."""

    async def served():
        try:
            for plural in ("gateways", "httproutes", "grpcroutes", "gatewayclasses", "referencegrants"):
                await kube.get(f"{GATEWAYS}/{plural}")
        except api.ApiError:
            return False
        return True

    if await served():
        return
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for file in sorted(gateway_crds().glob("gateway.networking.k8s.io_*s.yaml")):
        for crd in yaml.load_all(file.read_text(), yaml.CSafeLoader):
            if crd["kind"] == "CustomResourceDefinition":
                await kube.apply(f"{path}/{crd['metadata']['name']}", crd)
    await until(served, 120)


async def until(condition, seconds=60.0):
    """Wait for an asynchronous condition; its value."""
    async with asyncio.timeout(seconds):
        while True:
            found = await condition()
            if found:
                return found
            await asyncio.sleep(0.05)


class Rig:
    """One replica. `kube` is the administrator's client."""

    def __init__(self, kube, folder, **told) -> None:
        self.kube, self.folder = kube, folder
        self.stack = contextlib.AsyncExitStack()
        self.names = ()
        self.signer = current.Current(authority.open_own(folder, "cluster.local"))
        self.told = settings.Settings(
            image="retic:test", pod="retic-controller-0", webhook_port=0, **told
        )

    async def __aenter__(self):
        await self.apply(CLASS)
        values = network.Settings(pod_networks=("10.42.0.0/16",), service_networks=SERVICES)
        self.mesh = graph.Graph()
        self.mesh.commit([graph.Set(tables.SETTINGS, tables.ONE, values)])
        self.store = store.Store(self.mesh, tables.changes)
        self.ads = ads.Server(
            self.mesh, resources.resource, resources.wanted, resources.scope,
            companions=resources.companions, identify=ads.by_certificate("cluster.local"), listing=resources.wildcard,
        )  # fmt: skip
        self.made = run.Controllers(
            self.kube, self.mesh, self.store, self.ads, self.signer, self.told, names=self.names
        )
        await self._serve()
        self._task(reflector.reflect(self.kube, kinds.mesh(), self.store))
        self.lease = lease.Lease(self.kube, "retic-system", "retic-controller")
        self.stop = self._task(self.made.run(self.lease, host="127.0.0.1"))
        async with asyncio.timeout(60):
            while not self.store.is_synced:
                await asyncio.sleep(0.02)
        return self

    async def _serve(self):
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((*self.ads.handlers(), *self.made.handlers()))
        port = server.add_secure_port(
            "127.0.0.1:0", identity_server.credentials(self.signer, require_client=True)
        )
        self.address = f"127.0.0.1:{port}"
        await server.start()
        self.stack.push_async_callback(server.stop, None)

    def _task(self, work):
        task = asyncio.create_task(work)

        async def end():
            task.cancel()
            done = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(done[0], asyncio.CancelledError), done[0]

        self.stack.push_async_callback(end)
        return end

    async def __aexit__(self, *_):
        await self.stack.aclose()

    def channel(self, identity, pod=""):
        """A channel with a certificate of that identity, bound to a pod's uid."""
        key = certificate.new_key()
        chain = self.signer.issue(
            key.public_key(), identity, dns=[certificate.pod_name(pod)] if pod else ()
        )
        made = client.Channel(self.address, self.signer.bundle(), certificate.key_pem(key), chain)
        self.stack.push_async_callback(made.close)
        return made.channel

    async def proxy(self, name):
        """A proxy that has subscribed to its listeners and takes what comes."""
        made = discovery.Client(self.channel(spiffe.client("cluster.local", name)), name)
        await made.connect()
        self.stack.push_async_callback(made.disconnect)
        await made.subscribe("type.googleapis.com/envoy.config.listener.v3.Listener", "*")
        return made

    async def apply(self, text):
        """Apply manifests."""
        for each in yaml.safe_load_all(text):
            path = (await self.kube.resource(each["apiVersion"], each["kind"])).path(
                each["metadata"].get("namespace", ""), each["metadata"]["name"]
            )
            await self.kube.apply(path, each, manager="test")


def condition(conditions, kind):
    """One condition as status, reason; None when it is not there."""
    found = next((c for c in conditions or () if c["type"] == kind), None)
    return (found["status"], found["reason"]) if found else None
