"""Certificates that users give to gateways. Workload keys never come here: they are made on the node."""

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2


def tls(name: str, pair: tuple[bytes, bytes]) -> secret_pb2.Secret:
    """A certificate chain and its key, both PEM."""
    answer = secret_pb2.Secret(name=name)
    answer.tls_certificate.certificate_chain.inline_bytes = pair[0]
    answer.tls_certificate.private_key.inline_bytes = pair[1]
    return answer
