"""A cluster's identity in one piece, for the wiring: the authority, who may enrol and hold, what runs beside.

    made = await certificates.open(cluster, db, holders, certificates.Settings(trust_domain))
    main.add_generic_rpc_handlers((*discovery, made.service.signing()))
    main.add_secure_port(address, server.credentials(made.current, require_client=True))
    ...
    await made.run()     # in every replica
    await made.lead()    # in the leader only
"""

import asyncio
import datetime
import time as _time

import msgspec

from retic import findings, graph
from retic.identity import attest, current, service
from retic.identity import authority as identity_authority
from retic.kube import agents, authority, bound, confirmations, review, rootfiles, tokens, watching
from retic.sources import api


class Settings(msgspec.Struct, frozen=True):
    """`namespace` is where the Secret and the ConfigMap are. `make`: make a root when there is none."""

    trust_domain: str = "cluster.local"
    namespace: str = "retic-system"
    lifetime: datetime.timedelta = identity_authority.DAY
    accounts: agents.Accounts = agents.Accounts()
    make: bool = True


class Certificates:
    """What `open` gives."""

    def __init__(
        self, cluster: api.Api, db: graph.Graph, holders: attest.MayHold, settings: Settings,
        opened: authority.Authority, signer: current.Current,
    ) -> None:  # fmt: skip
        self._cluster = cluster
        self._settings = settings
        self._authority = opened
        reviews = review.Reviews(cluster, _time.monotonic)
        domain, accounts = settings.trust_domain, settings.accounts
        self.current = signer
        self.bound = bound.Bound(holders, db, domain, accounts=accounts)
        self.service = service.Service(
            signer, tokens.Tokens(reviews, db, domain, accounts=accounts), self.bound
        )
        self._confirmations = confirmations.Confirmations(cluster, db, self.service.holdings)

    def __repr__(self) -> str:
        return f"<Certificates of {self._settings.trust_domain}>"

    @property
    def faults(self) -> tuple[findings.Fault, ...]:
        """What is wrong with the authority's Secret now."""
        return self._authority.faults

    async def run(self) -> None:
        """Follow the root's objects and write down what agents confirm, until cancelled. In every replica."""
        changes = asyncio.Event()
        base = f"/api/v1/namespaces/{self._settings.namespace}"
        async with asyncio.TaskGroup() as group:
            group.create_task(self._authority.run(changes))
            group.create_task(self._confirmations.run())
            for plural, name in (("secrets", rootfiles.SECRET), ("configmaps", rootfiles.CONFIG_MAP)):
                group.create_task(watching.follow(self._cluster, f"{base}/{plural}", name, changes.set))

    async def lead(self) -> None:
        """Make the root known and take a rotation's steps, until cancelled. In the leader; two do no harm."""
        await self._authority.lead(confirmations.Missing(self._cluster, self._settings.accounts))


async def open(
    cluster: api.Api, db: graph.Graph, holders: attest.MayHold, settings: Settings
) -> Certificates:
    """As soon as there is a Secret that can sign. Waits for one."""
    files = rootfiles.Files(cluster, settings.namespace)
    opened = authority.Authority(
        files, settings.trust_domain, namespace=settings.namespace, lifetime=settings.lifetime, make=settings.make
    )
    return Certificates(cluster, db, holders, settings, opened, await opened.open())
