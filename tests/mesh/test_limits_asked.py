"""Which proxies may ask about which global limits."""

import pytest
import yaml

from retic import graph, objects, wiring
from retic.mesh import limits_asked, tables

# Three nodes: api and another pod of its namespace, a pod of another namespace, and none.
WORLD = """
apiVersion: v1
kind: Pod
metadata: {name: api-0, namespace: shop, uid: u1, labels: {app: api}}
spec: {nodeName: one, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, uid: u2, labels: {app: web}}
spec: {nodeName: two, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: desk-0, namespace: office, uid: u3, labels: {app: api}}
spec: {nodeName: three, containers: [{name: c}]}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {clusterIP: 10.96.0.10, selector: {app: api}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: road, namespace: shop}
spec: {parentRefs: [PARENT], rules: [{backendRefs: [{name: api, port: 80}]}]}
---
apiVersion: retic.dev/v1alpha1
kind: RateLimit
metadata: {name: some, namespace: shop}
spec:
  TARGET
  limits: [{requests: 1, per: second, scope: Global}]
"""
PROXIES = ("node/one", "node/two", "node/three", "node/four", "gateway/shop/edge", "gateway/office/edge")
SERVICE = "{group: '', kind: Service, name: api, namespace: SPACE}"
ROUTE = "targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: road}]"


def world(target="selector: {matchLabels: {app: api}}", parent="{name: edge}"):
    text = WORLD.replace("TARGET", target).replace("PARENT", parent)
    return wiring.offline([objects.decode(each) for each in yaml.safe_load_all(text)])


def asking(db, name="shop/some/0"):
    """Those whose question is answered."""
    return [each for each in PROXIES if db.ask(limits_asked.asked, limits_asked.Question(each, name))]


@pytest.mark.parametrize(
    ("target", "parent", "wanted"),
    [
        ("selector: {matchLabels: {app: api}}", "{name: edge}", ["node/one"]),
        ("selector: {matchLabels: {}}", "{name: edge}", ["node/one", "node/two"]),
        ("targetRefs: [{kind: Service, name: api}]", "{name: edge}", ["node/one"]),
        (ROUTE, "{name: edge}", ["gateway/shop/edge"]),
        (ROUTE, "{name: edge, namespace: office}", ["gateway/office/edge"]),
        (ROUTE, SERVICE.replace("SPACE", "shop"), ["node/one", "node/two", "node/three"]),
        (ROUTE, SERVICE.replace("SPACE", "office"), ["node/one", "node/two"]),  # of its own callers only
        ("targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]", "{name: x}",
         ["gateway/shop/edge"]),
        ("targetRefs: [{kind: Service, name: gone}]", "{name: edge}", []),
    ],
)  # fmt: skip
def test_those_that_requests_pass_which_it_counts(target, parent, wanted):
    assert asking(world(target, parent)) == wanted


@pytest.mark.parametrize("name", ["shop/some/1", "shop/other/0", "office/some/0", "some", ""])
def test_nobody_asks_about_what_there_is_not(name):
    assert asking(world(), name) == []


@pytest.mark.parametrize("proxy", ["", "node", "node/", "gateway/shop", "pod/one", "gateway//"])
def test_nobody_else_asks(proxy):
    assert world().ask(limits_asked.asked, limits_asked.Question(proxy, "shop/some/0")) is None


def test_a_pod_takes_its_limits_along():
    db = world()
    assert asking(db) == ["node/one"]
    key = tables.Key("shop", "api-0")
    moved = objects.decode(next(yaml.safe_load_all(WORLD.replace("nodeName: one", "nodeName: four"))))
    db.commit([graph.Set(tables.PODS, key, moved)])
    assert asking(db) == ["node/four"]
    db.commit([graph.Delete(tables.PODS, key)])
    assert asking(db) == []
