"""Names, uids and template hashes as Kubernetes makes them, but the same at every run.

Kubernetes draws random suffixes; here a suffix is a hash of the owner and of how many it has made, so
that the same manifests give the same names. A template's hash is FNV-1a over our own encoding, not
Kubernetes' dump of Go values: it has the same look, not the same digits. Refuses to invent names that
are not valid in DNS: a name that grows too long is cut as Kubernetes cuts it.
"""

import functools
import hashlib
import uuid
from typing import Any

import msgspec

from retic import findings

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # k8s.io/apimachinery/pkg/util/rand: no vowels, no 0, 1, 3
_SPACE = uuid.UUID("6f9d2f0e-3c55-5e0f-9d41-0c7a5e6d1b2a")
_LONGEST_BASE = 58  # 63 less the suffix, k8s.io/apiserver/pkg/storage/names


def safe(text: str) -> str:
    """`text` with each character replaced by one of Kubernetes' safe alphabet (rand.SafeEncodeString)."""
    return "".join(_ALPHABET[ord(letter) % len(_ALPHABET)] for letter in text)


@functools.lru_cache(maxsize=4096)
def fnv32a(data: bytes) -> int:
    """The 32-bit FNV-1a hash, the one Kubernetes takes of templates."""
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def template_hash(template: Any) -> str:
    """The `pod-template-hash` or `controller-revision-hash` of a template: up to ten safe characters."""
    return safe(str(fnv32a(msgspec.json.encode(template, order="deterministic"))))


def suffix(*parts: object) -> str:
    """Five safe characters, a function of `parts` only."""
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:5])


def generated(base: str, *parts: object) -> str:
    """`base` and five characters, as `generateName` gives them; `base` is cut to 58 characters."""
    return base[:_LONGEST_BASE] + suffix(base, *parts)


def uid(ref: findings.Ref, serial: int = 0) -> str:
    """The uid of the `serial`-th object of this kind and name: a restart of it is another object."""
    return str(uuid.uuid5(_SPACE, f"{ref.kind}/{ref.namespace}/{ref.name}/{serial}"))
