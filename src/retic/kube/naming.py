"""Names and labels of what is made for a Gateway. Pure.

A Gateway's name may have 253 characters and dots; a Service's is a DNS label and begins with a letter, a label's
value has 63 characters. What does not fit is cut, and a hash of the whole name keeps it apart from others.
"""

import hashlib
import re

from retic.mesh import tables

SUFFIX = "-retic"
CLASS_LABEL = "gateway.networking.k8s.io/gateway-class-name"
MANAGED_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "retic"
GATEWAY_LABEL = tables.GATEWAY_LABEL

_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LONGEST = 63
_HASH = 8


def _hashed(text: str, longest: int) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH]
    return f"{text[: longest - _HASH - 1].rstrip('-.')}-{digest}"


def child(gateway: str) -> str:
    """The name of a Gateway's Deployment, Service, ServiceAccount, ConfigMap and disruption budget."""
    plain = re.sub(r"[^-a-z0-9]", "-", gateway)
    if plain == gateway and _LABEL.fullmatch(gateway) and len(gateway) + len(SUFFIX) <= _LONGEST:
        return gateway + SUFFIX
    if not plain[:1].isalpha():
        plain = f"g-{plain}"
    digest = hashlib.sha256(gateway.encode()).hexdigest()[:_HASH]
    room = _LONGEST - len(SUFFIX) - _HASH - 1
    return f"{plain[:room].rstrip('-')}-{digest}{SUFFIX}"


def label(gateway: str) -> str:
    """A Gateway's name as the value of a label."""
    return gateway if len(gateway) <= _LONGEST else _hashed(gateway, _LONGEST)
