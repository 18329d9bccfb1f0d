"""attest.MayHold on a cluster: as long as the agent's pod is there, and for what runs on its node only."""

from retic import graph
from retic.identity import attest, spiffe
from retic.kube import agents

_UNBOUND = "the certificate is bound to no pod: enrol again"


class Bound:
    """MayHold: the pod that the certificate is bound to, then what `holders` says.

    A certificate outlives its pod by up to its life. Who has stolen one gets nothing signed with it.
    """

    def __init__(
        self,
        holders: attest.MayHold,
        db: graph.Graph,
        trust_domain: str,
        *,
        accounts: agents.Accounts | None = None,
    ) -> None:
        self._holders = holders
        self._db = db
        self._trust_domain = trust_domain
        self._accounts = accounts or agents.Accounts()

    def __repr__(self) -> str:
        return "<Bound>"

    async def check(self, holder: attest.Bearer, spiffe_id: str) -> None:
        """RefusedError unless the holder's pod is there, is such an agent, and may hold the identity."""
        await self.check_pod(holder)
        await self._holders.check(holder, spiffe_id)

    async def check_pod(self, holder: attest.Bearer) -> None:
        """RefusedError unless the holder's pod is there and is such an agent."""
        if not holder.pod:
            raise attest.RefusedError(_UNBOUND, attest.Reason.POD)
        wrong = self._wrong(await agents.wait(self._db, holder.pod), holder)
        if wrong:
            raise attest.RefusedError(wrong, attest.Reason.POD)

    def fault(self, holder: attest.Bearer) -> str:
        """Why the holder is nobody's agent by what is known now, "" when it is one: for who cannot wait for news."""
        if not holder.pod:
            return _UNBOUND
        return self._wrong(self._db.ask(agents.by_uid, holder.pod), holder)

    def _wrong(self, pod: agents.Pod | None, holder: attest.Bearer) -> str:
        if pod is None:
            return "the pod that the certificate is bound to is gone"
        return agents.mismatch(pod, spiffe.client(self._trust_domain, holder.client_id), self._accounts)
