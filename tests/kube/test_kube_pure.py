"""What the controllers decide, without a server: names, conditions, requests, differences."""

import json

import hypothesis
from hypothesis import strategies as st

from retic.kube import conditions, differences, gateways, naming, requests, settings
from retic.objects import forms, gateway, meta
from retic.sources import forms_check

NOW, LATER = "2030-01-01T00:00:00Z", "2030-01-01T00:01:00Z"
NAMES = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?){0,5}\Z")


def accepted(*, holds=True, message="", **more):
    return conditions.Condition("Accepted", holds, "Accepted", message, **more)


@hypothesis.given(NAMES.filter(lambda name: len(name) <= 253))
def test_names_are_names_of_services(name):
    assert forms_check.syntax(forms.LABEL_1035, naming.child(name)) is None
    assert len(naming.label(name)) <= 63
    assert naming.child(name) == naming.child(name)


def test_names_that_fit_are_kept_and_others_stay_apart():
    assert naming.child("edge") == "edge-retic"
    assert naming.child("a.b") != naming.child("a-b")
    assert naming.child("a" * 200) != naming.child("a" * 201)
    assert naming.label("a" * 63) == "a" * 63


def test_the_time_of_a_transition_stays_while_the_status_does():
    (first,) = conditions.merged([], [accepted()], generation=1, now=NOW)
    (second,) = conditions.merged([first], [accepted(message="other")], generation=2, now=LATER)
    assert (second["lastTransitionTime"], second["observedGeneration"], second["message"]) == (NOW, 2, "other")
    (third,) = conditions.merged([second], [accepted(holds=False)], generation=2, now=LATER)
    assert third["lastTransitionTime"] == LATER


def test_conditions_of_others_stay_where_they_are():
    other = {"type": "example.com/Other", "status": "True"}
    (mine,) = conditions.merged([], [accepted()], generation=1, now=NOW)
    found = conditions.merged([other, mine], [accepted()], generation=1, now=LATER)
    assert found == [other, mine]


def test_what_nobody_wants_goes_when_it_is_ours():
    (mine,) = conditions.merged([], [accepted()], generation=1, now=NOW)
    assert conditions.merged([mine], [], generation=1, now=LATER, own=("Accepted",)) == []


def test_a_newer_generation_is_not_overwritten():
    (mine,) = conditions.merged([], [accepted()], generation=5, now=NOW)
    assert conditions.merged([mine], [accepted(holds=False)], generation=4, now=LATER) == [mine]


def test_what_is_guessed_gives_way_to_what_stands_there():
    (mine,) = conditions.merged([], [accepted()], generation=1, now=NOW)
    guess = accepted(holds=False, guessed=True)
    assert conditions.merged([mine], [guess], generation=1, now=LATER) == [mine]
    assert conditions.merged([mine], [guess], generation=2, now=LATER)[0]["status"] == "False"


def test_what_lasts_keeps_its_message():
    (mine,) = conditions.merged([], [accepted(message="3 of 3", lasting=True)], generation=1, now=NOW)
    assert conditions.merged([mine], [accepted(message="4 of 4", lasting=True)], generation=1, now=LATER) == [mine]


def gate(annotations=None, **spec):
    metadata = meta.Metadata(name="edge", namespace="shop", annotations=annotations or {})
    return gateway.Gateway(metadata=metadata, spec=gateway.GatewaySpec("retic", (), **spec))


def read(value):
    return requests.read(value, ("10.43.0.0/16",), "LoadBalancer")


def test_addresses_are_asked_of_who_can_give_them():
    each = [gateway.GatewayAddress(value=value) for value in ("10.43.1.1", "192.0.2.1", "10.43.1.2", "::1", None)]
    found = read(gate(addresses=tuple(each)))
    assert (found.cluster_ip, found.balancer_ip, found.unusable) == ("10.43.1.1", "192.0.2.1", ("10.43.1.2", "::1"))


def test_a_gateway_serves_no_metrics_where_a_listener_is():
    told = settings.Settings("image", "pod", metrics_port=15014)

    def port(*listeners):
        spec = gateway.GatewaySpec("retic", tuple(gateway.Listener("l", each, "HTTP") for each in listeners))
        value = gateway.Gateway(metadata=meta.Metadata(name="edge", namespace="shop", uid="u"), spec=spec)
        made = gateways.wanted(value, read(value), gateways.Control("10.43.0.9", "PEM"), told)
        (config,) = [each["data"]["agent.json"] for each in made if each["kind"] == "ConfigMap"]
        return json.loads(config)["metrics_port"]

    assert [port(80), port(80, 15014), port()] == [15014, 0, 15014]


def test_what_cannot_be_used_is_refused():
    wrong = [
        gate({requests.REPLICAS: value}) for value in ("0", "-1", "x", "", "101", "\uff11", "1e1")
    ] + [gate({requests.SERVICE_TYPE: "loadbalancer"})]  # fmt: skip
    assert {read(each).reason for each in wrong} == {"InvalidParameters"}
    named = gate(addresses=(gateway.GatewayAddress("Hostname", "a.example.com"),))
    assert read(named).reason == "UnsupportedAddress"


def test_differences_are_in_what_is_wanted():
    assert differences.has({"a": 1, "b": [{"c": 1, "d": 2}]}, {"b": [{"c": 1}]})
    assert not differences.has({"b": [{"c": 1}, {"c": 2}]}, {"b": [{"c": 1}]})
    assert not differences.has({"a": None}, {"a": {"b": 1}})
    assert differences.has({}, {"a": {}, "b": []})
