"""Service account tokens for projected volumes: JWTs of the form that a cluster's API server signs.

The mesh's key signs them (`serviceaccount.key` in the state folder, mode 0600; its public half beside it in
`serviceaccount.pub`, for whoever wants to check one). Nothing here answers a TokenReview. When a token is made
anew, and how its file may be read, are kubelet's rules (pkg/kubelet/token, pkg/volume/projected).
"""

import base64
import hashlib
import os
import pathlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from retic import findings
from retic.identity import clock
from retic.objects import pods as structs
from retic.objects import volume

ISSUER = "https://kubernetes.default.svc.cluster.local"
KEY, PUBLIC = "serviceaccount.key", "serviceaccount.pub"
_SECONDS = 3600  # how long a token holds when nothing is said
_LONGEST = 86400.0  # seconds after which a token is made anew, however long it would hold
_PRIVATE = 0o600
_SIZE = 32  # bytes of each half of an ES256 signature (RFC 7518, section 3.4)


class Issuer:
    """Signs claims. Its repr tells nothing of the key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        digest = hashlib.sha256(
            key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        self._id = _text(digest.digest())

    @classmethod
    def open(cls, folder: pathlib.Path) -> "Issuer":
        """With the key in `folder`, which is made when there is none. Raises OSError, ValueError."""
        path = folder / KEY
        if path.exists():
            key = serialization.load_pem_private_key(path.read_bytes(), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{path} is no elliptic key")
            return cls(key)
        made = ec.generate_private_key(ec.SECP256R1())
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        for name, text in (
            (KEY, made.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)),
            (PUBLIC, made.public_key().public_bytes(pem, form)),
        ):
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
            with open(descriptor, "wb") as file:
                file.write(text)
        return cls(made)

    def sign(self, claims: dict[str, Any]) -> str:
        """The claims as a JWT, signed with ES256."""
        parts = ({"alg": "ES256", "kid": self._id}, claims)
        signed = ".".join(_text(msgspec.json.encode(part)) for part in parts)
        r, s = utils.decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_text(r.to_bytes(_SIZE, 'big') + s.to_bytes(_SIZE, 'big'))}"


class _Held(msgspec.Struct, frozen=True):
    text: str
    renew: float


class Tokens:
    """The tokens of one pod, each kept until it is time for the next one."""

    def __init__(self, issuer: Issuer, time: clock.Clock, look: Callable[[findings.Ref], Any | None]) -> None:
        self._issuer, self._time, self._look = issuer, time, look
        self._held: dict[volume.TokenProjection, _Held] = {}

    @property
    def renewal(self) -> float | None:
        """When the first token must be made anew, in seconds since 1970; None: there is none."""
        return min((held.renew for held in self._held.values()), default=None)

    def token(self, pod: structs.Pod, wanted: volume.TokenProjection) -> bytes:
        """The token's text, the same as before until four fifths of its life are over."""
        now = self._time.now().timestamp()
        held = self._held.get(wanted)
        if held is None or now >= held.renew:
            holds = wanted.expiration_seconds or _SECONDS
            text = self._issuer.sign(self._claims(pod, wanted.audience or ISSUER, int(now), holds))
            held = self._held[wanted] = _Held(text, now + min(0.8 * holds, _LONGEST))
        return held.text.encode()

    def _claims(self, pod: structs.Pod, audience: str, now: int, holds: int) -> dict[str, Any]:
        space, account = pod.metadata.namespace, pod.spec.service_account_name or "default"
        node = pod.spec.node_name or ""
        return {
            "aud": [audience],
            "exp": now + holds,
            "iat": now,
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": {
                "namespace": space,
                "node": {"name": node, "uid": self._uid("Node", "", node)},
                "pod": {"name": pod.metadata.name, "uid": pod.metadata.uid},
                "serviceaccount": {"name": account, "uid": self._uid("ServiceAccount", space, account)},
            },
            "nbf": now,
            "sub": f"system:serviceaccount:{space}:{account}",
        }

    def _uid(self, kind: str, namespace: str, name: str) -> str:
        found = self._look(findings.Ref(kind, namespace, name))
        return "" if found is None else found.metadata.uid or ""


def mode(pod: structs.Pod, default: int) -> int:
    """The mode of a token's file: 0600 when all containers have one user, or the pod has a group, for files."""
    pod_wide = pod.spec.security_context or {}
    users = set(_users(pod, pod_wide.get("runAsUser")))
    return _PRIVATE if "fsGroup" in pod_wide or (len(users) == 1 and None not in users) else default


def _users(pod: structs.Pod, pod_wide: object) -> Iterator[object]:
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        yield (container.security_context or {}).get("runAsUser", pod_wide)


def _text(data: bytes) -> str:
    """base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
