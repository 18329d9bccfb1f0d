"""attest.MayEnroll on a cluster: a projected token, bound to a pod, of an agent that the objects know.

Everybody who reaches the port may present a token. What can be refused without the API server is refused
first: what the token says of itself, and whether there is such a pod. Then the API server reviews it, and what
it says is compared again, for only that is true.
"""

import time as _time
from collections.abc import Callable

from retic import graph
from retic.identity import attest, buckets, clock, spiffe
from retic.kube import agents, claims, review

# An agent enrols once per half of its certificate's life. These are per address, and for all of them.
PER_PEER = buckets.Rate(burst=20, per_second=1)
FOR_ALL = buckets.Rate(burst=200, per_second=50)
_R = attest.Reason


class Tokens:
    """MayEnroll. `monotonic` is for limits, `time` for tokens that have ended."""

    def __init__(
        self,
        reviews: review.Reviews,
        db: graph.Graph,
        trust_domain: str,
        *,
        accounts: agents.Accounts | None = None,
        time: clock.Clock | None = None,
        monotonic: Callable[[], float] = _time.monotonic,
    ) -> None:
        self._reviews = reviews
        self._db = db
        self._trust_domain = trust_domain
        self._accounts = accounts or agents.Accounts()
        self._time = time or clock.System()
        self._peers = buckets.Buckets(PER_PEER, monotonic)
        self._all = buckets.Buckets(FOR_ALL, monotonic, most=1)

    def __repr__(self) -> str:
        return "<Tokens>"

    async def check(self, client_id: str, token: str, peer: str = "") -> str:
        """The uid of the pod that the token is bound to. RefusedError unless that pod is this client's agent."""
        client = spiffe.client(self._trust_domain, client_id)
        if not self._peers.take(_address(peer)):
            raise attest.RefusedError("too many enrolments from this address: wait a second", _R.BUSY)
        said = self._said(token, client)
        pod = await agents.wait(self._db, said.kubernetes.pod.uid)
        if pod is None:
            raise attest.RefusedError("the pod that the token is bound to is not there (any more)", _R.POD)
        self._check_pod(pod, client)
        if not self._all.take(""):
            raise attest.RefusedError("too many enrolments at once: try again", _R.BUSY)
        self._compare(await self._reviews.of(token), pod, client)
        if self._db.ask(agents.by_uid, pod.uid) != pod:
            raise attest.RefusedError("the pod that the token is bound to has just ended", _R.POD)
        return pod.uid

    def _said(self, token: str, client: spiffe.Client) -> claims.Claims:
        try:
            said = claims.read(token)
        except claims.MalformedError as error:
            raise attest.RefusedError(str(error), _R.TOKEN) from None
        if review.AUDIENCE not in said.audiences:
            raise attest.RefusedError(
                f"the token is not for the audience {review.AUDIENCE}: project one that is", _R.AUDIENCE
            )
        if said.exp <= self._time.now().timestamp():
            raise attest.RefusedError("the token has ended", _R.TOKEN)
        self._check_account(said.account, client)
        if not said.kubernetes.pod.uid:
            raise attest.RefusedError("the token is bound to no pod: project one into the pod", _R.POD)
        return said

    def _check_account(self, account: str, client: spiffe.Client) -> None:
        wanted = self._accounts.of(client)
        if account != wanted:
            raise attest.RefusedError(
                f"the token is of service account {account}: {client.client_id} is {wanted}", _R.ACCOUNT
            )

    def _check_pod(self, pod: agents.Pod, client: spiffe.Client) -> None:
        wrong = agents.mismatch(pod, client, self._accounts)
        if wrong:
            on_node = isinstance(client, spiffe.Node) and pod.account == self._accounts.node
            raise attest.RefusedError(wrong, _R.NODE if on_node else _R.POD)

    def _compare(self, true: review.Reviewed, pod: agents.Pod, client: spiffe.Client) -> None:
        """What the API server says against what the objects say and the client claims."""
        self._check_account(true.account, client)
        if (true.pod_uid, true.pod) != (pod.uid, pod.name):
            raise attest.RefusedError("the token is bound to another pod", _R.POD)
        if true.node and true.node != pod.node:
            raise attest.RefusedError(f"the token is bound to node {true.node}", _R.NODE)


def _address(peer: str) -> str:
    """gRPC's `ipv4:10.42.0.7:40112` without the port: whoever reconnects is still the same."""
    return peer.rpartition(":")[0]
