"""The form of a RateLimit: what is refused of it, at which line."""

import pytest

from retic.sources import manifests

HEAD = "apiVersion: retic.dev/v1alpha1\nkind: RateLimit\nmetadata: {name: web}\n"
ONE = "limits: [{requests: 1, per: second}]"


@pytest.mark.parametrize(
    ("spec", "code", "said"),
    [
        ("{}", "RT0007", "limits"),
        ("{limits: []}", "RT0011", "0 entries"),
        (f"{{limits: [{', '.join(['{requests: 1, per: second}'] * 33)}]}}", "RT0011", "33 entries"),
        ("{limits: [{requests: 0, per: second}]}", "RT0011", "requests"),
        ("{limits: [{requests: 1, per: day}]}", "RT0011", "per"),
        ("{limits: [{requests: 1}]}", "RT0007", "per"),
        ("{limits: [{requests: 1, per: hour, burst: 0}]}", "RT0011", "burst"),
        ("{limits: [{requests: 1, per: hour, scope: Everywhere}]}", "RT0011", "scope"),
        ("{limits: [{requests: 1, per: hour, by: {headers: ['x y']}}]}", "RT0011", "headers"),
        ("{limits: [{requests: 1, per: hour, by: {cookie: x}}]}", "RT0005", "cookie"),
        ("{limits: [{requests: 1, per: hour, matches: [{path: {value: items}}]}]}", "RT0011", "without /"),
        ("{limits: [{requests: 1, per: hour, matches: [{queryParams: []}]}]}", "RT0005", "queryParams"),
        (f"{{limits: [{{requests: 1, per: hour, matches: [{', '.join(['{}'] * 17)}]}}]}}", "RT0011", "17 entries"),
        (f"{{selector: {{}}, targetRefs: [{{kind: Service, name: web}}], {ONE}}}", "RT0011", "stands beside"),
        (f"{{targetRefs: [{{kind: Deployment, name: web}}], {ONE}}}", "RT0011", "kind"),
        (f"{{targetRefs: [{{kind: Service, name: web, group: apps}}], {ONE}}}", "RT0011", "group"),
        (f"{{targetRefs: [{{kind: Service, name: web, sectionName: http}}], {ONE}}}", "RT0011", "as a whole"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it(tmp_path, spec, code, said):
    (tmp_path / "limit.yaml").write_text(f"{HEAD}spec: {spec}\n")
    found = manifests.load([tmp_path / "limit.yaml"]).findings
    assert code in {each.code for each in found}
    assert said in " ".join(each.message for each in found)
    assert all(each.line == 4 and each.fix for each in found)


def test_all_that_can_be_said(tmp_path):
    (tmp_path / "limit.yaml").write_text(
        f"""{HEAD}spec:
  targetRefs:
  - {{kind: Service, name: web}}
  - {{kind: HTTPRoute, name: web, group: gateway.networking.k8s.io, sectionName: items}}
  - {{kind: Gateway, name: door}}
  limits:
  - requests: 10
    per: minute
    burst: 5
    by: {{identity: true, headers: [x-tenant], address: true}}
    matches: [{{path: {{type: RegularExpression, value: "/v[0-9]+"}}, method: GET, headers: [{{name: x, value: "1"}}]}}]
    scope: Local
    dryRun: true
    failClosed: false
"""
    )
    loaded = manifests.load([tmp_path / "limit.yaml"])
    assert loaded.findings == ()
    assert len(loaded.objects) == 1
