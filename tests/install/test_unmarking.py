"""What statuses are once the controller's own is taken off them."""

from retic.install import unmarking

OURS = {"controllerName": "retic.dev/gateway-controller", "conditions": [{"type": "Accepted"}]}
THEIRS = {"controllerName": "example.org/other", "conditions": [{"type": "Accepted"}]}


def test_a_route_keeps_what_others_have_written():
    assert unmarking.route({"status": {"parents": [OURS, THEIRS, OURS]}}) == {"parents": [THEIRS]}
    assert unmarking.route({"status": {"parents": [THEIRS]}}) is None
    assert unmarking.route({}) is None


def test_a_gateway_waits_for_a_controller_again():
    status = {"addresses": [{"value": "10.0.0.1"}], "conditions": [{"type": "Accepted", "observedGeneration": 2}]}
    made = unmarking.gateway({"spec": {"gatewayClassName": "retic"}, "status": status})
    assert set(made) == {"conditions"}
    assert {(one["type"], one["status"], one["reason"]) for one in made["conditions"]} == {
        ("Accepted", "Unknown", "Pending"), ("Programmed", "Unknown", "Pending"),
    }  # fmt: skip
    assert unmarking.gateway({"spec": {"gatewayClassName": "retic"}, "status": made}) is None
    assert unmarking.gateway({"spec": {"gatewayClassName": "other"}, "status": status}) is None


def test_a_policy_keeps_what_others_have_written():
    ours = [{"type": "retic.dev/Accepted"}, {"type": "retic.dev/Live"}]
    theirs = {"type": "Reconciled"}
    status = {"conditions": [ours[0], theirs, ours[1]], "observedGeneration": "2"}
    assert unmarking.policy({"status": status}) == {"conditions": [theirs], "observedGeneration": "2"}
    assert unmarking.policy({"status": {"conditions": ours}}) == {}
    assert unmarking.policy({"status": {"conditions": [theirs]}}) is None
    assert unmarking.policy({}) is None
