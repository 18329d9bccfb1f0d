"""Objects that hold although something of them cannot be read: policies. Says what becomes of them, in words.

What cannot be decided is decided against the caller; `mesh` does it, by what a guarded part remembers.
"""

import re
from collections.abc import Iterable

import msgspec

from retic import findings, objects
from retic.findings import catalogue
from retic.objects import guarded, meta, security
from retic.sources import model, validate

_RULE = re.compile(r"spec\.(rules|jwtRules)\[(\d+)\].")
_PORT = re.compile(r"spec\.portLevelMtls[.\[].")
_FATAL = frozenset({"", "apiVersion", "kind", "metadata", "metadata.name", "metadata.namespace"})


def bears(struct: type[meta.Object], path: str) -> bool:
    """Whether an object of that kind holds with a fault at `path`: not without its name."""
    return guarded.is_guarded(struct) and path not in _FATAL


def fatal(struct: type[meta.Object], faults: Iterable[validate.Fault]) -> bool:
    """Whether these leave no object."""
    errors = (fault for fault in faults if catalogue.CODES[fault.code].severity is findings.Severity.ERROR)
    return any(not bears(struct, fault.path) for fault in errors)


def made(struct: type[objects.Object], value: dict[str, object]) -> objects.Object:
    """The struct of what the walk has left. msgspec.ValidationError when that is no object."""
    try:
        return msgspec.convert(value, struct)
    except msgspec.ValidationError:
        metadata = value.get("metadata")
        if not guarded.is_guarded(struct) or not isinstance(metadata, dict):
            raise
    name = {key: metadata[key] for key in ("name", "namespace") if key in metadata}
    return msgspec.convert({**value, "metadata": name}, struct)


def told(value: objects.Object, fault: findings.Finding, path: str) -> findings.Finding:
    """The finding, with what the mesh does as long as the object is as it is; errors only."""
    if fault.severity is not findings.Severity.ERROR:
        return fault
    return msgspec.structs.replace(fault, message=f"{fault.message}{model.MEANWHILE}{_meanwhile(value, path)}")


def _meanwhile(value: objects.Object, path: str) -> str:
    if path.startswith("metadata."):
        return "that part of metadata is not looked at"
    whole = any(not _RULE.match(each) for each in guarded.paths(value))
    rule = None if whole else _RULE.match(path)
    match value:
        case security.AuthorizationPolicy():
            return _rule(value.spec.action, int(rule[2]) + 1) if rule else f"every call to {_whom(value)} is refused"
        case security.PeerAuthentication():
            whole = security.is_scope_unread(value) or bool(value.unread or value.spec.unread)
            whom = "that port" if _PORT.match(path) and not whole else _whom(value)
            return f"only the mesh's TLS is taken by {whom} (STRICT)"
        case security.RequestAuthentication():
            return "the tokens of this issuer are refused" if rule else f"no token is taken at {_whom(value)}"
    return "it is decided against the caller"


def _rule(action: str | None, number: int) -> str:
    match action:
        case "DENY":
            return f"rule {number} refuses as if this were not there to narrow it"
        case "AUDIT":
            return f"rule {number} counts as if this were not there to narrow it"
        case "CUSTOM":
            return f"rule {number} asks its provider as if this were not there to narrow it"
    return f"rule {number} lets nobody in"


def _whom(
    value: security.AuthorizationPolicy | security.PeerAuthentication | security.RequestAuthentication
) -> str:
    """For whom the object is, as far as that is known."""
    spec, namespace = value.spec, value.metadata.namespace
    targets = () if isinstance(spec, security.PeerAuthenticationSpec) else (spec.target_ref, *spec.target_refs)
    if security.is_scope_unread(value):
        return f"all of namespace {namespace}"
    if any(targets):
        return "its targets"
    if spec.selector is not None and spec.selector.match_labels:
        return "the pods that it selects"
    return f"all of namespace {namespace}"
