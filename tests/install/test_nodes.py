"""What agents report is what `retic check` reads: from the message on the wire to the ConfigMap's key."""

import datetime

import msgspec
import pytest

from retic.identity import report
from retic.install import nodes as installed
from retic.kube import nodes

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def kept(said):
    """The report after its way over the wire and into the ConfigMap."""
    taken = msgspec.json.decode(msgspec.json.encode(said), type=report.Report)
    return installed.parse({"data": {"node-1": nodes._text(NOW, taken)}})["node-1"]


def test_everything_arrives():
    said = report.Report(
        ("u1", "u2"), (report.Plaintext("u1", 3),), "1.40.0", "0.1.0", "no chain", ("nft_socket",)
    )
    assert kept(said) == installed.Report(
        captured=2, plaintext=(installed.Plaintext("u1", 3),), envoy="1.40.0", retic="0.1.0",
        time="2030-01-01T00:00:00Z", cni="no chain", kernel=("nft_socket",),
    )  # fmt: skip


def test_pods_that_leave_are_counted_until_their_last_connection_has_ended():
    left = nodes._text(NOW, report.Report(released=("u1", "u2")))
    said = installed.closing([{"metadata": {"name": "retic-nodes"}, "data": {"node-1": left}}])
    assert said == "pods have connections open through the proxy (node-1: 2)"
    none = nodes._text(NOW, report.Report(captured=("u1",)))
    assert installed.closing([{"metadata": {"name": "retic-nodes"}, "data": {"node-1": none}}]) == ""
    assert installed.closing([]) == ""


def test_all_well_is_not_the_same_as_nothing_said():
    assert (kept(report.Report()).cni, kept(report.Report()).kernel) == (None, None)
    well = kept(report.Report(cni="", kernel=()))
    assert (well.cni, well.kernel) == ("", ())


@pytest.mark.parametrize("said", [{"cni": "x" * 1025}, {"kernel": ["x" * 65]}, {"kernel": ["x"] * 33}])
def test_a_node_cannot_fill_the_config_map(said):
    with pytest.raises(msgspec.ValidationError, match="length"):
        msgspec.json.decode(msgspec.json.encode(said), type=report.Report)
