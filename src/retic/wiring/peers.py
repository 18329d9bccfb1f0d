"""Who may have discovery on a cluster: agents whose pods are there."""

import grpc.aio

from retic import ads
from retic.identity import peer
from retic.kube import bound


def of_pods(trust_domain: str, agents: bound.Bound) -> ads.Identify:
    """The client id by the certificate, as `ads.by_certificate`, as long as the pod is there that it is bound to.

    A stolen certificate outlives its pod; what the node may see it shows to nobody. An agent that is ahead of the
    news of its own pod is refused, and comes again within a second.
    """
    by_certificate = ads.by_certificate(trust_domain)

    def identify(call: "grpc.aio.ServicerContext[bytes, bytes]") -> str:
        client = by_certificate(call)
        fault = agents.fault(peer.bearer(call.auth_context(), trust_domain))
        if fault:
            raise ads.UnidentifiedError(fault)
        return client

    return identify
