"""Istio's security.istio.io/v1: AuthorizationPolicy, PeerAuthentication, RequestAuthentication.

Field by field as the API's reference has them; a field that is absent constrains nothing, and one that could not be
read is known (`guarded`).
"""

from typing import Annotated, ClassVar

import msgspec

from retic.objects import forms, guarded

GROUP = "security.istio.io"


class WorkloadSelector(guarded.Part, frozen=True):
    """Labels that a pod must all have (istio.type.v1beta1.WorkloadSelector); none selects every pod."""

    match_labels: forms.Labels = msgspec.field(default_factory=dict)


class TargetReference(guarded.Part, frozen=True):
    """What a policy is for instead of pods: a Service, a Gateway or a GatewayClass (PolicyTargetReference)."""

    kind: str
    name: str
    group: str | None = None
    namespace: str | None = None


class Source(guarded.Part, frozen=True):
    """Who calls. Entries of one field are alternatives, fields must all hold (AuthorizationPolicy, Source)."""

    filled: ClassVar[bool] = True
    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    not_service_accounts: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = msgspec.field(default=(), name="notIpBlocks")
    remote_ip_blocks: tuple[str, ...] = msgspec.field(default=(), name="remoteIpBlocks")
    not_remote_ip_blocks: tuple[str, ...] = msgspec.field(default=(), name="notRemoteIpBlocks")


class Operation(guarded.Part, frozen=True):
    """What is called. Entries of one field are alternatives, fields must all hold (Operation)."""

    filled: ClassVar[bool] = True
    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class From(guarded.Part, frozen=True):
    """One entry of a rule's `from`."""

    filled: ClassVar[bool] = True
    source: Source | None = None


class To(guarded.Part, frozen=True):
    """One entry of a rule's `to`."""

    filled: ClassVar[bool] = True
    operation: Operation | None = None


class Condition(guarded.Part, frozen=True):
    """One entry of a rule's `when`: an attribute that must, or must not, have one of some values."""

    filled: ClassVar[bool] = True
    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class AuthorizationRule(guarded.Part, frozen=True):
    """Holds when one of `from`, one of `to` and all of `when` do; what is left out holds."""

    filled: ClassVar[bool] = True
    from_: tuple[From, ...] = ()
    to: tuple[To, ...] = ()
    when: tuple[Condition, ...] = ()


class ExtensionProvider(guarded.Part, frozen=True):
    """The name of the external authorizer that a CUSTOM policy asks."""

    name: str


class AuthorizationPolicySpec(guarded.Part, frozen=True):
    """`rules` None or () match nothing, one empty rule matches everything; `action` absent is ALLOW."""

    selector: WorkloadSelector | None = None
    target_ref: TargetReference | None = None
    target_refs: tuple[TargetReference, ...] = ()
    rules: tuple[AuthorizationRule, ...] = ()
    action: Annotated[str | None, forms.one_of("ALLOW", "DENY", "AUDIT", "CUSTOM")] = None
    provider: ExtensionProvider | None = None


class AuthorizationPolicy(guarded.Object, frozen=True):
    """Who may call whom. Without a spec it allows nothing (ALLOW without rules)."""

    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()
    status: forms.Raw | None = None


_Mode = Annotated[str | None, forms.one_of("UNSET", "DISABLE", "PERMISSIVE", "STRICT")]


class MutualTLS(guarded.Part, frozen=True):
    """What a port takes; absent and UNSET are the mode of the scope around."""

    mode: _Mode = None


class PeerAuthenticationSpec(guarded.Part, frozen=True):
    """`port_level_mtls` is by the pod's own port (text), and counts only together with a selector."""

    selector: WorkloadSelector | None = None
    mtls: MutualTLS | None = None
    port_level_mtls: dict[str, MutualTLS] = msgspec.field(default_factory=dict)


class PeerAuthentication(guarded.Object, frozen=True):
    """Whether pods take plaintext, the mesh's TLS, or both."""

    spec: PeerAuthenticationSpec = PeerAuthenticationSpec()
    status: forms.Raw | None = None


class JWTHeader(guarded.Part, frozen=True):
    """A header that a token is taken from, and what stands before it there."""

    name: str
    prefix: str | None = None


class ClaimToHeader(guarded.Part, frozen=True):
    """A claim that is given on in a header; the header is set by the proxy and by nobody else."""

    header: str
    claim: str


class JWTRule(guarded.Part, frozen=True):
    """An issuer whose tokens are taken, its keys (`jwks`, or `jwks_uri`), and where tokens are looked for."""

    issuer: str
    audiences: tuple[str, ...] = ()
    jwks_uri: str | None = None
    jwks: str | None = None
    from_headers: tuple[JWTHeader, ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    output_payload_to_header: str | None = None
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    forward_original_token: bool | None = None
    timeout: str | None = None


class RequestAuthenticationSpec(guarded.Part, frozen=True):
    """Tokens that are looked at; one that is not valid is refused, none at all is not (RequestAuthentication)."""

    selector: WorkloadSelector | None = None
    target_ref: TargetReference | None = None
    target_refs: tuple[TargetReference, ...] = ()
    jwt_rules: tuple[JWTRule, ...] = ()


class RequestAuthentication(guarded.Object, frozen=True):
    """Which JSON web tokens are taken (RFC 7519)."""

    spec: RequestAuthenticationSpec = RequestAuthenticationSpec()
    status: forms.Raw | None = None


_WHOM = frozenset({"selector", "targetRef", "targetRefs"})


def is_scope_unread(found: AuthorizationPolicy | PeerAuthentication | RequestAuthentication) -> bool:
    """Whether it cannot be read for whom the object is: it may be for anybody of its namespace."""
    spec = found.spec
    targets = () if isinstance(spec, PeerAuthenticationSpec) else (spec.target_ref, *spec.target_refs)
    said = [part for part in (spec.selector, *targets) if part is not None]
    if any(next(guarded.paths(part), None) for part in said) or _WHOM & set(spec.unread):
        return True
    known = {field.encode_name for field in msgspec.structs.fields(type(spec))}
    return not said and bool(found.unread or set(spec.unread) - known)
