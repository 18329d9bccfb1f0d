"""What each code of a proxy's own answer means to people, in one table that docs/responses.md is generated from.

Codes of findings begin with RT0 (`retic.findings.catalogue`), those of answers with RT1. RT14xx and RT15xx end in the
status where that says the cause. A code never changes its meaning.
"""

import msgspec

from retic.telemetry import causes

_URL = "https://retic.dev/responses#{}"


class Meaning(msgspec.Struct, frozen=True):
    """`title`: in a few words; `about`: how it comes about; `look`: what to look at; `change`: what to change.
    `flags` are Envoy's response flags that lead to it."""

    code: str
    title: str
    about: str
    look: str
    change: str
    flags: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Where the code is explained."""
        return _URL.format(self.code.lower())


CODES: dict[str, Meaning] = {}


def _add(code: str, flags: str, title: str, about: str, look: str, change: str) -> None:
    if code in CODES:
        raise ValueError(f"{code} stands for two things: {CODES[code].title}, and {title}")
    CODES[code] = Meaning(str(code), title, about, look, change, tuple(flags.split()))


_C = causes.Code

_add(_C.NO_ENDPOINT, "UH", "no endpoint is ready",
     "The Service has no endpoint, or none that is ready; or nothing has the address and port that was called. The "
     "request was never sent.",
     "the readiness of the pods that the Service selects (`retic ps`), its selector, its ports, and the port that was "
     "called",
     "make a pod ready, correct the selector (RT0101 names one that selects nothing), or call a port that the Service "
     "has")
_add(_C.NO_CONNECTION, "UF", "the connection could not be made",
     "The endpoint refused the connection (nothing listens at the port), did not answer within 5 s, or the two proxies "
     "could not agree on TLS. The request was never sent.",
     "which address failed and how, as `retic explain response` says; what the application listens on; for TLS the "
     "certificates (`retic proxy NODE secrets`)",
     "refused: correct targetPort or let the application listen on all addresses; timed out: remove what drops "
     "packets; TLS: see that both agents run and that the trust domains are accepted")
_add(_C.RESET, "UC UR LR", "the connection ended before the answer was there",
     "The request had been sent, and the other side closed or reset the connection before it answered, or in the midst "
     "of its answer: it crashed, was ended, gave up, or closed an idle connection just then. Whether the request was "
     "carried out is not known.",
     "the application's log (`retic logs`) and restarts (`retic ps`) at that time; its keep-alive and its time-outs",
     "mend the crash; let the application finish its requests before it ends; let its idle time-out be longer than "
     "that of its callers; retry only what may be done twice")
_add(_C.RETRIES, "URX", "the retries are used up",
     "The request was tried as often as its route allows, and the last answer is what the client got. Where the last "
     "attempt failed on the way, that has the code, and this flag stands beside it.",
     "the number of attempts and the last cause; the other endpoints of the Service",
     "mend the cause: more retries make more load")
_add(_C.OVERFLOW, "UO", "too many requests are on their way",
     "A limit of connections, waiting requests, requests or retries to the destination was reached (a circuit "
     "breaker). The request was never sent.",
     "how many requests are on their way to the Service and how long they take; the limits of its connection pool",
     "make the destination faster or larger, or raise the limit if it can bear more")
_add(_C.NO_CLUSTER, "NC", "the destination is not known to the proxy yet",
     "The proxy asks for a destination at its first request, and had no answer within 5 s. The request was never sent.",
     "whether the control plane runs, and whether the node's agent is connected to it (`retic ps`)",
     "start the control plane again; destinations that the proxy knows go on without it")
_add(_C.CLIENT_LEFT, "DC", "the client left before the answer was complete",
     "Whoever asked closed the connection: its own time-out, a user who went away, or a proxy before this one whose "
     "time-out ended.",
     "how long the request had taken, and the client's time-out; an entry of the proxy before this one",
     "make the answer faster or the client more patient; nothing is wrong with the mesh")
_add(_C.STREAM_TIME, "DT UMSDR SI", "the stream was open or silent for too long",
     "A limit of the time that a whole request, or a silence within one, may take was reached.",
     "how long it was open, and the limits of route and listener",
     "raise the limit for requests that last, or let them send something now and then")
_add(_C.AUTHORIZER, "UAEX", "the external authorizer refused the request",
     "A CUSTOM policy has an external authorizer asked, which said no, or could not be asked. Its own answer went to "
     "the client.",
     "the CUSTOM policies of the pod or gateway that was called, and the authorizer's log",
     "let the authorizer allow it, or correct its address if it could not be asked "
     "(docs/external-authorization.md)")
_add(_C.FAULT, "FI", "a fault was injected",
     "A route says that a share of its requests shall fail, to try what callers make of it.",
     "the route's fault",
     "remove the fault from the route when the trial is over")
_add(_C.UNKNOWN, "", "it failed in a way that has no code",
     "A proxy notes that something went wrong in a way that Retic has no words for.",
     "Envoy's own words, which `retic explain response` shows",
     "please report it")
_add(_C.MALFORMED, "DPE", "the request cannot be read",
     "What arrived is no HTTP, or has a forbidden character, no Host, or contradictory lengths.",
     "what the client sends: Envoy's own words name the fault",
     "correct the client; for a protocol that is not HTTP let the Service's port say so (appProtocol or its name)")
_add(_C.UNKNOWN_CALLER, "", "the token is missing or not valid",
     "A RequestAuthentication wants tokens of certain issuers, and the one that came is expired, not signed by them, "
     "or for somebody else.",
     "the RequestAuthentications of what was called; the token's issuer, audience and times",
     "get a fresh token of an issuer that is named there, or add its issuer (docs/tokens.md)")
_add(_C.REFUSED, "", "a policy refused it",
     "A DENY policy matches, there are ALLOW policies and none matches, or plaintext came where only the mesh's TLS is "
     "taken.",
     "the policy and rule that `retic explain response` names; who called, by which identity",
     "let an ALLOW policy match the caller, or narrow the DENY policy; `retic explain request` tries it before")
_add(_C.NO_ROUTE, "NR", "no route matches",
     "Routes are attached to the Service or host that was called, and no rule of them matches the request; or no "
     "route has the host.",
     "host, path, method and headers of the request against the rules of the routes",
     "add a rule that matches, such as one without matches, which takes what is left")
_add("RT1408", "", "the request did not arrive in time",
     "The client began a request and did not finish it within the time that it has.",
     "the client and the way to it",
     "let the client send its request at once")
_add("RT1413", "", "the request is too large",
     "The body is larger than a part of the proxy that must see it whole can hold.",
     "the size of the body, and what has to see it: an external authorizer",
     "send less, or let the authorizer decide without the body")
_add("RT1421", "", "the request belongs to another connection",
     "A client used a TLS connection that it had opened for another host of the gateway (RFC 9110, section 15.5.20).",
     "the gateway's listeners: which of them has the request's host",
     "nothing: clients open another connection and ask again")
_add("RT1426", "", "another version of HTTP is wanted",
     "The client speaks a version of HTTP that the proxy does not take.",
     "the client's first line",
     "let the client speak HTTP/1.1 or HTTP/2")
_add(_C.RATE, "RL", "a rate limit was reached",
     "There were more requests than a rate limit of the route or the caller allows.",
     "the limit and how many requests the caller sends",
     "let the client wait and send less, or raise the limit")
_add("RT1431", "", "the request's headers are too large",
     "All headers together are larger than 60 KiB, or there are more than 100.",
     "the client's cookies and tokens",
     "send fewer or smaller headers")
_add(_C.BROKEN, "RLSE NFCF", "the route cannot be carried out",
     "The rule that matches has no backend that exists, a reference that is not permitted, or a part that means "
     "nothing; or a filter has no configuration yet. Nothing is sent anywhere instead.",
     "the finding about the route: `retic analyze` names its line",
     "correct what the finding says")
_add(_C.BAD_ANSWER, "UPE", "the answer cannot be read",
     "The application's answer is no HTTP, or ends before the length that it names.",
     "the application's answer: ask it within its pod (`retic exec`)",
     "correct the application; for a protocol that is not HTTP let the Service's port say so")
_add(_C.OVERLOAD, "OM", "the proxy has too much to do",
     "The node's proxy is short of memory or connections and refuses new requests to protect those that it has; "
     "or it has just begun to end.",
     "memory and connections of the proxy (`retic proxy NODE stats`)",
     "give the proxy more, or the node fewer pods")
_add(_C.TIME_OUT, "UT", "the answer did not come in time",
     "The route's time-out ended before the application had answered. The application may still be at work.",
     "how long the application takes, and the time-out of the route that `retic explain response` names",
     "make the answer faster, or raise the time-out of the route (timeouts.request, timeouts.backendRequest)")


def of(code: str) -> Meaning:
    """The meaning of a code of an answer; of a status that has none of its own, what the status says."""
    if code in CODES:
        return CODES[code]
    unknown = CODES[_C.UNKNOWN]
    return msgspec.structs.replace(unknown, code=code, title=f"the proxy answered {code.removeprefix(causes.STATUS)}")
