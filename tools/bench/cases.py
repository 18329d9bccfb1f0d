"""What may be switched on in a mesh, each as a case: what `costs` holds against the mesh as it comes.

A new case is a name and the manifests that switch it on, or a `switch` that holds as long as a block.
"""

import contextlib
from collections.abc import Callable, Sequence

import msgspec
from tools.bench import collector, manifests, mesh, ports

_PORT = ports.Protocol.HTTP1.port


class Ends(msgspec.Struct, frozen=True):
    """Whom a case is for: the Service that is called, the labels `app` of the pods that call and of those called."""

    service: str
    callers: str
    called: str


def _nothing(_: Ends) -> list[manifests.Object]:
    return []


class Case(msgspec.Struct, frozen=True):
    """A name, the manifests that switch it on, and what else does."""

    name: str
    made: Callable[[Ends], list[manifests.Object]] = _nothing
    switch: Callable[[mesh.Mesh], contextlib.AbstractContextManager[None]] | None = None

    def on(self, running: mesh.Mesh) -> contextlib.AbstractContextManager[None]:
        """The switch, for the length of a block."""
        return self.switch(running) if self.switch is not None else contextlib.nullcontext()


def _object(api: str, kind: str, name: str, spec: manifests.Object) -> manifests.Object:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def _route(ends: Ends, **more: manifests.Object) -> list[manifests.Object]:
    """To where requests go without it."""
    parent = {"group": "", "kind": "Service", "name": ends.service, "port": _PORT}
    rule = {"backendRefs": [{"name": ends.service, "port": _PORT}], **more}
    spec = {"parentRefs": [parent], "rules": [rule]}
    return [_object("gateway.networking.k8s.io/v1", "HTTPRoute", ends.service, spec)]


def _retries(ends: Ends) -> list[manifests.Object]:
    return _route(ends, retry={"attempts": 2, "codes": [503], "backoff": "10ms"})


def _fault(ends: Ends) -> list[manifests.Object]:
    """One request in a million waits for a millisecond: with none, no proxy would be told of it."""
    fault = {"delay": {"fixedDelay": "1ms", "percentage": {"value": 0.0001}}}
    http = [{"fault": fault, "route": [{"destination": {"host": ends.service, "port": {"number": _PORT}}}]}]
    spec = {"hosts": [ends.service], "http": http}
    return [_object("networking.istio.io/v1", "VirtualService", ends.service, spec)]


def _limit(ends: Ends, target: manifests.Object, **more: str) -> manifests.Object:
    """One that is never used up."""
    spec = {**target, "limits": [{"requests": 1_000_000_000, "per": "second", **more}]}
    return _object("retic.dev/v1alpha1", "RateLimit", ends.service, spec)


def _at_pod(ends: Ends, **more: str) -> list[manifests.Object]:
    return [_limit(ends, {"selector": {"matchLabels": {"app": ends.called}}}, **more)]


def _global(ends: Ends) -> list[manifests.Object]:
    return _at_pod(ends, scope="Global")


def _by_route(ends: Ends) -> list[manifests.Object]:
    return [*_route(ends), _limit(ends, {"targetRefs": [{"kind": "HTTPRoute", "name": ends.service}]})]


def _logs(ends: Ends) -> list[manifests.Object]:
    return _told(ends, accessLogging=[{"providers": [{"name": "envoy"}]}])


def _traces(percent: float) -> Callable[[Ends], list[manifests.Object]]:
    def made(ends: Ends) -> list[manifests.Object]:
        name = f"otel-{ends.service}"
        where = {"service": f"{collector.NAME}.default.svc.cluster.local", "port": collector.PORT}
        provider = {
            "apiVersion": "retic.dev/v1alpha1", "kind": "TelemetryProvider", "metadata": {"name": name},
            "spec": {"opentelemetry": where},
        }  # fmt: skip
        entry = {"providers": [{"name": name}], "randomSamplingPercentage": percent}
        return [provider, *_told(ends, tracing=[entry])]

    return made


def _told(ends: Ends, **spec: list[manifests.Object]) -> list[manifests.Object]:
    """A Telemetry for callers and called."""
    return [
        _object(
            "telemetry.istio.io/v1", "Telemetry", f"{ends.service}-{app}",
            {"selector": {"matchLabels": {"app": app}}, **spec},
        )
        for app in sorted({ends.callers, ends.called})
    ]  # fmt: skip


CASES: Sequence[Case] = (
    Case("as it comes"),
    Case("every request reported", switch=mesh.Mesh.reported),
    Case("access logs", _logs),
    Case("traces of 1 %", _traces(1)),
    Case("traces of 100 %", _traces(100)),
    Case("an HTTPRoute", _route),
    Case("an HTTPRoute with retries", _retries),
    Case("a VirtualService with a fault", _fault),
    Case("a local limit at the pod", _at_pod),
    Case("a local limit by an HTTPRoute", _by_route),
    Case("a global limit at the pod", _global),
)
"""The first is what the others are held against."""
