"""A kubelet whose pods are processes of this machine, and what a test asks of it."""

import sys

import msgspec

from retic import findings, objects
from retic.local.kubelet import host, kubelet, naming, tokens
from retic.local.workloads import pods
from retic.testing import plain_fabric, wait

replace = msgspec.structs.replace
RESOLV = """
# of this machine
nameserver 127.0.0.53
options edns0 ndots:1
search old.example
search lan. corp.example
"""


class Machine:
    """A kubelet, what it reported last, and the objects that pods refer to."""

    def __init__(self, folder, time, *, agent=None, heard=None):
        self.fabric = plain_fabric.Fabric()
        self.objects, self.seen, self.left, self.folder = {}, {}, [], folder
        self.wanted, self.nameservers = {}, []
        self.kubelet = kubelet.Kubelet(
            host.Host(
                fabric=self.fabric, state=folder, time=time, look=self.objects.get,
                services=lambda _: [], directory=lambda _: folder, agent=lambda _: agent,
                report=self.report, issuer=tokens.Issuer.open(folder), drain=0.0,
                resolver=naming.parse(RESOLV), nameserver=self.nameserver, heard=heard,
            ),
            self.gone,
        )  # fmt: skip

    def report(self, pod, status):
        self.seen[pod.metadata.name] = pod
        assert pod.status == status

    async def nameserver(self, address):
        self.nameservers.append(address)

    def gone(self, pod):
        self.left.append(pod.metadata.name)

    def put(self, kind, name, data):
        raw = {"kind": kind, "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"}, "data": data}
        value = objects.decode(raw)
        self.objects[findings.Ref(kind, "default", name)] = value
        self.sync()

    def run(self, name, *containers, uid=None, **spec):
        raw = {
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "uid": uid or name, "labels": {"app": name}},
            "spec": {"nodeName": "node-1", "terminationGracePeriodSeconds": 5, **spec, "containers": list(containers)},
            "status": {"podIP": "127.0.0.1", "hostIP": "172.31.255.11"},
        }
        self.wanted[name] = objects.decode(raw)
        self.sync()

    def end(self, name):
        pod = self.wanted[name]
        meta = replace(pod.metadata, deletion_timestamp="2030-01-01T00:00:00Z")
        self.wanted[name] = replace(pod, metadata=meta)
        self.sync()

    def sync(self):
        self.kubelet.sync(self.wanted.values())

    def log(self, name, container="app", file="log"):
        path = self.folder / "pods" / f"default_{name}" / container / file
        return path.read_text() if path.exists() else ""

    def container(self, name, which="app"):
        statuses = (*self.seen[name].status.container_statuses, *self.seen[name].status.init_container_statuses)
        return next(item for item in statuses if item.name == which)

    async def until_ready(self, name):
        await wait.until_async(lambda: name in self.seen and pods.ready(self.seen[name]), f"{name} is ready")

    async def until(self, condition, what):
        return await wait.until_async(condition, what)


def python(code, **more):
    return {"name": "app", "command": [sys.executable, "-c", code], **more}


def shell(text, name="app", **more):
    return {"name": name, "command": ["sh", "-c", text], **more}
