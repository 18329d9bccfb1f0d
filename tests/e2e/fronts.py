"""Gateways, their certificates and routes, as the tests of gateways write them."""

import base64
import socket
import ssl

import live

from retic.testing import ports


def secret(name, pair, **more):
    """A TLS Secret."""
    data = {"tls.crt": base64.b64encode(pair[0]).decode(), "tls.key": base64.b64encode(pair[1]).decode()}
    return {
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": live.meta(name, **more),
        "data": data,
    }


def gateway(name, *listeners, kind="retic"):
    """A Gateway of these listeners."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": live.meta(name),
        "spec": {"gatewayClassName": kind, "listeners": list(listeners)},
    }


def listener(name, port, hostname=None, certificates=(), **more):
    """A listener: HTTPS when it has certificates (names of Secrets), else HTTP."""
    answer = {"name": name, "port": port, "protocol": "HTTPS" if certificates else "HTTP", **more}
    if hostname:
        answer["hostname"] = hostname
    if certificates:
        answer["tls"] = {"certificateRefs": [{"name": c} for c in certificates]}
    return answer


def tagged(name, gateway_name, *matches, section=None, hostnames=(), backend="site-v1", **more):
    """A route that says its own name in x-rule."""
    tag = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-rule", "value": name}]}}
    rule = {"filters": [tag], "backendRefs": [live.to(backend, **more)]}
    if matches:
        rule["matches"] = [{"path": {"type": "PathPrefix", "value": m}} for m in matches]
    parent = {"name": gateway_name} | ({"sectionName": section} if section else {})
    return live.route(name, parent, rule, **({"hostnames": list(hostnames)} if hostnames else {}))


def free_ports(number):
    """Ports that nobody listens on just now."""
    return [ports.free() for _ in range(number)]


def address(mesh, name, port):
    """Where a Gateway's port is reached from the host, None when it is not."""
    found = [g for g in mesh.ps()["gateways"] if g["name"] == name]
    return next((x["address"] for g in found for x in g["listeners"] if x["port"] == port), None)


def taken(answer):
    """The name of the route that took a request, else the answer's status."""
    return answer["json"]["headers"].get("x-rule") if answer["status"] == 200 else answer["status"]


def shown(port, name, ciphers=""):
    """The certificate (DER) that a port of 127.0.0.1 shows for a server name; None when it refuses.

    `ciphers` are those of TLS 1.2, which is spoken then.
    """
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    if ciphers:
        trust.maximum_version = ssl.TLSVersion.TLSv1_2
        trust.set_ciphers(ciphers)
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as plain, trust.wrap_socket(
            plain, server_hostname=name
        ) as secured:
            return secured.getpeercert(binary_form=True)
    except OSError:
        return None
