"""What becomes of a policy's status that others write too."""

from retic import findings, wiring
from retic.findings import catalogue
from retic.kube import live, paths, status_policy
from retic.mesh import network

NOW = "2030-01-01T00:00:00Z"
THEIRS = {"type": "Reconciled", "status": "True", "reason": "", "message": "", "lastTransitionTime": NOW}
REF = findings.Ref("DestinationRule", "shop", "web")
POLICY = findings.Ref("AuthorizationPolicy", "shop", "web")


def wanted(ref, *reported, far=None):
    return status_policy.wanted(wiring.offline([], network.Settings(enrolment="labelled")), ref, reported, far)


def merged(present, made):
    return status_policy.merged(present, made, generation=1, now=NOW)


def test_what_others_wrote_stays():
    found = merged({"conditions": [THEIRS], "observedGeneration": "7"}, wanted(REF, far=live.Live(2, 2)))
    assert found["conditions"][0] == THEIRS
    assert [(c["type"], c["status"]) for c in found["conditions"][1:]] == [
        ("retic.dev/Accepted", "True"), ("retic.dev/Live", "True"),
    ]  # fmt: skip
    assert found["observedGeneration"] == "7"


def test_no_status_is_begun_for_what_is_nobody_of_ours():
    assert wanted(POLICY) == ()
    assert merged({}, ()) == {}
    assert merged({"conditions": [THEIRS]}, ()) == {"conditions": [THEIRS]}


def test_what_is_not_ours_any_more_is_left_without_ours():
    ours = merged({"conditions": [THEIRS]}, wanted(REF, far=live.Live(1, 1)))
    assert merged(ours, ()) == {"conditions": [THEIRS]}


def test_what_could_not_be_read_speaks_against_it():
    code = catalogue.CODES["RT0004"]
    told = findings.Finding(code.code, code.severity, str(REF), "", 0, "spec: is a list", "write a mapping", code.url)
    (one,) = wanted(REF, told, far=live.Live(1, 1))
    assert (one.type, one.holds, one.reason) == ("retic.dev/Accepted", False, "Invalid")
    assert one.message == "RT0004 spec: is a list; write a mapping"


def test_a_policy_is_looked_for_in_every_version():
    assert paths.of(POLICY) == (
        "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/web",
        "/apis/security.istio.io/v1beta1/namespaces/shop/authorizationpolicies/web",
    )
