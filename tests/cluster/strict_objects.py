"""Pods and what attacks them, for the tests of STRICT: servers with every kind of probe, and places to call from."""

import json
import subprocess
import sys

from retic.testing import tls_pairs

IMAGE_USER = 65532
HTTP, UNDECLARED, GRPC, LINES, FIRST, TLS = 8080, 8090, 9000, 7000, 7001, 8443
# For probes that end a container: a slow machine must not.
PATIENT = {"periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 30}

SECURE = """
import http.server, ssl
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "6"); self.end_headers()
        self.wfile.write(b"secure")
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), Answer)
made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
made.load_cert_chain("/pair/tls.crt", "/pair/tls.key")
server.socket = made.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def server(name, module, port, image, **more):
    """A container that runs one of the test servers."""
    command = ["python", "-m", f"retic.testing.apps.{module}", "--port", str(port), "--name", name]
    return {"name": name, "image": image, "command": command, **more}


def get(port, path, **more):
    return {"httpGet": {"port": port, "path": path, **more}, "periodSeconds": 1, "failureThreshold": 3}


def probed(image, node):
    """One pod with every kind of probe and hook that a kubelet knows."""
    secure = {
        "name": "secure", "image": image, "command": ["python", "-c", SECURE],
        "volumeMounts": [{"name": "pair", "mountPath": "/pair"}],
        "readinessProbe": get(TLS, "/secure", scheme="HTTPS"),
    }  # fmt: skip
    declared = server(
        "declared", "echo_http", HTTP, image,
        ports=[{"name": "web", "containerPort": HTTP}],
        startupProbe={**get("web", "/started"), **PATIENT},
        readinessProbe=get("web", "/ready?full=1"),
        livenessProbe={"tcpSocket": {"port": "web"}, **PATIENT},
        lifecycle={
            # Refused, it would end the container again and again.
            "postStart": {"exec": {"command": ["python", "-c", UNTIL_OPEN]}},
            "preStop": {"httpGet": {"port": "web", "path": "/stopping"}},
        },
    )  # fmt: skip
    hooked = server("hooked", "echo_http", 8091, image, lifecycle={"postStart": {"exec": {"command": ["true"]}}})
    hooked["readinessProbe"] = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probed", "labels": {"app": "probed"}},
        "spec": {
            "nodeName": node, "terminationGracePeriodSeconds": 1,
            "containers": [
                declared, hooked, secure,
                server("undeclared", "echo_http", UNDECLARED, image, readinessProbe=get(UNDECLARED, "/live"),
                       livenessProbe={**get(UNDECLARED, "/alive"), **PATIENT}),
                server("calls", "echo_grpc", GRPC, image,
                       readinessProbe={"grpc": {"port": GRPC}, "periodSeconds": 1, "timeoutSeconds": 3}),
                server("lines", "echo_tcp", LINES, image, readinessProbe={"tcpSocket": {"port": LINES}}),
                server("first", "server_first", FIRST, image, readinessProbe={"tcpSocket": {"port": FIRST}}),
            ],
            "volumes": [{"name": "pair", "secret": {"secretName": "pair"}}],
        },
    }  # fmt: skip


UNTIL_OPEN = f"""
import socket, time
for _ in range(300):
    try:
        socket.create_connection(('127.0.0.1', {HTTP}), 1).close(); break
    except OSError:
        time.sleep(0.1)
else:
    raise SystemExit(1)
"""


def failing(image, node):
    """Pods whose probes fail, each for another reason."""
    wrong = {
        "answers-503": server("c", "echo_http", HTTP, image, readinessProbe=get(HTTP, "/status/503")),
        "closed-port": server("c", "echo_http", HTTP, image, readinessProbe={"tcpSocket": {"port": 81}}),
        "no-grpc": server("c", "echo_http", HTTP, image, readinessProbe={"grpc": {"port": HTTP}}),
        "closes": server("c", "echo_http", HTTP, image, readinessProbe=get(HTTP, "/close")),
    }
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
         "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1, "containers": [container]}}
        for name, container in wrong.items()
    ]  # fmt: skip


def services():
    """The probed pod's Services, by ClusterIP and by NodePort."""
    ports = [
        {"name": "http", "port": 80, "targetPort": HTTP}, {"name": "tcp-lines", "port": LINES},
        {"name": "tcp-first", "port": FIRST}, {"name": "grpc", "port": GRPC}, {"name": "https", "port": TLS},
        {"name": "tcp-more", "port": UNDECLARED},
    ]  # fmt: skip
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "probed"},
        "spec": {"type": "NodePort", "selector": {"app": "probed"}, "ports": ports},
    }  # fmt: skip


def sleeper(name, image, node, **spec):
    """A pod that waits to be told by `kubectl exec`."""
    container = {"name": "c", "image": image, "command": ["sleep", "infinity"]}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container], **spec},
    }  # fmt: skip


def pair():
    """A certificate and key of nobody's authority, as a Secret."""
    chain, key = tls_pairs.pair("probed.test")
    data = {"tls.crt": chain.decode(), "tls.key": key.decode()}
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "pair"},
            "stringData": data}  # fmt: skip


CALL = """
import concurrent.futures, json, socket, ssl, sys
tries, seconds = json.loads(sys.argv[1])
def read(s, said):
    got = b""
    try:
        while len(got) < 65536 and (piece := s.recv(65536)):
            got += piece
            head, end, body = got.partition(b"\\r\\n\\r\\n")
            sizes = [l.split(b":")[1] for l in head.lower().split(b"\\r\\n") if l.startswith(b"content-length:")]
            if (end and sizes and len(body) >= int(sizes[0])) or (said and got.endswith(said)):
                break
    except OSError:
        pass
    return got.decode("latin-1")
def call(host, port, text, tls):
    try:
        with socket.create_connection((host, port), seconds) as s:
            s.settimeout(seconds)
            if tls is not None:
                trust = ssl.create_default_context(); trust.check_hostname = False
                trust.verify_mode = ssl.CERT_NONE
                if tls.get("alpn"):
                    trust.set_alpn_protocols([tls["alpn"]])
                if tls.get("chain"):
                    import tempfile
                    file = tempfile.NamedTemporaryFile("w", suffix=".pem"); file.write(tls["chain"]); file.flush()
                    trust.load_cert_chain(file.name)
                try:
                    s = trust.wrap_socket(s)
                except (ssl.SSLError, OSError) as error:
                    return "no handshake"
            try:
                s.sendall(text.encode("latin-1"))
            except OSError:
                pass
            return read(s, text.encode("latin-1"))
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return f"no connection: {type(error).__name__}"
with concurrent.futures.ThreadPoolExecutor(48) as pool:
    print(json.dumps(dict(zip(tries, pool.map(lambda t: call(*t), tries.values())))))
"""


def call(kube, pod, tries, seconds=4):
    """Each of `tries` (host, port, text, TLS or None) from the pod; from this machine itself when it is None.

    `seconds` is how long each may take: many, where an answer is expected and not its absence.
    """
    given = json.dumps([tries, seconds])
    if pod is None:
        done = subprocess.run([sys.executable, "-c", CALL, given], capture_output=True, check=True)
        return json.loads(done.stdout)
    return json.loads(kube.run("exec", pod, "--", "python3", "-c", CALL, given))


def http(target, method="GET", more=""):
    return f"{method} {target} HTTP/1.1\r\nhost: probed\r\n{more}\r\n"
