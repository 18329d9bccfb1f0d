"""What becomes of a policy's status that others write too, and that a definition does not keep as a whole."""

import pytest
import yaml

from retic import findings, objects, wiring
from retic.findings import catalogue
from retic.kube import live, paths, status_policy

NOW, LATER = "2030-01-01T00:00:00Z", "2030-01-01T00:01:00Z"
THEIRS = {"type": "Reconciled", "status": "True", "reason": "", "message": "", "lastTransitionTime": NOW}
REF = findings.Ref("AuthorizationPolicy", "shop", "web")
ALL = live.Live(2, 2)
LIMIT = """
apiVersion: retic.dev/v1alpha1
kind: RateLimit
metadata: {name: web, namespace: shop}
spec: {targetRefs: [TARGETS], limits: [{requests: 1, per: second}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


def wanted(*reported, far=ALL, ref=REF, text=""):
    given = [objects.decode(each) for each in yaml.safe_load_all(text) if each]
    return status_policy.wanted(wiring.offline(given), ref, reported, far)


def merged(present, made, *, generation=1, now=NOW):
    return status_policy.merged(present, made, generation=generation, now=now)


def said(status):
    return [(c["type"], c["status"], c.get("observedGeneration")) for c in status["conditions"]]


def test_what_others_wrote_stays():
    found = merged({"conditions": [THEIRS], "observedGeneration": "7"}, wanted())
    assert found["conditions"][0] == THEIRS
    assert said(found)[1:] == [("retic.dev/Accepted", "True", 1), ("retic.dev/Live", "True", 1)]
    assert found["observedGeneration"] == "7"


def test_no_status_is_begun_for_what_is_nobody_of_ours():
    assert merged({}, ()) == {}
    assert merged({"conditions": [THEIRS]}, ()) == {"conditions": [THEIRS]}


def test_what_is_not_ours_any_more_is_left_without_ours():
    ours = merged({"conditions": [THEIRS]}, wanted())
    assert merged(ours, ()) == {"conditions": [THEIRS]}


def test_what_could_not_be_read_speaks_against_it():
    code = catalogue.CODES["RT0004"]
    told = findings.Finding(code.code, code.severity, str(REF), "", 0, "spec: is a list", "write a mapping", code.url)
    accepted, _ = wanted(told)
    assert (accepted.type, accepted.holds, accepted.reason) == ("retic.dev/Accepted", False, "Invalid")
    assert accepted.message == "RT0004 spec: is a list; write a mapping"


@pytest.mark.parametrize(("targets", "reason"), [
    ("{kind: Service, name: web}", "Accepted"),
    ("{kind: Service, name: web}, {kind: Service, name: gone}", "Accepted"),
    ("{kind: Service, name: gone}", "TargetNotFound"),
    ("{kind: Service, name: gone}, {kind: Service, name: away}", "TargetNotFound"),
])  # fmt: skip
def test_a_limit_is_without_a_target_once_none_of_them_is_there(targets, reason):
    ref = findings.Ref("RateLimit", "shop", "web")
    accepted, _ = wanted(ref=ref, text=LIMIT.replace("TARGETS", targets))
    assert accepted.reason == reason, accepted.message


def test_what_is_live_stays_so_when_nobody_is_asked():
    status = merged({}, wanted())
    assert status_policy.is_live(status, 1)
    assert not status_policy.is_live(status, 2)
    assert merged(status, wanted(far=None), now=LATER) == status


def test_a_definition_without_generations_is_not_written_again_and_again():
    kept = {"conditions": [
        {k: v for k, v in each.items() if k != "observedGeneration"} for each in merged({}, wanted())["conditions"]
    ]}  # fmt: skip
    assert merged(kept, wanted(), now=LATER) == kept
    assert merged(kept, wanted(far=None), now=LATER) == kept
    assert status_policy.is_live(kept, 1)
    changed = merged(kept, wanted(far=live.Live(1, 3, ("refused",))), now=LATER)
    assert said(changed) == [("retic.dev/Accepted", "True", None), ("retic.dev/Live", "False", 1)]


def test_a_policy_is_looked_for_in_every_version():
    assert paths.of(REF) == (
        "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/web",
        "/apis/security.istio.io/v1beta1/namespaces/shop/authorizationpolicies/web",
    )
