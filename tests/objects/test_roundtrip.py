"""Objects survive the way to Kubernetes JSON and back; defaults apply once; no table contradicts a struct."""

import types
import typing
from typing import Annotated, Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from retic import objects
from retic.objects import core, defaults, forms, gateway, meta, pods, routes, unread, workloads
from retic.sources import forms_check, shapes, validate

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT, lambda x: st.lists(x, max_size=2), max_leaves=3
)


def plain(hint: Any, depth: int) -> st.SearchStrategy[Any]:
    """Values of an annotation, whatever its form."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return plain(arguments[0], depth)
    if isinstance(hint, type) and issubclass(hint, meta.Part):
        return struct(hint, depth + 1)
    if origin is tuple:
        return st.lists(plain(arguments[0], depth), max_size=2 if depth < 4 else 1).map(tuple)
    if origin is dict:
        return st.dictionaries(TEXT, plain(arguments[1], depth), max_size=2)
    if origin in {typing.Union, types.UnionType}:
        return st.one_of([plain(each, depth) for each in arguments])
    if hint is Any:
        return JSON
    return {
        str: TEXT,
        int: st.integers(-(2**31), 2**31),
        bool: st.booleans(),
        bytes: st.binary(max_size=6),
        float: st.floats(allow_nan=False, allow_infinity=False),
        types.NoneType: st.none(),
    }[hint]


def struct(kind: type[meta.Part], depth: int = 0) -> st.SearchStrategy[Any]:
    """Structs with some of their fields set."""
    hints = typing.get_type_hints(kind, include_extras=True)
    required, optional = {}, {}
    for field in msgspec.structs.fields(kind):
        target = required if field.required else optional
        if field.required or depth < 6:
            target[field.name] = st.deferred(lambda h=hints[field.name]: plain(h, depth))
    return st.fixed_dictionaries(required, optional=optional).map(lambda given: kind(**given))


ANY = st.sampled_from(sorted(objects.KINDS)).flatmap(lambda name: struct(objects.KINDS[name].struct))
SLOW = hypothesis.settings(
    max_examples=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck), derandomize=True
)


@SLOW
@hypothesis.given(ANY)
def test_encode_then_decode_is_the_same(value):
    encoded = objects.encode(value)
    assert objects.decode(encoded) == value
    assert encoded["kind"] == type(value).__name__
    assert encoded["apiVersion"] in objects.KINDS[encoded["kind"]].api_versions


@SLOW
@hypothesis.given(ANY)
def test_defaults_change_nothing_the_second_time(value):
    once = defaults.apply(value)
    assert defaults.apply(once) == once
    assert objects.decode(objects.encode(once)) == once


@SLOW
@hypothesis.given(ANY)
def test_what_decodes_has_no_wrong_types(value):
    checked = validate.check(type(value), objects.encode(value), {})
    assert not [fault for fault in checked.faults if fault.code in {"RT0004", "RT0005"}]


def parts() -> set[type[meta.Part]]:
    """Every struct that a kind is made of."""
    found: set[type[meta.Part]] = set()
    todo: list[type[meta.Part]] = [kind.struct for kind in objects.KINDS.values()]
    while todo:
        part = todo.pop()
        if part in found:
            continue
        found.add(part)
        shaped = [field.shape for field in shapes.fields(part).values()]
        while shaped:
            shape = shaped.pop()
            if isinstance(shape, shapes.Record):
                todo.append(shape.struct)
            elif isinstance(shape, shapes.Sequence):
                shaped.append(shape.item)
            elif isinstance(shape, shapes.Map):
                shaped.append(shape.value)
    return found


def test_no_field_is_both_read_and_unread():
    for part in parts():
        assert not unread.names(part) & set(shapes.fields(part)), part
    assert {each for each in unread.listed() if each is not meta.Object} <= parts()


def test_examples_in_messages_are_right_themselves():
    for form in vars(forms).values():
        if isinstance(form, forms.Syntax):
            assert forms_check.syntax(form, form.example) is None, form


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("cluster_ips", "clusterIPs"),
        ("http_get", "httpGet"),
        ("from_", "from"),
        ("pod_ip", "podIP"),
        ("container_id", "containerID"),
        ("uid", "uid"),
        ("set_hostname_as_fqdn", "setHostnameAsFQDN"),
    ],
)
def test_names_are_those_of_kubernetes(field, name):
    assert meta.kubernetes_name(field) == name


def test_required_fields_are_told():
    assert objects.KINDS["Deployment"].required == ("metadata.name", "spec", "spec.selector", "spec.template")
    assert "spec.gatewayClassName" in objects.KINDS["Gateway"].required


def test_a_secret_keeps_its_values_from_every_repr():
    secret = core.Secret(
        meta.Metadata("key", annotations={"last": "hunter2"}),
        data={"k": b"hunter2"},
        string_data={"p": "hunter2"},
    )
    from rich.pretty import pretty_repr

    for shown in (repr(secret), str(secret), f"{secret}", pretty_repr(secret), repr([secret])):
        assert "hunter2" not in shown
        assert "'k'" in shown


def test_secret_text_becomes_data():
    secret = objects.decode(
        {
            "kind": "Secret",
            "metadata": {"name": "s"},
            "data": {"a": "MQ==", "b": "Mg=="},
            "stringData": {"b": "3"},
        }
    )
    complete = defaults.apply(secret)
    assert isinstance(complete, core.Secret)
    assert (complete.data, complete.string_data, complete.type) == ({"a": b"1", "b": b"3"}, {}, "Opaque")


def make(kind: str, spec: dict[str, Any]) -> Any:
    return defaults.apply(objects.decode({"kind": kind, "metadata": {"name": "x"}, "spec": spec}))


def test_defaults_of_services():
    plain_one = make("Service", {"ports": [{"port": 80}]})
    port = plain_one.spec.ports[0]
    assert (port.protocol, port.target_port, plain_one.spec.type) == ("TCP", 80, "ClusterIP")
    assert plain_one.metadata.namespace == "default"
    sticky = make("Service", {"sessionAffinity": "ClientIP", "ports": [{"port": 1, "targetPort": "web"}]})
    assert sticky.spec.session_affinity_config.client_ip.timeout_seconds == 10800
    assert sticky.spec.ports[0].target_port == "web"


def test_defaults_of_pods():
    template = {
        "spec": {
            "containers": [{"name": "c", "readinessProbe": {"httpGet": {"port": 1}, "periodSeconds": 2}}],
            "serviceAccount": "old-name",
            "volumes": [{"name": "a"}, {"name": "b", "hostPath": {"path": "/"}}],
        }
    }
    spec = make("Deployment", {"selector": {"matchLabels": {"a": "b"}}, "template": template}).spec
    pod = spec.template.spec
    probe = pod.containers[0].readiness_probe
    assert (spec.replicas, spec.strategy.rolling_update.max_surge) == (1, "25%")
    assert (pod.restart_policy, pod.service_account_name, pod.service_account) == ("Always", "old-name", None)
    assert (
        probe.period_seconds,
        probe.timeout_seconds,
        probe.success_threshold,
        probe.failure_threshold,
    ) == (2, 1, 1, 3)
    assert (probe.http_get.path, probe.http_get.scheme) == ("/", "HTTP")
    assert pod.volumes[0].empty_dir is not None
    assert pod.volumes[1].empty_dir is None
    assert pod.volumes[1].other_sources == ("hostPath",)


@pytest.mark.parametrize(
    ("spec", "completions", "parallelism"),
    [({}, 1, 1), ({"parallelism": 3}, None, 3), ({"completions": 4}, 4, 1)],
)
def test_defaults_of_jobs(spec, completions, parallelism):
    job = make("Job", {"template": {"spec": {"containers": []}}, **spec})
    assert (job.spec.completions, job.spec.parallelism, job.spec.backoff_limit) == (
        completions,
        parallelism,
        6,
    )


def test_defaults_of_routes():
    route = make(
        "HTTPRoute",
        {
            "parentRefs": [{"name": "g"}],
            "rules": [
                {
                    "matches": [{"headers": [{"name": "a", "value": "b"}]}],
                    "backendRefs": [{"name": "s", "port": 1}],
                    "filters": [{"type": "RequestRedirect", "requestRedirect": {"port": 1}}],
                },
            ],
        },
    )
    rule = route.spec.rules[0]
    assert rule.matches[0].path == routes.HTTPPathMatch("PathPrefix", "/")
    assert rule.matches[0].headers[0].type == "Exact"
    assert (rule.backend_refs[0].weight, rule.backend_refs[0].kind, rule.backend_refs[0].namespace) == (
        1,
        "Service",
        None,
    )
    assert rule.filters[0].request_redirect.status_code == 302
    assert (route.spec.parent_refs[0].group, route.spec.parent_refs[0].kind) == (gateway.GROUP, "Gateway")
    assert make("HTTPRoute", {}).spec.rules[0].matches[0].path.value == "/"
    assert make("GRPCRoute", {}).spec.rules == ()


def test_defaults_of_gateways_and_namespaces():
    spec = {
        "gatewayClassName": "retic",
        "listeners": [{"name": "a", "port": 1, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "c"}]}}],
    }
    listener = make("Gateway", spec).spec.listeners[0]
    assert listener.allowed_routes.namespaces.from_ == "Same"
    assert (listener.tls.mode, listener.tls.certificate_refs[0].kind) == ("Terminate", "Secret")
    space = defaults.apply(core.Namespace(meta.Metadata("shop", namespace="wrong")))
    assert space.metadata.namespace == ""
    assert space.metadata.labels == {"kubernetes.io/metadata.name": "shop"}


def test_label_selectors():
    selector = meta.LabelSelector(
        {"app": "a"},
        (
            meta.LabelSelectorRequirement("tier", "In", ("x", "y")),
            meta.LabelSelectorRequirement("old", "DoesNotExist"),
            meta.LabelSelectorRequirement("zone", "NotIn", ("z",)),
            meta.LabelSelectorRequirement("app", "Exists"),
        ),
    )
    assert selector.matches({"app": "a", "tier": "x"})
    assert not selector.matches({"app": "a"})
    assert not selector.matches({"app": "a", "tier": "x", "old": ""})
    assert not selector.matches({"app": "a", "tier": "x", "zone": "z"})
    assert meta.LabelSelector().matches({})


def test_a_pod_template_has_no_namespace_of_its_own():
    template = pods.PodTemplateSpec(pods.PodSpec((pods.Container("c"),)))
    made = defaults.apply(
        workloads.ReplicaSet(meta.Metadata("r"), workloads.ReplicaSetSpec(meta.LabelSelector(), template))
    )
    assert isinstance(made, workloads.ReplicaSet)
    assert made.spec.template.metadata.namespace == ""
