"""TLS of the control plane's ports: its own certificate, renewed while serving, and clients' verified.

gRPC asks for the certificate at every handshake, so renewal needs no task: whoever connects after
half-life gets the next one. Python's gRPC can require client certificates or not ask for them, nothing
between: hence two ports (`service` says which serves what).
"""

import threading
from collections.abc import Callable
from typing import Any, cast

import grpc
from cryptography import x509

from retic.identity import authority, certificate, current, spiffe

# gRPC compares a server's certificate with a host name; URIs are not looked at. The authority puts this
# name into the control plane's certificate and into no other, so it proves as much as the SPIFFE id.
HOST = "control.retic.internal"
CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.ssl_target_name_override", HOST),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In spite of its name the least time that an attempt to connect may take: a busy machine needs it.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
)
SERVER_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),
)
# For the port that anybody may call who reaches it: a token and a signing request are some hundred bytes, and a
# longer message is refused before it is read into memory.
LONGEST_ENROLMENT = 64 * 1024
MOST_ENROLMENTS = 512  # calls at one time on that port; who comes beyond is told to come back
ENROLMENT_OPTIONS = (("grpc.max_receive_message_length", LONGEST_ENROLMENT), *SERVER_OPTIONS[1:])


class _Certificate:
    """The control plane's certificate of the moment. Called from gRPC's threads."""

    def __init__(self, signer: current.Current) -> None:
        self._signer = signer
        self._lock = threading.Lock()
        self._renew_at = signer.time.now()
        self._made_by: authority.Authority | None = None

    def initial(self) -> grpc.ServerCertificateConfiguration:
        with self._lock:
            return self._make()

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """A new one when due, else None: the one before stays."""
        with self._lock:
            due = self._signer.time.now() >= self._renew_at or self._signer.signer is not self._made_by
            return self._make() if due else None

    def _make(self) -> grpc.ServerCertificateConfiguration:
        key, signer = certificate.new_key(), self._signer.signer
        chain = signer.issue(key.public_key(), spiffe.Control(signer.trust_domain), dns=(HOST,))
        self._renew_at = certificate.renew_at(x509.load_pem_x509_certificate(chain))
        self._made_by = signer
        return grpc.ssl_server_certificate_configuration(
            [(certificate.key_pem(key), chain)], root_certificates=signer.bundle()
        )


def credentials(signer: current.Current, *, require_client: bool) -> grpc.ServerCredentials:
    """What `add_secure_port` wants. With `require_client` who has no certificate of ours gets no call in."""
    own = _Certificate(signer)
    fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", own.fetch)  # the stubs forget None
    return grpc.dynamic_ssl_server_credentials(
        own.initial(), fetch, require_client_authentication=require_client
    )
