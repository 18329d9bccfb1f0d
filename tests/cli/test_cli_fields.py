"""Fields without effect through `retic analyze`: a manifest whose lines say which code they must have.

`# RT0503` at the end of a line: a finding of that code there. Anything more, or anything less, is a failure,
so that each field is said once, however many containers and replicas have it.
"""

import json
import re

import pytest
from tools import fields
from typer import testing

from retic.cli import app
from retic.testing import tls_pairs

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  type: LoadBalancer  # RT0503
  externalIPs: [203.0.113.7]  # RT0110
  sessionAffinity: ClientIP
  sessionAffinityConfig:
    clientIP:
      timeoutSeconds: 60  # RT0523
  internalTrafficPolicy: Local
  externalTrafficPolicy: Local  # RT0507
  trafficDistribution: PreferSameNode
  ipFamilyPolicy: RequireDualStack  # RT0108
  ipFamilies: [IPv4, IPv6]  # RT0108
  loadBalancerSourceRanges: [10.0.0.0/8]
  ports:
  - port: 80
    name: http
    nodePort: 30080  # RT0503
  - {port: 81, name: other, nodePort: 30081}
"""

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  progressDeadlineSeconds: 60  # RT0507
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      securityContext:  # RT0507
        runAsNonRoot: true
        fsGroup: 2000
      hostUsers: false  # RT0507
      hostPID: true  # RT0507
      hostIPC: true
      shareProcessNamespace: true
      runtimeClassName: gvisor  # RT0507
      hostnameOverride: other.example.com  # RT0503
      os: {name: windows}  # RT0503
      resources:
        limits: {cpu: 1}  # RT0507
      schedulingGates:  # RT0503
      - name: example.com/wait
      resourceClaims:  # RT0503
      - {name: gpu, resourceClaimName: gpu}
      ephemeralContainers:  # RT0503
      - name: debug
      tolerations: [{operator: Exists}]
      priorityClassName: high
      affinity:  # RT0507
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname}]
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: a, whenUnsatisfiable: ScheduleAnyway}
      - {maxSkew: 1, topologyKey: b, whenUnsatisfiable: DoNotSchedule}  # RT0507 topologySpreadConstraints
      initContainers:
      - name: first
        command: ["true"]
        resources: {limits: {cpu: 1}}
      containers:
      - name: main
        command: [sleep, "1"]
        stdin: true  # RT0503
        stdinOnce: true
        tty: true  # RT0507
        imagePullPolicy: Always
        securityContext: {capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
        resources:
          limits: {memory: 64Mi}
        ports:
        - containerPort: 80
          hostPort: 8080  # RT0503
        - {containerPort: 81, hostPort: 8081, hostIP: 127.0.0.1}
        env:
        - name: A
          valueFrom:
            fileKeyRef: {volumeName: cache, path: a, key: A}  # RT0503
        volumeMounts:
        - name: cache
          mountPath: /tmp/cache
          mountPropagation: HostToContainer  # RT0507
        volumeDevices:  # RT0503
        - {name: block, devicePath: /dev/xvda}
        livenessProbe:
          tcpSocket: {port: 80}
          terminationGracePeriodSeconds: 5  # RT0507
      - name: other
        command: [sleep, "1"]
        restartPolicy: Never  # RT0503
        restartPolicyRules:  # RT0503
        - {action: Restart}
        tty: true
        securityContext: {runAsUser: 1000}
        resources: {limits: {memory: 64Mi}}
      volumes:
      - name: cache
        emptyDir:
          medium: Memory  # RT0507
          sizeLimit: 1Gi  # RT0507
      - name: more
        emptyDir: {medium: Memory, sizeLimit: 1Gi}
      - name: trust
        projected:
          sources:
          - clusterTrustBundle: {name: a, path: a}  # RT0503
          - podCertificate: {signerName: a.example.com/b, keyType: ED25519}  # RT0503
"""

POD = "metadata: {labels: {app: web}}, spec: {containers: [{name: c, command: [sleep, '1']}]}"
ENDING = "metadata: {labels: {app: web}}, spec: {restartPolicy: Never, containers: [{name: c, command: [sleep, '1']}]}"

MAKERS = f"""\
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  serviceName: web
  revisionHistoryLimit: 3
  template: {{{POD}}}
  persistentVolumeClaimRetentionPolicy: {{whenDeleted: Delete}}  # RT0507
  updateStrategy:
    rollingUpdate:
      maxUnavailable: 2  # RT0507
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template: {{{POD}}}
  updateStrategy:
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1  # RT0503
---
apiVersion: batch/v1
kind: Job
metadata: {{name: web}}
spec:
  template: {{{ENDING}}}
  completionMode: Indexed
  completions: 2
  podFailurePolicy: {{rules: []}}  # RT0503
  successPolicy: {{rules: []}}  # RT0503
  backoffLimitPerIndex: 1  # RT0503
  maxFailedIndexes: 1  # RT0503
  managedBy: example.com/queue  # RT0503
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: web}}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec:
      podReplacementPolicy: Failed  # RT0507
      template:
        spec:
          restartPolicy: Never
          securityContext: {{runAsUser: 1000}}  # RT0507
          containers: [{{name: c, command: [sleep, '1']}}]
"""

OTHERS = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
immutable: true  # RT0507
---
apiVersion: v1
kind: Secret
metadata: {name: a}
immutable: true  # RT0507
---
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {a: b}}
spec:
  podCIDR: 10.0.0.0/24
  unschedulable: true  # RT0503
  taints: [{key: a, effect: NoSchedule}]  # RT0503
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 80}]
endpoints:
- addresses: [192.0.2.1]
  zone: a
  hints: {forZones: [{name: a}]}
- addresses: [192.0.2.2]
  zone: a
  hints: {forZones: [{name: b}]}  # RT0110
- addresses: [192.0.2.3]
  hints: {forNodes: [{name: node-1}]}
"""

GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: mine}
spec:
  controllerName: retic.dev/gateway-controller
  parametersRef: {group: a, kind: B, name: c}  # RT0308
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: somebodys}
spec: {controllerName: example.com/other, parametersRef: {group: a, kind: B, name: c}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: mine
  addresses: [{value: 203.0.113.7}]  # RT0308
  infrastructure:
    parametersRef: {group: a, kind: B, name: c}  # RT0308
  allowedListeners: {namespaces: {from: Same}}  # RT0308
  defaultScope: All  # RT0308
  backendTLS: {clientCertificateRef: {name: cert}}  # RT0308
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - name: https
    port: 443
    protocol: HTTPS
    hostname: a.example.com
    tls:
      certificateRefs: [{name: cert}]
      options: {example.com/a: b}  # RT0308
  - name: mutual
    port: 443
    protocol: HTTPS
    hostname: b.example.com
    tls:
      certificateRefs: [{name: cert}]
      frontendValidation: {caCertificateRefs: [{name: ca, kind: ConfigMap, group: ""}]}  # RT0307
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: another}
spec:
  gatewayClassName: retic
  tls:
    backend: {clientCertificateRef: {name: cert}}  # RT0308 tls
    frontend:
      default:
        validation: {caCertificateRefs: [{name: ca}]}  # RT0307
      perPort:
      - port: 444
        tls:
          validation: {mode: AllowInsecureFallback, caCertificateRefs: [{name: ca}]}  # RT0308
      - {port: 445, tls: {}}
  listeners:
  - {name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}
  - {name: b, port: 444, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}
  - {name: c, port: 445, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}
---
apiVersion: v1
kind: Secret
metadata: {name: cert}
type: kubernetes.io/tls
stringData: {tls.crt: CHAIN, tls.key: KEY}
"""
for word, pem in zip(("CHAIN", "KEY"), tls_pairs.pair("shop.test"), strict=True):
    GATEWAY = GATEWAY.replace(f": {word}", f": {json.dumps(pem.decode())}")

ROUTES = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: web, kind: Service, group: ""}]
  useDefaultGateways: All  # RT0205
  rules:
  - backendRefs: [{name: web, port: 80}]
    retry: {attempts: 2}
    sessionPersistence:
      type: Cookie
      idleTimeout: 1h  # RT0521
  - backendRefs: [{name: web, port: 80}]
    filters:
    - {type: CORS, cors: {}}  # RT0205 cors
    - {type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {name: web, port: 80}}}  # RT0205 externalAuth
    - {type: ExtensionRef, extensionRef: {group: a, kind: B, name: c}}  # RT0205 extensionRef
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: web}
spec:
  parentRefs: [{name: web, kind: Service, group: ""}]
  useDefaultGateways: All  # RT0205
  rules:
  - backendRefs: [{name: web, port: 80}]
    sessionPersistence:
      idleTimeout: 1h  # RT0521
"""

VIRTUAL = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  tcp: [{route: [{destination: {host: web}}]}]  # RT0554 tcp
  tls: [{match: [{sniHosts: [web]}], route: [{destination: {host: web}}]}]  # RT0554 tls
  http:
  - name: first
    match:
    - name: some
      uri: {prefix: /a}
      statPrefix: a  # RT0548
    retries:
      retryRemoteLocalities: true  # RT0548
      retryIgnorePreviousHosts: false  # RT0548
    fault:
      delay:
        exponentialDelay: 1s  # RT0548
        percentage: {value: 1}
      abort:
        http2Error: NO_ERROR  # RT0548
        percentage: {value: 1}
    route: [{destination: {host: web}}]
"""

HOST = """\
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  hostNetwork: true  # RT0503
  containers: [{name: c, command: [sleep, "1"], ports: [{containerPort: 80, hostPort: 80}]}]
"""

PLAIN = f"""\
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template: {{{POD}}}
"""

DESTINATION_RULES = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80, name: http}], clusterIP: 10.96.0.7}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  trafficPolicy:
    tunnel: {targetHost: a, targetPort: 1}  # RT0707
    proxyProtocol: {version: V1}  # RT0707
    retryBudget: {percent: 20}  # RT0707
    connectionPool:
      tcp:
        idleTimeout: 5s  # RT0707
      http:
        h2UpgradePolicy: UPGRADE  # RT0707
    outlierDetection:
      consecutiveErrors: 5  # RT0707
    tls:
      mode: ISTIO_MUTUAL
      clientCertificate: /a  # RT0707
      privateKey: /b  # RT0707
      caCertificates: /c  # RT0707
      caCrl: /d  # RT0707
      credentialName: e  # RT0707
      subjectAltNames: [f]  # RT0707
      sni: g  # RT0707
      insecureSkipVerify: true  # RT0707
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: some}
spec:
  host: web
  workloadSelector: {matchLabels: {app: web}}  # RT0704
"""

TELEMETRY = """\
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: a}
spec:
  metrics:  # RT0804
  - {providers: [{name: prometheus}], reportingInterval: 5s}
  tracing:
  - providers: [{name: otel}]
    useRequestIdForTraceSampling: true  # RT0805
    enableIstioTags: true  # RT0805
    customTags:
      a:  # RT0805 environment
        environment: {name: A}
      b:  # RT0805 formatter
        formatter: {value: "%A%"}
---
apiVersion: retic.dev/v1alpha1
kind: TelemetryProvider
metadata: {name: otel}
spec: {opentelemetry: {service: otel.example.com, port: 4317}}
"""

CASES = {
    "destination rules": DESTINATION_RULES,
    "service": SERVICE + PLAIN,
    "deployment": DEPLOYMENT,
    "makers": MAKERS,
    "others": OTHERS,
    "gateway": GATEWAY,
    "routes": ROUTES,
    "host": HOST,
    "virtual": VIRTUAL,
    "telemetry": TELEMETRY,
}
MARK = re.compile(r"^[\s-]*(?P<field>\w+)?.*  # (?P<code>RT\d{4})(?: (?P<named>\w+))?$")

AS_IT_IS = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  type: ClusterIP
  sessionAffinity: None
  internalTrafficPolicy: Cluster
  trafficDistribution: PreferSameZone
  ipFamilyPolicy: PreferDualStack
  ipFamilies: [IPv4]
  ports: [{port: 80, nodePort: 0}]
---
apiVersion: v1
kind: Service
metadata: {name: each}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{port: 80}]
  sessionAffinity: ClientIP
  internalTrafficPolicy: Local
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  progressDeadlineSeconds: 600
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      securityContext: {}
      shareProcessNamespace: true
      hostUsers: true
      os: {name: linux}
      affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1}]}}
      volumes: [{name: a, emptyDir: {sizeLimit: 0}}, {name: b, emptyDir: {}}]
      containers:
      - name: main
        command: [sleep, "1"]
        stdin: false
        tty: false
        restartPolicy: Always
        resources: {requests: {cpu: 1}}
        securityContext: {privileged: false, runAsNonRoot: false, capabilities: {add: []}, procMount: Default}
        livenessProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 30}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
immutable: false
"""


@pytest.fixture
def analyze(tmp_path):
    def run(text):
        (tmp_path / "it.yaml").write_text(text)
        arguments = ["analyze", "-f", str(tmp_path), "-o", "json"]
        done = testing.CliRunner().invoke(app.app, arguments, standalone_mode=False)
        assert done.exception is None, done.exception
        return json.loads(done.stdout)

    return run


def marks(text):
    """Line, code and field of each marked line."""
    found = ((number, MARK.match(line)) for number, line in enumerate(text.splitlines(), start=1))
    return [(number, m["code"], m["named"] or m["field"]) for number, m in found if m]


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_each_field_is_said_once_in_its_line(text, analyze):
    found = analyze(text)
    assert [(each["line"], each["code"]) for each in found] == [(line, code) for line, code, _ in marks(text)]
    assert all(each["message"] and each["fix"] for each in found)


def test_values_that_ask_for_what_happens_anyway_are_silent(analyze):
    assert analyze(AS_IT_IS) == []


@pytest.mark.parametrize("kind", fields.SAID["Volume"]["RT0503"].split())
def test_a_volume_that_is_an_empty_folder_is_said(kind, analyze):
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers: [{name: c, command: [a]}]\n"
    (found,) = analyze(f"{pod}  volumes:\n  - {{name: v, {kind}: {{}}}}\n")
    assert (found["line"], found["code"]) == (7, "RT0503")
    assert kind in found["message"]


def test_every_field_of_the_reference_s_second_column_has_a_case_here():
    shown = {(code, field) for text in CASES.values() for _, code, field in marks(text)}
    wanted = {
        (code, field)
        for struct, codes in fields.SAID.items()
        for code, names in codes.items()
        for field in names.split()
        if struct != "Volume"
    }
    within = {("RT0503", "hostIP")}  # said at hostPort
    at_their_parent = {("RT0507", "resources")}  # said at the limits within
    assert wanted - shown == within | at_their_parent


def test_a_security_context_says_what_is_without_effect_in_all_containers(analyze):
    (found,) = [each for each in analyze(DEPLOYMENT) if "rights of whoever" in each["message"]]
    assert "runAsNonRoot, fsGroup, capabilities, readOnlyRootFilesystem, runAsUser;" in found["message"]
    assert found["severity"] == "info"


STRANGE = """\
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  affinity: {nodeAffinity: 1}
  securityContext: {capabilities: [ALL], seccompProfile: 1}  # RT0507
  os: {}
  containers: [{name: c, command: [a]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: a}
spec:
  gatewayClassName: retic
  tls: {frontend: [1], backend: 1}  # RT0308
  allowedListeners: {namespaces: 1}
  listeners: [{name: a, port: 80, protocol: HTTP}]
"""


def test_structures_of_no_known_form_break_nothing(analyze):
    assert [(each["line"], each["code"]) for each in analyze(STRANGE)] == [(6, "RT0507"), (15, "RT0308")]
