"""When an installation has settled: what is still to come is named."""

import pytest

from retic.install import names, settling

PODS = f"/api/v1/namespaces/{names.NAMESPACE}/pods"
_GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


class Answers:
    """An API server of four collections that never change."""

    def __init__(self, holder, *, leaving=()):
        controllers = [
            {"metadata": {"name": name} | (_GOING if name in leaving else {}), "status": {"phase": "Running"}}
            for name in ("old", "new")
        ]
        lease = {"metadata": {"name": names.LEASE}, "spec": {"holderIdentity": holder}}
        self._kept = {PODS: controllers, "leases": [lease]}

    async def get(self, path, **selectors):
        kept = self._kept.get(path) or self._kept.get(path.rpartition("/")[2]) or []
        if "component=node" in selectors.get("labelSelector", ""):
            kept = []
        return {"metadata": {"resourceVersion": "1"}, "items": kept}

    def lines(self, *_args, **_selectors):
        raise AssertionError("nothing is waited for")


@pytest.mark.parametrize("holder", ["old_1a2b3c4d", "new_1a2b3c4d"])
async def test_a_controller_leads(holder):
    await settling.done(Answers(holder), timeout=1)


@pytest.mark.parametrize("holder", ["", None, "old_1a2b3c4d", "somebody"])
async def test_a_leader_that_ends_is_none(holder):
    with pytest.raises(AssertionError, match="waited"):
        await settling.done(Answers(holder, leaving={"old"}), timeout=1)
