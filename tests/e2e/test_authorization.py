"""AuthorizationPolicies through real Envoys: every action, scope, field and attribute, HTTP, TCP, gateways."""

import json
import pathlib
import subprocess
import sys

import authorization_lab
import live
import pod_probes
import pytest
import rough_load
import websockets.sync.client
from authorization_lab import APP, GATEWAY, operation, policy, source, when

from retic.local import state
from retic.testing import outsider, wait

WEB = "cluster.local/ns/default/sa/web"
GUEST = "cluster.local/ns/other/sa/guest"
ONE = ("web", "spy", "guest")
MANY = pathlib.Path(__file__).with_name("many_ports.py")
FIRST, FIRST_DENY, FIRST_TCP, FIRST_TCP_DENY = 20000, 20200, 20400, 20500


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    words = [str(MANY), str(FIRST), "400", str(FIRST_TCP), "200"]
    many = {
        "apiVersion": "v1", "kind": "Pod", "metadata": live.meta("many", labels={"app": "many"}),
        "spec": {"nodeName": "node-1", "containers": [{
            "name": "c", "command": ["python3", *words],
            "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}]},
    }  # fmt: skip
    services = [
        live.service(f"p{port}", {"app": "many"}, {"name": "tcp" if port >= FIRST_TCP else "http", "port": port})
        for first, rules in ((FIRST, RULES), (FIRST_DENY, RULES), (FIRST_TCP, TCP), (FIRST_TCP_DENY, TCP))
        for port in range(first, first + len(rules))
    ]
    made = authorization_lab.Lab(tmp_path_factory.mktemp("authorization") / "manifests", many, *services, nodes=1)
    yield made
    made.close()


def probes(lab):
    """Requests by name. All are web's but three."""
    return {
        "web": {}, "spy": {"caller": "spy"}, "guest": {"caller": "guest"},
        "forged": {"caller": "spy", "headers": {"x-forwarded-for": lab.ips["web"]}},
        "post": {"method": "POST"},
        "host": {"host": "shop.example"}, "HOST": {"host": "SHOP.Example:8080"}, "host.": {"host": "shop.example."},
        "sub": {"host": "a.shop.example"},
        "/a": {"target": "/a"}, "/a?": {"target": "/a?b=/c"}, "/a/b": {"target": "/a/b"},
        "/a/b/c": {"target": "/a/b/c"},
        "/é": {"target": "/%C3%A9"}, "json": {"target": "/x/y.json"},
        "gold": {"headers": {"x-tier": "gold"}}, "two": {"headers": {"x-tier": "silver,gold"}},
        "none": {"headers": {"x-tier": ""}}, "golden": {"headers": {"X-Tier": "golden"}},
    }  # fmt: skip


ALL = set(probes(type("", (), {"ips": {"web": ""}})))
OTHERS = {"spy", "guest", "forged"}
ANY_TIER = {"gold", "two", "golden"}
SHOP = {"host", "HOST", "host."}
UNDER_A = {"/a", "/a?", "/a/b", "/a/b/c"}

# A rule, for which requests it holds where it lets in, and for which besides where it refuses.
RULES = {
    "everything": ({}, ALL),
    "principal": (source(principals=[WEB]), ALL - OTHERS),
    "principals": (source(principals=[WEB, GUEST]), ALL - {"spy", "forged"}),
    "principal with scheme": (source(principals=[f"spiffe://{WEB}"]), ALL - OTHERS),
    "principal by beginning": (source(principals=["cluster.local/ns/default/*"]), ALL - {"guest"}),
    "principal by end": (source(principals=["*/sa/guest"]), {"guest"}),
    "principal at all": (source(principals=["*"]), ALL),
    "principal of another domain": (source(principals=["elsewhere/ns/default/sa/web"]), set()),
    "not principal": (source(notPrincipals=[WEB]), OTHERS),
    "namespace": (source(namespaces=["other"]), {"guest"}),
    "namespace by beginning": (source(namespaces=["oth*"]), {"guest"}),
    "namespace by end": (source(namespaces=["*her"]), {"guest"}),
    "namespace, no part of one": (source(namespaces=["othe", "ther"]), set()),
    "not namespace": (source(notNamespaces=["other"]), ALL - {"guest"}),
    "account": (source(serviceAccounts=["web", "other/guest"]), ALL - {"spy", "forged"}),
    "not account": (source(notServiceAccounts=["default/web"]), OTHERS),
    "address": (source(ipBlocks=["IP"]), ALL - OTHERS),
    "network": (source(ipBlocks=["10.244.0.0/16"]), ALL), "other network": (source(ipBlocks=["10.245.0.0/16"]), set()),
    "not address": (source(notIpBlocks=["IP", "10.9.0.0/16"]), OTHERS),
    "remote address": (source(remoteIpBlocks=["IP"]), ALL - OTHERS),
    "not remote address": (source(notRemoteIpBlocks=["IP"]), OTHERS),
    "two sources": ({"from": [{"source": {"namespaces": ["other"]}}, {"source": {"principals": [WEB]}}]},
                    ALL - {"spy", "forged"}),
    "both of a source": (source(namespaces=["default"], notPrincipals=[WEB]), {"spy", "forged"}),
    "host": (operation(hosts=["shop.example"]), SHOP),
    "hosts": (operation(hosts=["Shop.Example", "app"]), ALL - {"sub"}),
    "host by end": (operation(hosts=["*.example"]), SHOP | {"sub"}),
    "host by beginning": (operation(hosts=["SHOP.*"]), SHOP), "host at all": (operation(hosts=["*"]), ALL),
    "not host": (operation(notHosts=["shop.example"]), ALL - SHOP),
    "not hosts by end": (operation(notHosts=["*.shop.example", "shop.*"]), ALL - SHOP - {"sub"}),
    "port": (operation(ports=["8081", "PORT"]), ALL), "other port": (operation(ports=["8081"]), set()),
    "not port": (operation(notPorts=["PORT"]), set()), "not another port": (operation(notPorts=["8081"]), ALL),
    "method": (operation(methods=["POST"]), {"post"}), "not method": (operation(notMethods=["POST"]), ALL - {"post"}),
    "path": (operation(paths=["/a"]), {"/a", "/a?"}), "path by beginning": (operation(paths=["/a*"]), UNDER_A),
    "path by end": (operation(paths=["*.json", "*/c"]), {"json", "/a/b/c"}),
    "path, written plainly": (operation(paths=["/é"]), {"/é"}), "path, escaped": (operation(paths=["/%c3%a9"]), {"/é"}),
    "not path": (operation(notPaths=["/a*", "/é"]), ALL - UNDER_A - {"/é"}),
    "one segment": (operation(paths=["/a/{*}"]), {"/a/b"}),
    "segments": (operation(paths=["/{*}/b/{**}"]), {"/a/b/c"}),
    "segments and an end": (operation(paths=["/{**}/c"]), {"/a/b/c"}),
    "two operations": ({"to": [{"operation": {"methods": ["POST"]}}, {"operation": {"paths": ["/a"]}}]},
                       {"post", "/a", "/a?"}),
    "both of an operation": (operation(methods=["GET"], notPaths=["/"]), UNDER_A | {"/é", "json"}),
    "who and what": (source(principals=["*/sa/spy"]) | operation(methods=["GET"]), {"spy", "forged"}),
    "header": (when("request.headers[X-Tier]", values=["gold"]), {"gold"}, {"two"}),
    "header by beginning": (when("request.headers[x-tier]", values=["gold*"]), {"gold", "golden"}, {"two"}),
    "header by end": (when("request.headers[x-tier]", values=["*old"]), {"gold", "two"}),
    "header at all": (when("request.headers[x-tier]", values=["*"]), ANY_TIER),
    "not header": (when("request.headers[x-tier]", notValues=["gold"]), ALL - {"gold", "two"}, {"two"}),
    "no header": (when("request.headers[x-tier]", notValues=["*"]), ALL - ANY_TIER),
    "host as header": (when("request.headers[host]", values=["shop.example"]), SHOP),
    "method as header": (when("request.headers[:method]", values=["POST"]), {"post"}),
    "source.ip": (when("source.ip", values=["IP"]), ALL - OTHERS),
    "not source.ip": (when("source.ip", notValues=["IP"]), OTHERS),
    "remote.ip": (when("remote.ip", values=["IP"]), ALL - OTHERS),
    "source.namespace": (when("source.namespace", values=["other"]), {"guest"}),
    "source.principal": (when("source.principal", values=[WEB]), ALL - OTHERS),
    "not source.principal": (when("source.principal", notValues=[WEB]), OTHERS),
    "source.serviceAccount": (when("source.serviceAccount", values=["web"]), ALL - OTHERS),
    "destination.ip": (when("destination.ip", values=["APP"]), ALL),
    "not destination.ip": (when("destination.ip", notValues=["APP"]), set()),
    "destination.port": (when("destination.port", values=["PORT"]), ALL),
    "connection.sni": (when("connection.sni", values=["shop.example"]), set()),
    "two conditions": ({"when": [{"key": "source.principal", "values": [WEB]},
                                 {"key": "request.headers[x-tier]", "values": ["*"]}]}, ANY_TIER),
    "value and no value": (when("request.headers[x-tier]", values=["gold*"], notValues=["golden"]), {"gold"}, {"two"}),
    "nothing that exists": (when("no.such", values=["x"]), set(), ALL),
    "nothing that can be compared": (source(ipBlocks=["nonsense"]), set(), ALL),
    "no value": (when("source.ip"), set(), ALL),
    "no token": (source(requestPrincipals=["*"]), set()),
    "not without token": (source(notRequestPrincipals=["*"]), ALL),
    "no claim": (when("request.auth.claims[groups]", values=["staff"]), set()),
    "no audience": (when("request.auth.audiences", values=["a"]), set()),
    "no presenter": (when("request.auth.presenter", notValues=["a"]), ALL),
}  # fmt: skip


TCP = [
    ({}, {"web", "spy", "guest"}), (source(principals=[WEB]), {"web"}), (source(principals=["*/sa/guest"]), {"guest"}),
    (source(principals=["*"]), set(ONE)), (source(notPrincipals=[WEB]), {"spy", "guest"}),
    (source(namespaces=["default"]), {"web", "spy"}), (source(namespaces=["*her"]), {"guest"}),
    (source(notNamespaces=["default"]), {"guest"}), (source(serviceAccounts=["web"]), {"web"}),
    (source(ipBlocks=["IP"]), {"web"}), (source(notIpBlocks=["IP"]), {"spy", "guest"}),
    (source(ipBlocks=["10.244.0.0/15"]), set(ONE)), (source(ipBlocks=["0.0.0.0/0"]), set(ONE)),
    (source(ipBlocks=["10.245.0.0/16", "fd00::/8"]), set()), (source(remoteIpBlocks=["IP"]), {"web"}),
    (operation(ports=["PORT", "7090"]), set(ONE)), (operation(ports=["7002"]), set()),
    (operation(notPorts=["PORT"]), set()), (when("source.principal", values=[WEB]), {"web"}),
    (when("destination.port", values=["PORT"]), set(ONE)), (when("destination.ip", values=["APP"]), set(ONE)),
    (when("connection.sni", values=["x"]), set()), (when("connection.sni", notValues=["x"]), set(ONE)),
    (source(namespaces=["default"], notIpBlocks=["IP"]) | operation(ports=["PORT"]), {"spy"}),
]  # fmt: skip



def filled(lab, rule, port):
    text = json.dumps(rule)
    for word, value in (("IP", lab.ips["web"]), ("APP", lab.ips["many"]), ("PORT", port)):
        text = text.replace(f'"{word}"', f'"{value}"')
    return json.loads(text)


def each_on_a_port(lab, rules, first, action):
    """A policy for each rule, each for a Service of its own."""
    return [
        policy(
            f"p{port}", action=action, rules=[filled(lab, rule, port)],
            targetRefs=[{"kind": "Service", "group": "", "name": f"p{port}"}],
        )
        for port, rule in enumerate(rules, first)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def every_rule(lab):
    http, tcp = [rule for rule, *_ in RULES.values()], [rule for rule, _ in TCP]
    lab.apply(
        *each_on_a_port(lab, http, FIRST, "ALLOW"), *each_on_a_port(lab, http, FIRST_DENY, "DENY"),
        *each_on_a_port(lab, tcp, FIRST_TCP, "ALLOW"), *each_on_a_port(lab, tcp, FIRST_TCP_DENY, "DENY"),
    )  # fmt: skip
    # The mark is at another pod.
    wait.until(lambda: lab.callers["web"].status(lab.ips["many"], FIRST_DENY, authorization_lab.request()) == 403, "so")
    return lab


@pytest.mark.parametrize("name", RULES)
def test_every_rule_lets_in_and_refuses(every_rule, name):
    lab, number = every_rule, list(RULES).index(name)
    _, holds, *more = RULES[name]
    assert lab.let_in(probes(lab), lab.ips["many"], FIRST + number) == holds, "ALLOW"
    expected = ALL - holds - (more[0] if more else set())
    assert lab.let_in(probes(lab), lab.ips["many"], FIRST_DENY + number) == expected, "DENY"


@pytest.mark.parametrize("number", range(len(TCP)))
def test_tcp(every_rule, number):
    """A server that speaks first greets nobody whom it may not speak to."""
    _, holds = TCP[number]
    for first, expected in ((FIRST_TCP, holds), (FIRST_TCP_DENY, set(ONE) - holds)):
        port = first + number
        heard = {c: every_rule.callers[c].say(f"p{port}.default", port, "hi\n", 2)["lines"] for c in ONE}
        assert {caller for caller, lines in heard.items() if lines == ["ready\n", "hi\n"]} == expected, first
        assert all(lines in ([""], ["", ""], []) for caller, lines in heard.items() if caller not in expected), heard


def test_policies_together(lab):
    def who(*policies):
        lab.apply(*policies)
        return {caller for caller in ONE if lab.ask(caller) == 200}

    web, guest = source(principals=[WEB]), source(principals=[GUEST])
    assert who() == set(ONE)
    assert who(policy("none")) == set(), "an empty spec lets nobody in"
    assert who(policy("none", rules=[])) == set()
    assert who(policy("all", rules=[{}])) == set(ONE)
    assert who(policy("none"), policy("web", rules=[web])) == {"web"}, "policies that let in add up"
    assert who(policy("web", rules=[web, guest])) == {"web", "guest"}
    assert who(policy("web", rules=[web]), policy("guest", rules=[guest])) == {"web", "guest"}
    assert who(policy("all", rules=[{}]), policy("d", action="DENY", rules=[web])) == {"spy", "guest"}
    assert who(policy("d", action="DENY", rules=[{}])) == set()
    assert who(policy("d", action="DENY")) == set(ONE), "a DENY policy without rules matches nothing"
    assert who(policy("a", action="AUDIT", rules=[{}])) == set(ONE)
    assert who(policy("a", action="AUDIT", rules=[{}]), policy("web", rules=[web])) == {"web"}
    assert who(policy("dry", dry_run=True)) == set(ONE)
    assert who(policy("dry", dry_run=True, action="DENY", rules=[{}])) == set(ONE)
    assert who(policy("dry", dry_run=True, rules=[guest]), policy("web", rules=[web])) == {"web"}


def test_of_many_rules_each_request_meets_its_own(lab):
    """So many that both actions have a table, and chains are chosen by both."""
    others = [source(principals=[f"cluster.local/ns/n{n}/sa/a"]) for n in range(9)]
    guest = {**source(principals=[GUEST]), **operation(paths=["/team/*"])}
    lab.apply(
        policy("allow", rules=[*others, source(principals=[WEB]), guest]),
        policy("deny", action="DENY", rules=[operation(paths=[f"/deny/{n}", f"/deny/{n}/*"]) for n in range(30)]),
        policy("deny-spy", action="DENY", rules=[source(principals=["*/sa/spy"])]),
        policy("trial", dry_run=True, action="DENY", rules=[operation(paths=["/deny/7"])]),
    )
    asked = {
        ("web", "/"): 200, ("web", "/deny/7"): 403, ("web", "/deny/7/x"): 403, ("web", "/deny/7x"): 200,
        ("web", "/deny/31"): 200, ("web", "/DENY/7"): 200, ("web", "//deny/7"): 403, ("web", "/deny/7?q"): 403,
        ("spy", "/"): 403, ("spy", "/deny/1"): 403, ("spy", "/deny/1x"): 403,
        ("guest", "/"): 403, ("guest", "/team/a"): 200, ("guest", "/deny/29"): 403, ("guest", "/deny/29x"): 403,
    }  # fmt: skip
    assert {key: lab.ask(key[0], target=key[1]) for key in asked} == asked


def test_scopes(lab):
    def ports(*policies):
        lab.apply(*policies)
        return [
            lab.ask("web"), lab.ask("web", service="admin.default"), lab.ask("web", service="recorder.default"),
            lab.say("web"),
        ]  # fmt: skip

    def target(name, **more):
        return {"targetRefs": [{"kind": "Service", "group": "", "name": name, **more}]}

    free, shut = [200, 200, 200, True], [403, 403, 403, False]
    assert ports() == free
    assert ports(policy("p", selector=APP)) == shut
    assert ports(policy("p", selector={"matchLabels": {"app": "web"}})) == free
    assert ports(policy("p")) == shut, "without a selector it is the namespace's"
    assert ports(policy("p", "other")) == free
    assert ports(policy("p", "retic-system")) == shut, "the mesh's own namespace speaks for all"
    assert ports(policy("p", "retic-system", selector=APP)) == shut
    assert ports(policy("p", "retic-system", selector={"matchLabels": {"app": "web"}})) == free
    assert ports(policy("p", **target("app"))) == [403, 200, 200, True], "only the ports that the Service leads to"
    assert ports(policy("p", **target("app")), policy("q", **target("tcp"))) == [403, 200, 200, False]
    assert ports(policy("p", **target("app")), policy("q", rules=[{}])) == free
    assert ports(policy("p", **target("app"), action="DENY", rules=[{}])) == [403, 200, 200, True]
    assert ports(policy("p", "retic-system", **target("app"))) == free
    odd = {"target": "/a/../b"}
    lab.apply(policy("p", **target("app"), action="DENY", rules=[operation(paths=["/secret"])]))
    assert (lab.ask("web", **odd), lab.ask("web", service="admin.default", **odd)) == (403, 200)


def dry(lab, ending):
    stats = lab.mesh.stats("node-1")
    return sum(value for name, value in stats.items() if "rbac.dry." in name and name.endswith(ending))


def test_audit_and_dry_run_are_counted(lab):
    lab.apply(
        policy("trial", dry_run=True, action="DENY", rules=[operation(methods=["POST"])]),
        policy("window", dry_run=True, rules=[operation(paths=["/window"])]),
        policy("watch", action="AUDIT", rules=[operation(paths=["/watched"])]),
    )
    before = dry(lab, "default/trial/0.shadow_denied"), dry(lab, "default/window/0.shadow_allowed")
    assert [lab.ask("web", method="POST", target=t) for t in ("/", "/window", "/watched")] == [200, 200, 200]
    assert dry(lab, "default/trial/0.shadow_denied") == before[0] + 3
    assert dry(lab, "default/window/0.shadow_allowed") == before[1] + 1
    stats = lab.mesh.stats("node-1")
    watched = {name: value for name, value in stats.items() if "default/watch/0." in name and value}
    assert list(watched.values()) == [1], watched


def test_http_on_tcp_is_refused_and_found(lab):
    lab.apply(policy("get", selector=APP, rules=[operation(methods=["GET"])]))
    assert (lab.ask("web"), lab.say("web"), lab.say("web", 7001)) == (200, False, False)
    lab.apply(policy("no-delete", selector=APP, action="DENY", rules=[operation(methods=["DELETE"])]))
    assert (lab.ask("web"), lab.say("web"), lab.say("web", 7001)) == (200, False, False)
    (found,) = [f for f in lab.mesh.ps()["findings"] if f["code"] == "RT0406"]
    file = lab.mesh.folder / "policies.yaml"
    line = file.read_text().splitlines()[found["line"] - 1]
    assert (found["file"], line.strip()) == (str(file), "methods:")
    assert found["object"] == "AuthorizationPolicy default/no-delete"


def test_who_is_refused_opens_no_connection_to_the_application(lab):
    lab.apply()
    before = lab.log("tcp")
    assert lab.say("web", 7090, "seen\n", 0.5) is False, "it answers nothing"
    wait.until(lambda: "seen" in lab.log("tcp"), "the application was called")
    lab.apply(policy("web", rules=[source(principals=[GUEST])]))
    wait.until(lambda: not lab.say("web"), "the policy holds for TCP")
    called = lab.log("tcp")
    assert called != before
    for _ in range(5):
        lab.say("web", 7090, "refused\n")
        lab.say("spy", 7090, "")
    assert lab.log("tcp") == called


def door(**fields):
    return {"targetRefs": [{"group": GATEWAY, "kind": "Gateway", "name": "door"}], **fields}


def test_at_gateways(lab):
    def knocks(*policies):
        lab.apply(*policies, door=True)
        answers = lab.knock(), lab.knock(method="POST"), lab.knock(target="/a/b"), lab.knock(host="OTHER.example.:8080")
        return [answer == 200 for answer in answers]

    assert knocks() == [True] * 4
    assert knocks(policy("p", **door())) == [False] * 4
    assert knocks(policy("p", **door(rules=[operation(methods=["GET"])]))) == [True, False, True, True]
    assert knocks(policy("p", **door(rules=[operation(hosts=["shop.example"])]))) == [True, True, True, False]
    assert knocks(policy("p", **door(action="DENY", rules=[operation(paths=["/a/{*}"])]))) == [True, True, False, True]
    assert lab.knock(target="/x/../a/b") == 403, "gateways make paths plain first"
    assert lab.knock(target="/a%2Fb") == 403, "and refuse what can be read in two ways"
    assert knocks(policy("p", **door(rules=[source(ipBlocks=["203.0.113.0/24"])]))) == [False] * 4
    kind = {"targetRefs": [{"group": GATEWAY, "kind": "GatewayClass", "name": "retic"}]}
    assert knocks(policy("p", "retic-system", **kind)) == [False] * 4
    assert knocks(policy("p", "default", **kind)) == [True] * 4, "a class is the mesh's"
    gateways = {"matchLabels": {"gateway.networking.k8s.io/gateway-name": "door"}}
    assert knocks(policy("p", selector=gateways)) == [False] * 4
    nameless = policy("p", rules=[source(notPrincipals=["*"])], **door())
    assert knocks(nameless) == [True] * 4, "who enters has no identity"


def test_the_clients_address_is_a_gateways_word_and_nobody_elses(lab):
    def answers(caller, *blocks):
        lab.apply(policy("p", selector=APP, rules=[source(**{caller: list(blocks)})]))
        spoken = {"x-forwarded-for": "203.0.113.7"}
        return lab.knock(), lab.knock(headers=spoken), lab.ask("spy", headers=spoken), lab.ask("web")

    client = client_address(lab)
    assert answers("remoteIpBlocks", client) == (200, 200, 403, 403), "what a client says before the gateway counts not"
    assert answers("remoteIpBlocks", "203.0.113.0/24") == (403, 403, 403, 403)
    assert answers("notRemoteIpBlocks", client) == (403, 403, 200, 200)
    assert answers("remoteIpBlocks", lab.ips["web"]) == (403, 403, 403, 200)
    assert answers("ipBlocks", client) == (403, 403, 403, 403), "to a pod the gateway is who calls"


def client_address(lab):
    lab.apply()
    seen = pod_probes.http(f"http://127.0.0.1:{authorization_lab.DOOR}/")["json"]["headers"]
    return seen["x-forwarded-for"].rpartition(",")[2].strip()


def test_grpc_and_websockets(lab):
    paths = ["/retic.testing.Echo/Unary"]
    lab.apply(policy("p", selector=APP, rules=[operation(paths=paths), operation(paths=["/ws"], ports=["8080"])]))
    web = lab.callers["web"]
    assert web.grpc("grpc:9000", "Unary")["code"] == "OK"
    assert web.grpc("grpc:9000", "Stream")["code"] == "PERMISSION_DENIED"
    assert web.websocket("ws://app/ws", "hello")["echo"]
    assert lab.ask("web", headers={"upgrade": "websocket", "sec-websocket-key": "x"}, target="/other") == 403


def test_a_broken_edit_changes_nothing(lab):
    lab.apply(policy("p", selector=APP, rules=[source(principals=[WEB])]))
    live.write(lab.mesh, "broken.yaml", "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: [")
    try:
        wait.until(lambda: any("broken.yaml" in f["file"] for f in lab.mesh.ps()["findings"]), "it is found")
        assert (lab.ask("web"), lab.ask("spy")) == (200, 403)
    finally:
        live.remove(lab.mesh, "broken.yaml")


def edits(**where):
    """Policies one after the other: added, changed, of every action, and none again."""
    web = source(principals=[WEB])
    return [
        [policy("p", rules=[web], **where)], [policy("p", rules=[source(principals=[GUEST])], **where)],
        [policy("p", **where)], [policy("p", action="DENY", rules=[{}], **where)],
        [policy("p", action="DENY", rules=[operation(paths=["/x/*"])], **where), policy("q", rules=[{}], **where)],
        [policy("p", action="AUDIT", rules=[{}], **where), policy("q", dry_run=True, **where)],
        [policy("p", dry_run=True, action="DENY", rules=[operation(hosts=["a"], methods=["GET"])], **where)], [],
    ]  # fmt: skip


@pytest.fixture
def streams(lab):
    line = [sys.executable, "-m", "retic.cli", "exec", "-i", "--name", lab.mesh.name, "web", "--"]
    client = str(pathlib.Path(__file__).with_name("stream_client.py"))
    process = subprocess.Popen(
        [*line, sys.executable, client], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def say(word):
        process.stdin.write(f"{word}\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield say
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


def test_no_change_of_a_policy_drains_a_connection(lab, streams):
    lab.apply(door=True)
    with websockets.sync.client.connect(f"ws://127.0.0.1:{authorization_lab.DOOR}/ws", proxy=None) as through:
        through.recv(8)
        said = streams("first")
        assert [name for name, text in said.items() if "first" not in text] == [], said
        before = lab.steady()
        for number, changed in enumerate([*edits(selector=APP), *edits(**door()), *edits()]):
            lab.apply(*changed, door=True)
            said = streams(f"word-{number}")
            assert [name for name, text in said.items() if f"word-{number}" not in text] == [], said
            through.send(f"word-{number}")
            assert f"word-{number}" in through.recv(8)
        assert lab.steady() == before
    # Who is on an open connection is not judged anew; who opens one is.
    lab.apply(policy("p", selector=APP))
    assert "later" in streams("later")["websocket"]
    assert (lab.ask("web"), lab.say("web")) == (403, False)


def permissive(lab):
    """Plaintext may come. The control plane is started anew to be told."""
    file = state.folder(lab.mesh.name) / "control.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), "mode": "PERMISSIVE"}))
    old = rough_load.processes(lab.mesh)["control", "control"]
    rough_load.kill(old)
    rough_load.new_pid(lab.mesh, "control", "control", old)


def test_in_plaintext(lab):
    """The last test: afterwards the mesh takes plaintext. Somebody without a certificate is nobody's principal."""
    lab.apply()
    permissive(lab)
    with outsider.stranger(outsider.place(lab.mesh.ps(), "agent", "node-1")) as beside:

        def heard():
            code = STRANGER.replace("HOST", lab.ips["app"])
            return beside.python(code)

        wait.until(lambda: heard()[0] == 200, "plaintext is let in", 20)
        before = lab.steady()
        held = beside.popen(sys.executable, "-u", "-c", HOLD.replace("HOST", lab.ips["app"]))
        own = [f"{outsider.STRANGER}/32"]
        free, shut = [200, 200, 200, "ready", "hi"], [403, 403, 403, "", ""]
        for expected, made in (
            (free, []), (shut, [policy("p", selector=APP)]), (shut, [policy("p", rules=[source(principals=["*"])])]),
            (free, [policy("p", rules=[source(notPrincipals=["*"])])]),
            (shut, [policy("p", action="DENY", rules=[source(notPrincipals=["*"])])]),
            (free, [policy("p", action="DENY", rules=[source(principals=["*"])])]),
            (free, [policy("p", rules=[source(ipBlocks=own)])]),
            (free, [policy("p", rules=[source(remoteIpBlocks=own)])]),
            (shut, [policy("p", action="DENY", rules=[source(ipBlocks=own)])]),
            (shut, [policy("p", rules=[source(namespaces=["default"])])]),
            ([200, 200, 403, "", ""], [policy("p", rules=[operation(methods=["GET"])])]),
            ([200, 403, 200, "ready", "hi"], [
                policy("p", action="DENY", rules=[operation(paths=["/a"], ports=["8080"])])]),
        ):  # fmt: skip
            lab.apply(*made)
            wait.until(lambda e=expected: heard() == e, f"{made} gives {expected}")
        held.terminate()
        assert json.loads(held.communicate(timeout=20)[0].splitlines()[-1]) == "hi"
        assert lab.steady() == before


# A GET, one with a refused path, a POST, what a server says that speaks first, and one that listens first.
STRANGER = """
import json, socket
def say(port, text):
    try:
        with socket.create_connection(("HOST", port), 3) as s:
            s.settimeout(2); s.sendall(text.encode()); return s.recv(4096).decode("latin-1")
    except OSError:
        return ""
def status(method, path):
    return int(say(8080, f"{method} {path} HTTP/1.1\\r\\nhost: app\\r\\n\\r\\n")[9:12] or 0)
print(json.dumps([status("GET", "/"), status("GET", "/a"), status("POST", "/"),
    "ready" if "ready" in say(7001, "") else "", "hi" if "hi" in say(7000, "hi\\n") else ""]))
"""
# A connection that is opened, used, and used again when told to end.
HOLD = """
import json, signal, socket
s = socket.create_connection(("HOST", 7000), 3); f = s.makefile("rw")
f.write("hi\\n"); f.flush(); f.readline()
def last(*_):
    f.write("hi\\n"); f.flush(); print(json.dumps("hi" if "hi" in f.readline() else ""), flush=True); raise SystemExit
signal.signal(signal.SIGTERM, last)
signal.pause()
"""


def test_of_many_rules_each_still_counts(lab):
    """So many that requests meet only some of them, by callers and by paths."""
    teams = [
        source(principals=[f"cluster.local/ns/team/sa/n{n}"]) | operation(paths=[f"/{n}/*"]) for n in range(15)
    ]
    allowed = [*teams, source(principals=[WEB]) | operation(paths=["/a", "/a/*"]), source(namespaces=["other"])]
    denied = [operation(paths=[f"/no/{n}", f"/no/{n}/*", f"/no/{{*}}/{n}"]) for n in range(15)]
    denied.append(source(notNamespaces=["other"]) | operation(paths=["/a/b*"]))
    lab.apply(
        *(policy(f"may-{n}", selector=APP, rules=[each]) for n, each in enumerate(allowed)),
        *(policy(f"not-{n}", selector=APP, action="DENY", rules=[each]) for n, each in enumerate(denied)),
    )
    refused = {"/x", "/a/b", "/a/bc/d", "guest /no/3", "guest /no/3?a", "guest /no/3/a", "guest /no/x/3", "spy /a"}
    let_in = {"/a", "/a/c", "/a?b=/a/b", "guest /a/b", "guest /no/33", "guest /no", "guest /no/x/33", "guest /7/x"}
    tried = {name: name.rpartition(" ") for name in refused | let_in}
    asked = {name: {"caller": caller or "web", "target": path} for name, (caller, _, path) in tried.items()}
    assert lab.let_in(asked, "app.default", 80) == let_in
