"""Findings of form: file, line, object, what is wrong, what to write instead; and what is left silent."""

import contextlib
import os
import socket
import tempfile
import textwrap

import hypothesis
import pytest
from hypothesis import strategies as st

from retic import findings, objects
from retic.sources import foreign, manifest_file, manifests

HEAD = {
    "Pod": "v1",
    "Service": "v1",
    "Secret": "v1",
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
    "StatefulSet": "apps/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "GRPCRoute": "gateway.networking.k8s.io/v1",
    "Gateway": "gateway.networking.k8s.io/v1",
}


def form(text, tmp_path):
    """What a file with this text comes to."""
    file = tmp_path / "it.yaml"
    file.write_text(textwrap.dedent(text))
    return manifests.load([file])


def of(kind, body, tmp_path):
    """What an object of this kind with this body (from line 4 on) comes to."""
    text = f"apiVersion: {HEAD[kind]}\nkind: {kind}\nmetadata: {{name: it}}\n"
    return form(text + textwrap.dedent(body), tmp_path)


def short(loaded):
    return [(each.code, each.line) for each in loaded.findings]


def container(fields):
    return f"spec:\n  containers:\n  - name: c\n    {fields}\n"


WRONG = [
    ("Pod", container("comand: [a]"), "RT0005", 7, "did you mean command?"),
    ("Pod", container("Image: a"), "RT0005", 7, "did you mean image?"),
    ("Pod", container("env: [{name: A, value: 8080}]"), "RT0004", 7, 'value: "8080"'),
    ("Pod", container("env: [{name: A, value: yes}]"), "RT0004", 7, 'value: "yes"'),
    ("Pod", container("env: {A: b}"), "RT0004", 7, "'- '"),
    ("Pod", container("args: [a, 1]"), "RT0004", 7, '- "1"'),
    ("Pod", container("args: [a, ~]"), "RT0004", 7, "remove the line"),
    ("Pod", container("tty: maybe"), "RT0004", 7, "tty: true"),
    ("Pod", container('ports: [{containerPort: "80"}]'), "RT0004", 7, "containerPort: 80"),
    ("Pod", container("ports: [{containerPort: 0}]"), "RT0011", 7, "from 1 to 65535"),
    ("Pod", container("ports: [{containerPort: 1, protocol: tcp}]"), "RT0011", 7, "write TCP"),
    ("Pod", container("ports: [{containerPort: 1, name: a_b}]"), "RT0011", 7, "http"),
    ("Pod", container("restartPolicy: always"), "RT0011", 7, "write Always"),
    ("Pod", container("volumeMounts: [{name: gone, mountPath: /a}]"), "RT0011", 7, "add it"),
    ("Pod", container("readinessProbe: {periodSeconds: 3}"), "RT0011", 7, "httpGet"),
    ("Pod", container("readinessProbe: {httpGet: {path: /}}"), "RT0007", 7, "port: 80"),
    ("Pod", container("livenessProbe: {exec: {command: [a]}, successThreshold: 2}"), "RT0011", 7, "write 1"),
    ("Pod", container("env: [{name: A, valueFrom: {}}]"), "RT0011", 7, "fieldRef"),
    ("Pod", container("envFrom: [{prefix: A}]"), "RT0011", 7, "secretRef"),
    ("Pod", "spec: {containers: []}", "RT0007", 4, "one container"),
    ("Pod", "spec: {}", "RT0007", 4, "containers:"),
    ("Pod", "", "RT0007", 1, "spec:"),
    ("Pod", "spec: {containers: [{name: c}, {name: c}]}", "RT0011", 4, "of its own"),
    ("Service", "spec: {}", "RT0007", 4, "port: 80"),
    ("Service", "spec: {ports: {port: 80}}", "RT0004", 4, "'- '"),
    ("Service", "spec: {type: Clusterip, ports: [{port: 1}]}", "RT0011", 4, "write ClusterIP"),
    ("Service", "spec: {ports: [{port: 1}, {port: 2, name: b}]}", "RT0007", 4, "name: http"),
    ("Service", "spec: {ports: [{port: 1, name: a}, {port: 2, name: a}]}", "RT0011", 4, "of its own"),
    ("Service", "spec: {type: ExternalName}", "RT0007", 4, "db.example.com"),
    ("Service", "spec: {ports: [{port: 1, targetPort: 70000}]}", "RT0011", 4, "from 1 to 65535"),
    ("Service", "spec: {ports: [{port: 1, nodePort: 30000}]}", "RT0011", 4, "remove it"),
    ("Service", "spec: {externalTrafficPolicy: Local, ports: [{port: 1}]}", "RT0011", 4, "remove it"),
    ("Service", "spec: {sessionAffinityConfig: {}, ports: [{port: 1}]}", "RT0011", 4, "sessionAffinity: ClientIP"),
    (
        "Deployment",
        "spec: {replicas: -1, selector: {matchLabels: {a: b}}, template: {spec: {containers: [{name: c}]}}}",
        "RT0011",
        4,
        "0 or more",
    ),
    (
        "Deployment",
        "spec: {selector: {}, template: {spec: {containers: [{name: c}]}}}",
        "RT0007",
        4,
        "matchLabels",
    ),
    (
        "Deployment",
        "spec: {strategy: {type: Rolling}, selector: {matchLabels: {a: b}}, template: {spec: {containers: "
        "[{name: c}]}}}",
        "RT0011",
        4,
        "RollingUpdate",
    ),
    (
        "Deployment",
        "spec: {strategy: {rollingUpdate: {maxSurge: 30}, type: Recreate}, selector: {matchLabels: {a: b}}, "
        "template: {spec: {containers: [{name: c}]}}}",
        "RT0011",
        4,
        "remove",
    ),
    (
        "Deployment",
        "spec: {strategy: {rollingUpdate: {maxSurge: lots}}, selector: {matchLabels: {a: b}}, "
        "template: {spec: {containers: [{name: c}]}}}",
        "RT0011",
        4,
        "25%",
    ),
    ("Job", "spec: {template: {spec: {containers: [{name: c}]}}}", "RT0007", 4, "Never"),
    (
        "CronJob",
        "spec: {schedule: every day, jobTemplate: {spec: {template: {spec: {restartPolicy: Never, "
        "containers: [{name: c}]}}}}}",
        "RT0011",
        4,
        "*/5",
    ),
    ("EndpointSlice", "addressType: IPv4\nendpoints: [{addresses: [nope]}]", "RT0011", 5, "10.1.2.3"),
    (
        "HTTPRoute",
        "spec: {rules: [{matches: [{path: {type: Prefix, value: /}}]}]}",
        "RT0011",
        4,
        "write PathPrefix",
    ),
    ("HTTPRoute", "spec: {rules: [{matches: [{path: {value: cart}}]}]}", "RT0011", 4, "/cart"),
    (
        "HTTPRoute",
        "spec: {rules: [{matches: [{headers: [{name: a b, value: c}]}]}]}",
        "RT0011",
        4,
        "x-version",
    ),
    (
        "HTTPRoute",
        "spec: {rules: [{backendRefs: [{name: a, port: 1, weight: 1000001}]}]}",
        "RT0011",
        4,
        "1000000",
    ),
    ("HTTPRoute", "spec: {rules: [{backendRefs: [{name: a}]}]}", "RT0007", 4, "port: 80"),
    ("HTTPRoute", "spec: {rules: [{timeouts: {request: 1.5s}}]}", "RT0011", 4, "1s500ms"),
    ("HTTPRoute", "spec: {rules: [{timeouts: {request: 5}}]}", "RT0004", 4, "write its unit: request: 5s"),
    ("HTTPRoute", "spec: {rules: [{timeouts: {request: 1.5}}]}", "RT0004", 4, "1s500ms"),
    ("HTTPRoute", "spec: {rules: [{matches: [{path: {type: 5}}]}]}", "RT0004", 4, "PathPrefix"),
    (
        "HTTPRoute",
        "spec: {rules: [{timeouts: {request: 1s, backendRequest: 1m}}]}",
        "RT0011",
        4,
        "1s or less",
    ),
    ("HTTPRoute", "spec: {hostnames: ['a.example:80']}", "RT0011", 4, "shop.example.com"),
    ("HTTPRoute", "spec: {hostnames: ['10.0.0.1']}", "RT0011", 4, "shop.example.com"),
    ("HTTPRoute", "spec: {rules: [{filters: [{type: URLRewrite}]}]}", "RT0007", 4, "urlRewrite:"),
    (
        "HTTPRoute",
        "spec: {rules: [{filters: [{type: CORS, cors: {}, urlRewrite: {}}]}]}",
        "RT0011",
        4,
        "cors",
    ),
    (
        "HTTPRoute",
        "spec: {rules: [{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 305}}]}]}",
        "RT0011",
        4,
        "308",
    ),
    ("GRPCRoute", "spec: {rules: [{matches: [{method: {type: Exact}}]}]}", "RT0007", 4, "service"),
    (
        "Gateway",
        "spec: {gatewayClassName: retic, listeners: [{name: a, port: 1, protocol: HTTPS}]}",
        "RT0007",
        4,
        "certificateRefs",
    ),
    (
        "Gateway",
        "spec: {gatewayClassName: retic, listeners: [{name: a, port: 1, protocol: HTTP, tls: {}}]}",
        "RT0011",
        4,
        "HTTPS",
    ),
    ("Gateway", "spec: {listeners: []}", "RT0007", 4, "gatewayClassName"),
]


@pytest.mark.parametrize(("kind", "body", "code", "line", "fix"), WRONG, ids=lambda value: str(value)[:40])
def test_each_fault_has_its_code_line_and_cure(kind, body, code, line, fix, tmp_path):
    loaded = of(kind, body, tmp_path)
    assert (code, line) in short(loaded)
    (found,) = [each for each in loaded.findings if (each.code, each.line) == (code, line)]
    assert fix in found.fix
    assert found.object == f"{kind} default/it"
    assert found.file == str(tmp_path / "it.yaml")
    is_error = found.severity is findings.Severity.ERROR
    assert bool(loaded.objects) is not is_error
    assert ("left out" in found.message) is is_error


CLAIMED = """\
spec:
  selector: {{matchLabels: {{a: b}}}}
  template:
    metadata: {{labels: {{a: b}}}}
    spec:
      volumes: [{{name: own, emptyDir: {{}}}}]
      containers:
      - name: c
        volumeMounts: [{{name: store, mountPath: /var/store}}, {{name: {}, mountPath: /own}}]
  volumeClaimTemplates:
  - metadata: {{name: store}}
    spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
"""


def test_the_claims_of_a_stateful_set_are_volumes_of_its_pods(tmp_path):
    good = of("StatefulSet", CLAIMED.format("own"), tmp_path)
    assert good.findings == ()
    assert len(good.objects) == 1
    (found,) = of("StatefulSet", CLAIMED.format("lost"), tmp_path).findings
    assert (found.code, found.line) == ("RT0011", 12)
    assert found.fix == "name one of own, store, or add it"


def test_every_wrong_field_is_found_not_only_the_first(tmp_path):
    loaded = form(
        """\
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          name: Cart
          labels: {app: 1}
        spec:
          replcias: 2
          replicas: "2"
          selector: {matchLabels: {app: cart}}
          template:
            spec:
              containers:
              - name: cart
                ports:
                - containerPort: x
                - containerPort: 99999
        """,
        tmp_path,
    )
    assert short(loaded) == [
        ("RT0008", 4),
        ("RT0004", 5),
        ("RT0005", 7),
        ("RT0004", 8),
        ("RT0004", 15),
        ("RT0011", 16),
    ]
    assert loaded.objects == ()


def test_legal_fields_that_nobody_reads_are_silent(tmp_path):
    loaded = of(
        "Pod",
        """\
        status: {qosClass: BestEffort}
        spec:
          affinity: {nodeAffinity: {whatever: 1}}
          tolerations: []
          imagePullSecrets: [{name: a}]
          containers:
          - name: c
            imagePullPolicy: Always
            terminationMessagePath: /dev/null
            resources: {limits: {cpu: 1, memory: 64Mi}, claims: []}
            securityContext: {runAsNonRoot: true}
            command: ~
        """,
        tmp_path,
    )
    assert loaded.findings == ()
    assert len(loaded.objects) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "a list"),
        ("hello\n", "a single value"),
        ("kind: Pod\n", "no apiVersion"),
        ("apiVersion: v1\n", "no kind"),
        ("apiVersion: 1\nkind: Pod\n", "apiVersion is not a text"),
    ],
)
def test_documents_that_are_no_objects(text, words, tmp_path):
    (found,) = form(text, tmp_path).findings
    assert (found.code, found.line) == ("RT0002", 1)
    assert words in found.message


def test_names(tmp_path):
    for kind, name, good in [
        ("Service", "1st", False),
        ("Pod", "1st", True),
        ("Pod", "a.b", True),
        ("Service", "a.b", False),
        ("ConfigMap", "A", False),
        ("Secret", "x" * 254, False),
        ("StatefulSet", "a.b", False),
    ]:
        loaded = form(f"apiVersion: {HEAD[kind]}\nkind: {kind}\nmetadata:\n  name: {name}\n", tmp_path)
        assert (("RT0008", 4) not in short(loaded)) is good, (kind, name)
    generated = form("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  generateName: a-\n", tmp_path)
    assert "kubectl create" in generated.findings[0].fix
    space = form("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: B}\n", tmp_path)
    assert short(space) == [("RT0008", 3)]


def test_versions_and_foreign_kinds(tmp_path):
    loaded = form(
        """\
        {apiVersion: extensions/v1beta1, kind: Deployment, metadata: {name: a}}
        ---
        {apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a}}
        ---
        {apiVersion: example.com/v1, kind: Widget, metadata: {name: a}}
        ---
        {apiVersion: example.com/v1, kind: Widget, metadata: {name: b}}
        ---
        {apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: b}}
        ---
        {apiVersion: v1, kind: Secert, metadata: {name: b}}
        ---
        {apiVersion: v1, kind: Pdo, metadata: {name: b}}
        """,
        tmp_path,
    )
    codes = [("RT0010", 1), ("RT0015", 3), ("RT0003", 5), ("RT0014", 9), ("RT0003", 11), ("RT0003", 13)]
    assert short(loaded) == codes
    old, istio, widget, claim, typo, swapped = loaded.findings
    assert old.fix == "write apiVersion: apps/v1"
    assert istio.message.startswith("Gateway (networking.istio.io) routes nothing")
    assert swapped.fix == "did you mean kind: Pod?"
    assert claim.message == "PersistentVolumeClaim changes nothing here"
    assert "2 objects" in widget.message
    assert claim.severity is findings.Severity.INFO
    assert "Secret" in typo.fix


@pytest.mark.parametrize(
    ("version", "kind", "words"),
    [
        ("networking.k8s.io/v1", "NetworkPolicy", "is not enforced"),
        ("networking.k8s.io/v1", "Ingress", "routes nothing"),
        ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", "is not enforced"),
        ("networking.istio.io/v1", "ServiceEntry", "routes nothing"),
        ("policy.linkerd.io/v1beta3", "HTTPRoute", "routes nothing"),
        ("policy.linkerd.io/v1alpha1", "AuthorizationPolicy", "is not enforced"),
        ("cilium.io/v2", "CiliumNetworkPolicy", "is not enforced"),
        ("gateway.networking.k8s.io/v1alpha2", "TCPRoute", "routes nothing"),
        ("v1", "Endpoints", "leads nowhere"),
    ],
)
def test_kinds_that_decide_about_calls_are_warned_of(version, kind, words, tmp_path):
    (found,) = form(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: it}}\n", tmp_path).findings
    assert (found.code, found.severity, found.line) == ("RT0015", "warning", 2)
    assert words in found.message


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("policy/v1", "PodDisruptionBudget"), ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("rbac.authorization.k8s.io/v1", "RoleBinding"), ("scheduling.k8s.io/v1", "PriorityClass"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("networking.k8s.io/v1", "IngressClass"),
    ],
)  # fmt: skip
def test_kinds_that_nobody_misses_are_for_information(version, kind, tmp_path):
    (found,) = form(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: it}}\n", tmp_path).findings
    assert (found.code, found.severity) == ("RT0014", "info")


def test_no_kind_that_is_read_is_called_foreign():
    for name, kind in objects.KINDS.items():
        for version in kind.api_versions:
            assert foreign.judge(version, name) is foreign.Verdict.READ


def test_lists_keep_the_lines_of_their_items(tmp_path):
    loaded = form(
        """\
        apiVersion: v1
        kind: List
        items:
        - apiVersion: v1
          kind: ConfigMap
          metadata: {name: a}
        - apiVersion: v1
          kind: Service
          metadata: {name: b}
          spec:
            ports: [{port: 0}]
        ---
        apiVersion: v1
        kind: ConfigMapList
        items:
        - metadata: {name: c}
          data: {x: 1}
        - metadata: {name: d}
        """,
        tmp_path,
    )
    assert short(loaded) == [("RT0011", 11), ("RT0004", 17)]
    first, second = loaded.objects
    assert (str(first.ref), first.position.line, first.position.at("metadata.name")) == (
        "ConfigMap default/a",
        4,
        6,
    )
    assert (str(second.ref), second.position.line) == ("ConfigMap default/d", 18)


def test_lists_of_a_kind_of_lists_and_of_nothing(tmp_path):
    loaded = form(
        """\
        apiVersion: v1
        kind: PodList
        items:
        - metadata: {name: good}
          spec: {containers: [{name: c, command: [a]}]}
        - metadata: {name: bad}
          spec: {containers: [{name: c, command: a}]}
        ---
        apiVersion: v1
        kind: List
        items:
        - apiVersion: v1
          kind: ConfigMapList
          items:
          - metadata: {name: inner}
            data: {x: 1}
          - metadata: {name: other}
        ---
        {apiVersion: v1, kind: List}
        ---
        {apiVersion: v1, kind: ServiceList, items: ~}
        ---
        {apiVersion: v1, kind: List, items: {a: b}}
        """,
        tmp_path,
    )
    assert [str(each.ref) for each in loaded.objects] == ["Pod default/good", "ConfigMap default/other"]
    assert short(loaded) == [("RT0004", 7), ("RT0004", 16), ("RT0003", 23)]


def test_duplicates_name_both_places(tmp_path):
    for name, value in (("a.yaml", "one"), ("b.yaml", "two")):
        (tmp_path / name).write_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\ndata: {{k: {value}}}\n")
    loaded = manifests.load([tmp_path])
    (found,) = loaded.findings
    assert (found.code, found.file, found.line) == ("RT0006", str(tmp_path / "b.yaml"), 4)
    assert found.message.startswith("ConfigMap default/x stands here and in a.yaml, line 4;")
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.yaml").rename(tmp_path / "deep" / "b.yaml")
    (found,) = manifests.load([tmp_path]).findings
    assert "stands here and in ../a.yaml, line 4;" in found.message
    text = (tmp_path / "a.yaml").read_text()
    (tmp_path / "deep" / "b.yaml").write_text(text.replace("x", "z") + "---\n" + text.replace("x", "z"))
    (found,) = manifests.load([tmp_path]).findings
    assert "stands here and in line 4;" in found.message
    assert loaded.objects[0].object.data == {"k": "one"}


def test_the_same_key_twice_leaves_the_object_out(tmp_path):
    loaded = of("ConfigMap", "data:\n  a: b\n  a: c\n", tmp_path)
    assert short(loaded) == [("RT0012", 6)]
    assert loaded.objects == ()


SECRETS = [
    "data: hunter2",
    "data: {k: hunter2!}",
    "data: {k: [hunter2]}",
    "data: {k: 31337}",
    "stringData: {k: 31337}",
    "stringData: [hunter2]",
    "data: {k: true}",
    "stringData: {k: yes}",
    "data: {k: a, k: hunter2}",
]


@pytest.mark.parametrize("body", SECRETS)
def test_no_finding_shows_a_secret(body, tmp_path):
    loaded = of("Secret", body, tmp_path)
    assert loaded.findings
    shown = repr(loaded.findings) + repr(loaded.objects)
    assert "hunter2" not in shown
    assert "31337" not in shown


CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}}}\n"


def test_folders_files_and_what_is_skipped(tmp_path, monkeypatch):
    for name in ("b/z.yml", "b/a.yaml", "a.json", "c.txt", ".hidden.yaml", ".git/x.yaml", "b/.x/y.yaml"):
        file = tmp_path / "m" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(CONFIG.format(name.replace("/", "-").replace(".", "-").strip("-")))
    (tmp_path / "m" / "loop").symlink_to(tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    loaded = manifests.load([manifests.Path("m"), manifests.Path("m/c.txt"), manifests.Path("m/a.json")])
    assert [each.position.file for each in loaded.objects] == [
        "m/a.json",
        "m/b/a.yaml",
        "m/b/z.yml",
        "m/c.txt",
    ]
    assert loaded.findings == ()


def test_paths_that_are_not_there(tmp_path):
    loaded = manifests.load([tmp_path / "nope.yaml"])
    assert short(loaded) == [("RT0009", 1)]
    assert [each.file for each in loaded.broken] == [str(tmp_path / "nope.yaml")]


@pytest.fixture
def odd(tmp_path):
    """A folder with everything that has the name of a manifest and is none, and one that is."""
    (tmp_path / "good.yaml").write_text(CONFIG.format("good"))
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "lost.yaml").symlink_to("nowhere")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(tmp_path / "socket.yaml"))
        yield tmp_path


def test_what_is_no_file_is_a_finding_and_stops_nothing_else(odd):
    loaded = manifests.load([odd])
    assert held(loaded) == {"good"}
    assert {each.code for each in loaded.findings} == {"RT0009"}
    said = {os.path.basename(each.file): each.message for each in loaded.findings}
    assert said["pipe.yaml"] == "this path cannot be read: it is a named pipe"
    assert said["socket.yaml"].endswith("a socket")
    assert said["device.yaml"].endswith("a device")
    assert said["lost.yaml"] == "this link leads to nowhere, which does not exist"
    assert "Too many levels of symbolic links" in said["loop.yaml"]
    assert len(said) == 5
    (named,) = manifests.load([odd / "pipe.yaml"]).findings
    assert (named.code, named.message) == ("RT0009", said["pipe.yaml"])


def test_what_may_not_be_read_is_a_finding_and_stops_nothing_else():
    with tempfile.TemporaryDirectory() as name:
        folder = manifests.Path(name)
        folder.chmod(0o755)
        (folder / "good.yaml").write_text(CONFIG.format("good"))
        (folder / "mine.yaml").write_text(CONFIG.format("mine"))
        (folder / "mine.yaml").chmod(0)
        (folder / "shut").mkdir(0)
        with nobody():
            loaded = manifests.load([folder, folder / "shut" / "in.yaml"])
        assert held(loaded) == {"good"}
        assert [(each.file, each.code) for each in loaded.findings] == [
            (str(folder / each), "RT0009") for each in ("mine.yaml", "shut", "shut/in.yaml")
        ]
        assert all("Permission denied" in each.message for each in loaded.findings)


@contextlib.contextmanager
def nobody():
    """Without the rights of root, whom no mode of a file stops."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def held(loaded):
    return {each.object.metadata.name for each in loaded.objects}


def test_objects_are_complete_with_defaults(tmp_path):
    (located,) = of("Service", "spec: {ports: [{port: 80}]}", tmp_path).objects
    assert located.object.metadata.namespace == "default"
    assert located.object.spec.ports[0].target_port == 80


def test_unchanged_files_are_not_parsed_again(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(CONFIG.format(name))
    cache, parsed, real = manifests.Cache(), [], manifest_file.parse
    monkeypatch.setattr(manifest_file, "parse", lambda file, data: parsed.append(file) or real(file, data))
    first = manifests.load([tmp_path], cache)
    assert manifests.load([tmp_path], cache) == first
    (tmp_path / "b.yaml").write_text(CONFIG.format("c"))
    manifests.load([tmp_path], cache)
    assert [manifests.Path(file).name for file in parsed] == ["a.yaml", "b.yaml", "b.yaml"]


WORDS = st.sampled_from(
    [
        "name",
        "spec",
        "ports",
        "port",
        "containers",
        "rules",
        "metadata",
        "labels",
        "data",
        "items",
        "kind",
        "apiVersion",
        "template",
        "selector",
        "listeners",
        "tls",
        "x.y",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
@hypothesis.given(st.sampled_from(sorted(objects.KINDS)), st.dictionaries(WORDS, JSON, max_size=5))
def test_nothing_a_user_writes_is_a_crash(kind, body):
    import yaml

    value = {**body, "apiVersion": objects.KINDS[kind].api_versions[0], "kind": kind}
    for entry in manifest_file.parse("f", yaml.safe_dump(value).encode()):
        assert sum(each is not None for each in (entry.located, entry.other, entry.broken)) == 1
        assert all(found.line >= 1 and found.message and found.fix for found in entry.found)
