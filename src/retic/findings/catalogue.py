"""Every finding's code, severity and title, in one table that the reference page is generated from.

Ranges: RT00xx manifest form; RT01xx Kubernetes objects; RT02xx routes; RT03xx gateways; RT04xx security;
RT05xx what local mode cannot do, from RT0521 sessions and balancing, from RT0541 VirtualServices, from RT0571 rate
limits; RT06xx the control plane and its proxies; RT07xx traffic policies; RT08xx what
proxies tell.
"""

import msgspec

from retic import findings

_URL = "https://retic.dev/findings#{}"


class Code(msgspec.Struct, frozen=True):
    """One code: how grave it is and, in a few words, what it stands for."""

    code: str
    severity: findings.Severity
    title: str

    @property
    def url(self) -> str:
        """Where the code is explained."""
        return _URL.format(self.code.lower())


CODES: dict[str, Code] = {}


def _add(code: str, severity: findings.Severity, title: str) -> None:
    if code in CODES:
        raise ValueError(f"{code} stands for two things: {CODES[code].title}, and {title}")
    CODES[code] = Code(code, severity, title)


_E, _W, _I = findings.Severity.ERROR, findings.Severity.WARNING, findings.Severity.INFO

# Manifest form (retic.sources)
_add("RT0001", _E, "the file is not YAML")
_add("RT0002", _E, "the document is not a Kubernetes object")
_add("RT0003", _W, "a kind that Retic does not read")
_add("RT0004", _E, "a field has the wrong type")
_add("RT0005", _W, "a field that this kind does not have")
_add("RT0006", _E, "the same object twice")
_add("RT0007", _E, "a required field is missing")
_add("RT0008", _E, "a name that Kubernetes does not allow")
_add("RT0009", _E, "a file or folder that cannot be read")
_add("RT0010", _E, "an API version that Retic does not read")
_add("RT0011", _E, "a value that this field does not allow")
_add("RT0012", _E, "the same key twice in a mapping")
_add("RT0013", _E, "a file or document beyond the size that Retic reads")
_add("RT0014", _I, "a kind that a cluster has and the mesh does not need")
_add("RT0015", _W, "a kind that decides about calls or pods in a cluster, and does nothing here")
# Kubernetes objects (retic.mesh, retic.local)
_add("RT0101", _W, "a Service selects no pod template")
_add("RT0102", _E, "a named target port that no container has")
_add("RT0103", _E, "a ServiceAccount that does not exist")
_add("RT0104", _E, "a ConfigMap or Secret, or a key of one, that does not exist")
_add("RT0105", _E, "an endpoint at an address or port that would loop through the proxy")
_add("RT0106", _E, "a selector that does not match its own template")
_add("RT0107", _I, "a Namespace that does not exist")
_add("RT0108", _W, "an address family that the mesh does not carry")
_add("RT0109", _W, "a UDP or SCTP port, which the mesh does not capture")
_add("RT0110", _W, "a field of a Service or EndpointSlice that the mesh does not carry out")
_add("RT0111", _W, "a pod that a controller has taken and ended")
_add("RT0112", _W, "a label or annotation of Retic's own whose value does nothing")
# Routes (retic.mesh)
_add("RT0201", _E, "a route to a Service that does not exist")
_add("RT0202", _E, "a route to a port that the Service does not have")
_add("RT0203", _E, "a route's parent does not exist or does not take it")
_add("RT0204", _E, "a reference into another namespace without a ReferenceGrant")
_add("RT0205", _E, "a filter or field of a route that Retic does not carry out")
_add("RT0206", _W, "hostnames on a route whose parent is a Service")
_add("RT0207", _E, "a regular expression that RE2 does not accept")
_add("RT0208", _E, "a backend of a kind that Retic does not route to")
_add("RT0209", _W, "all backends of a rule have weight 0")
# Gateways (retic.mesh; certificates' times: retic.sources)
_add("RT0301", _W, "a Gateway of a class that is not Retic's")
_add("RT0302", _E, "a certificate that a listener cannot use")
_add("RT0303", _E, "a listener whose protocol or port is not possible")
_add("RT0304", _E, "two listeners in conflict")
_add("RT0305", _E, "a GatewayClass that does not exist")
_add("RT0306", _W, "a certificate that holds no longer, or not yet")
_add("RT0307", _E, "a listener that wants client certificates, which Retic does not check")
_add("RT0308", _W, "a field of a Gateway or GatewayClass that Retic does not carry out")
# Security (retic.mesh)
_add("RT0401", _W, "a part of a policy that matches everything, or nothing")
_add("RT0402", _E, "a value in a policy that cannot be compared")
_add("RT0403", _E, "an attribute of a policy that does not exist")
_add("RT0404", _E, "a CUSTOM policy without somebody to ask")
_add("RT0405", _E, "a policy that does not say clearly for whom it is")
_add("RT0406", _W, "a rule that asks for HTTP where a port carries TCP")
_add("RT0407", _W, "a path in a policy that no request has")
_add("RT0411", _E, "an issuer of tokens without keys that can be used")
_add("RT0412", _E, "a private or shared key where keys are public")
_add("RT0413", _E, "two rules for one issuer of tokens")
_add("RT0414", _E, "an issuer's keys that could not be fetched")
_add("RT0415", _W, "an issuer's keys that could not be fetched anew")
_add("RT0416", _W, "an issuer's keys that are fetched without TLS")
_add("RT0417", _E, "a part of a rule for tokens that cannot be used")
_add("RT0418", _W, "a part of a rule for tokens that does nothing, or less than it says")
_add("RT0419", _W, "a policy that asks for tokens where none are taken")
_add("RT0421", _E, "modes of ports in a PeerAuthentication without a selector")
_add("RT0422", _E, "a port in a PeerAuthentication that is no number")
_add("RT0423", _W, "a port in a PeerAuthentication that no pod has")
_add("RT0424", _E, "a PeerAuthentication with a selector in the mesh's own namespace")
_add("RT0425", _W, "a PeerAuthentication that selects no pod")
_add("RT0426", _W, "a PeerAuthentication instead of which an older one counts")
_add("RT0431", _E, "files of the mesh's own authority that cannot be used")
_add("RT0432", _E, "roots of another trust domain that cannot be used")
_add("RT0433", _E, "a field that a policy does not have")
_add("RT0451", _E, "a CUSTOM policy whose provider does not exist")
_add("RT0452", _E, "an AuthorizationProvider whose Service cannot be asked")
_add("RT0453", _W, "a CUSTOM policy that means connections, about which its provider cannot be asked")
_add("RT0454", _W, "two CUSTOM policies that ask different providers about the same")
# Local mode (retic.local)
_add("RT0501", _E, "a container without a command")
_add("RT0502", _E, "a command that cannot be started")
_add("RT0503", _W, "a field that local mode does not carry out")
_add("RT0505", _W, "a gateway's port is taken or not allowed on this machine")
_add("RT0506", _E, "a pod for which no node is left")
_add("RT0507", _I, "a field that local mode does not carry out, with no change of traffic")
# Sessions and balancing (retic.mesh)
_add("RT0521", _W, "a session that lasts longer than its route says")
_add("RT0522", _W, "a session of a rule with several backends")
_add("RT0523", _I, "a session affinity that lasts longer than its Service says")
# VirtualServices (retic.mesh)
_add("RT0541", _E, "a destination in a VirtualService whose subset does not exist")
_add("RT0542", _E, "a destination in a VirtualService that is no Service of the cluster")
_add("RT0543", _E, "a delegate of a VirtualService that cannot be followed")
_add("RT0544", _W, "a delegate's route in conflict with the route that delegates")
_add("RT0545", _W, "a fault in a VirtualService that no request meets")
_add("RT0546", _W, "a path in a VirtualService that no request has")
_add("RT0547", _W, "a value in a VirtualService that does nothing, or less than it says")
_add("RT0548", _W, "a field of a VirtualService that Retic does not carry out")
_add("RT0549", _W, "a CORS policy that lets every site act as its visitors")
_add("RT0550", _W, "a host of a VirtualService by which nothing is routed")
_add("RT0551", _E, "a Gateway that does not exist or does not take the VirtualService")
_add("RT0552", _W, "a VirtualService instead of which a route of the Gateway API holds")
_add("RT0553", _W, "a VirtualService instead of which another one holds")
_add("RT0554", _E, "a section of a VirtualService that has no effect")
_add("RT0555", _W, "a route of a VirtualService that no request comes to")
_add("RT0556", _W, "a VirtualService without hosts that nobody delegates to")
_add("RT0557", _W, "labels of callers in a VirtualService that are matched at a Gateway")
_add("RT0558", _I, "a VirtualService that decides for every caller of another namespace's Service")
# Rate limits (retic.mesh; the store: retic.wiring)
_add("RT0571", _W, "a RateLimit for something that does not exist")
_add("RT0572", _W, "a limit by identity where callers have none")
_add("RT0573", _W, "a limit that refuses nothing")
_add("RT0574", _W, "a field of a limit that does nothing")
_add("RT0575", _E, "a global limit that cannot be counted")
# Control plane and proxies
_add("RT0601", _E, "a proxy refused a resource")
_add("RT0602", _W, "a status that another controller writes too")
_add("RT0603", _E, "the authority's Secret cannot be used")
_add("RT0610", _E, "a kind that the API server does not allow Retic to read")
# Traffic policies (retic.mesh)
_add("RT0701", _E, "a DestinationRule for a host that is no Service")
_add("RT0702", _W, "a DestinationRule instead of which an older one counts")
_add("RT0703", _W, "a DestinationRule that holds for nobody, or not where its author may think")
_add("RT0704", _E, "a DestinationRule for some pods of its callers' namespace only")
_add("RT0705", _W, "a port in a DestinationRule that its Service does not have")
_add("RT0706", _W, "a subset that no pod is in")
_add("RT0707", _W, "a field of a DestinationRule that Retic does not carry out")
_add("RT0708", _E, "a DestinationRule that asks for other TLS than the mesh's")
_add("RT0709", _W, "a number in a DestinationRule beyond what a proxy is given")
_add("RT0710", _E, "a locality in a DestinationRule that the mesh does not tell apart")
# What proxies tell (retic.telemetry)
_add("RT0801", _E, "an access log's expression that cannot be used")
_add("RT0803", _W, "a provider of access logs that there is not")
_add("RT0804", _W, "metrics in a Telemetry, which are not carried out")
_add("RT0805", _W, "a part of tracing that is not carried out")
_add("RT0806", _E, "a provider of traces that there is not")
_add("RT0807", _E, "a TelemetryProvider whose Service cannot be reached")
_add("RT0808", _W, "a Telemetry instead of which an older one counts")
_add("RT0809", _W, "a Telemetry that is for nobody")
_add("RT0810", _E, "a share of requests that is no percentage")
_add("RT0811", _E, "a collector that takes the mesh's TLS only")
_add("RT0812", _W, "a header that is never reported")
_add("RT0813", _W, "tracing without a provider")
_add("RT0814", _E, "certificates of a collector's authority that cannot be read")


def finding(fault: findings.Fault, file: str, line: int) -> findings.Finding:
    """The fault as shown. KeyError when its code is not in the table: a programming fault."""
    code = CODES[fault.code]
    return findings.Finding(
        code=fault.code, severity=code.severity, object=str(fault.object), file=file, line=line,
        message=fault.message, fix=fault.fix, url=code.url,
    )
