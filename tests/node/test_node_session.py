"""The relay's state for one stream of Envoy, without gRPC: where answers come from, and where ACKs go."""

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.runtime.v3 import rtds_pb2
from google.rpc import status_pb2

from retic import xds
from retic.node import cache, secrets, session, shares


class Above:
    """The stream to the control plane, only remembered."""

    def __init__(self):
        self.live, self.asked, self.acks, self.nacks, self.restarts = True, [], [], [], 0

    def ask(self, type_url, more, less):
        self.asked.append((type_url, tuple(more), tuple(less)))

    def ack(self, ticket):
        self.acks.append(ticket.nonce)

    def nack(self, ticket, detail):
        self.nacks.append((ticket.nonce, detail.message))

    def restart(self):
        self.restarts += 1


class Own:
    """The node's secrets from a table."""

    def __init__(self):
        self.table = {}

    def answer(self, name):
        return self.table.get(name, secrets.Answer.GONE)

    def put(self, name, version):
        resource = discovery_pb2.Resource(name=name, version=version)
        resource.resource.Pack(secret_pb2.Secret(name=name))
        self.table[name] = secrets.Held(version, resource.SerializeToString())


@pytest.fixture
def kept(tmp_path):
    made = cache.Cache(tmp_path / "answers.sqlite")
    yield made
    made.close()


@pytest.fixture
def above():
    return Above()


@pytest.fixture
def own():
    return Own()


@pytest.fixture
def envoy(kept, own, above):
    return Envoy(session.Session(kept, own, above))


class Envoy:
    """Envoy's end of a session."""

    def __init__(self, made):
        self.session = made

    def ask(self, type_url, *names, held=None, less=()):
        self.session.receive(
            discovery_pb2.DeltaDiscoveryRequest(
                type_url=type_url,
                resource_names_subscribe=names,
                initial_resource_versions=held or {},
                resource_names_unsubscribe=less,
            )
        )

    def get(self):
        """The next response."""
        return self.session.out.get_nowait()

    def ack(self, response):
        self.session.receive(
            discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        )

    def nack(self, response, why="bad"):
        self.session.receive(
            discovery_pb2.DeltaDiscoveryRequest(
                type_url=response.type_url,
                response_nonce=response.nonce,
                error_detail=status_pb2.Status(code=13, message=why),
            )
        )

    @property
    def quiet(self):
        return self.session.out.empty()


def resource(name, version="1"):
    return discovery_pb2.Resource(name=name, version=version)


def answer(envoy, type_url, nonce, *resources, removed=()):
    response = discovery_pb2.DeltaDiscoveryResponse(
        type_url=type_url, resources=resources, removed_resources=removed, nonce=nonce
    )
    envoy.session.respond(response, session.Ticket(1, type_url, nonce))
    return envoy.get()


def names(response):
    return [one.name for one in response.resources]


def row(name, version="1", *, unasked=False):
    return cache.Row(name, version, resource(name, version).SerializeToString(), unasked)


def test_an_ack_goes_up_only_after_envoys(envoy, above, kept):
    envoy.ask(xds.CLUSTER, "a")
    sent = answer(envoy, xds.CLUSTER, "77", resource("a"))
    assert above.acks == []
    assert kept.get(xds.CLUSTER, ["a"]) == []
    envoy.ack(sent)
    assert above.acks == ["77"]
    assert [one.name for one in kept.get(xds.CLUSTER, ["a"])] == ["a"]


def test_a_nack_goes_up_with_envoys_words_and_nothing_is_kept(envoy, above, kept):
    envoy.ask(xds.ROUTES, "r")
    envoy.ack(answer(envoy, xds.ROUTES, "1", resource("r", "good")))
    envoy.nack(answer(envoy, xds.ROUTES, "2", resource("r", "bad")), "no such domain")
    assert above.acks == ["1"]
    assert above.nacks == [("2", "no such domain")]
    assert [one.version for one in kept.get(xds.ROUTES, ["r"])] == ["good"]
    assert envoy.session.watches()[xds.ROUTES].held == {"r": "good"}


def listener(name, path, version="1"):
    made = resource(name, version)
    inner = listener_pb2.Listener(name=name)
    inner.address.socket_address.network_namespace_filepath = str(path)
    made.resource.Pack(inner)
    return made


def test_listeners_wait_for_their_network_namespace(envoy, above, kept, tmp_path):
    """Envoy refuses a listener whose namespace is not mounted, and nobody would send it again."""
    early, empty = tmp_path / "early", tmp_path / "empty"
    empty.touch()
    envoy.ask(xds.LISTENER)
    sent = answer(envoy, xds.LISTENER, "1", listener("a", early), listener("b", "/proc"), listener("c", empty))
    assert names(sent) == ["b"]
    envoy.ack(sent)
    assert above.acks == ["1"]
    envoy.session.arrived()
    assert envoy.quiet
    early.symlink_to("/proc")  # a path on which something is mounted
    envoy.session.arrived()
    late = envoy.get()
    assert names(late) == ["a"]
    assert "a" not in envoy.session.watches()[xds.LISTENER].held
    envoy.ack(late)
    assert envoy.session.watches()[xds.LISTENER].held == {"a": "1", "b": "1"}
    assert above.acks == ["1"]
    assert [one.name for one in kept.unasked(xds.LISTENER)] == ["a", "b"]


def test_a_waiting_listener_that_is_removed_or_changed_is_not_sent_as_it_was(envoy, tmp_path):
    envoy.ask(xds.LISTENER)
    first, second = tmp_path / "first", tmp_path / "second"
    answer(envoy, xds.LISTENER, "1", listener("a", first), listener("b", second))
    answer(envoy, xds.LISTENER, "2", listener("b", second, "2"), removed=["a"])
    first.symlink_to("/proc")
    second.symlink_to("/proc")
    envoy.session.arrived()
    late = envoy.get()
    assert [(one.name, one.version) for one in late.resources] == [("b", "2")]
    assert envoy.quiet


def test_a_dead_pods_listeners_are_withdrawn_before_upstream_says_so(envoy, above, kept, tmp_path):
    place = tmp_path / "u1"
    place.symlink_to("/proc")
    envoy.ask(xds.LISTENER)
    envoy.ack(answer(envoy, xds.LISTENER, "1", listener("a", place), listener("b", place), listener("c", "")))
    answer(envoy, xds.LISTENER, "2", listener("b", place, "2"))  # not acknowledged yet
    envoy.session.withdraw(str(place))
    sent = envoy.get()
    assert sorted(sent.removed_resources) == ["a", "b"]
    envoy.ack(sent)
    assert above.acks == ["1"]
    assert set(envoy.session.watches()[xds.LISTENER].held) == {"c"}, "so that the control plane sends them again"
    envoy.session.withdraw(str(place))
    assert envoy.quiet
    envoy.session.arrived()  # another sandbox of the same pod
    come = sorted((one.name, one.version) for _ in range(2) for one in envoy.get().resources)
    assert come == [("a", "1"), ("b", "2")]


def test_withdrawn_listeners_that_upstream_removes_do_not_come_back(envoy, tmp_path):
    place = tmp_path / "u1"
    place.symlink_to("/proc")
    envoy.ask(xds.LISTENER)
    envoy.ack(answer(envoy, xds.LISTENER, "1", listener("a", place)))
    envoy.session.withdraw(str(place))
    envoy.ack(envoy.get())
    envoy.ack(answer(envoy, xds.LISTENER, "2", removed=["a"]))
    envoy.session.arrived()
    assert envoy.quiet


def test_listeners_stay_while_rules_lead_to_them(above, kept, tmp_path):
    place = tmp_path / "u1"
    place.symlink_to("/proc")
    envoy = Envoy(session.Session(kept, Own(), above, keeps=lambda path: path == str(place)))
    envoy.ask(xds.LISTENER)
    envoy.ack(answer(envoy, xds.LISTENER, "1", listener("a", place), listener("b", "")))
    sent = answer(envoy, xds.LISTENER, "2", removed=["a", "b"])
    assert list(sent.removed_resources) == ["b"]
    envoy.ack(sent)
    assert above.acks == ["1", "2"]
    assert envoy.session.watches()[xds.LISTENER].held == {"a": "1"}
    envoy.session.withdraw(str(place))
    sent = envoy.get()
    assert list(sent.removed_resources) == ["a"]
    envoy.ack(sent)
    envoy.session.arrived()
    assert envoy.quiet, "upstream has it no longer"
    assert kept.get(xds.LISTENER, ["a"]) == []


def test_a_listener_that_upstream_gives_back_is_no_longer_overdue(above, kept, tmp_path):
    place = tmp_path / "u1"
    place.symlink_to("/proc")
    envoy = Envoy(session.Session(kept, Own(), above, keeps=lambda _: True))
    envoy.ask(xds.LISTENER)
    envoy.ack(answer(envoy, xds.LISTENER, "1", listener("a", place)))
    envoy.ack(answer(envoy, xds.LISTENER, "2", removed=["a"]))
    envoy.ack(answer(envoy, xds.LISTENER, "3", listener("a", place, "2")))
    envoy.session.withdraw(str(place))
    envoy.ack(envoy.get())
    envoy.session.arrived()
    assert [(one.name, one.version) for one in envoy.get().resources] == [("a", "2")]


def test_what_envoy_refused_from_the_start_is_told_as_refused(envoy, above):
    """It may have taken a part of the response: the control plane must be able to change or remove it."""
    envoy.ask(xds.LISTENER)
    envoy.nack(answer(envoy, xds.LISTENER, "1", resource("l")))
    assert envoy.session.watches()[xds.LISTENER].held == {"l": session.REFUSED}


def test_a_removal_is_passed_on_and_forgotten_once_acknowledged(envoy, kept):
    envoy.ask(xds.CLUSTER, "*", "a")
    envoy.ack(answer(envoy, xds.CLUSTER, "1", resource("a"), resource("b")))
    sent = answer(envoy, xds.CLUSTER, "2", removed=["a"])
    assert list(sent.removed_resources) == ["a"]
    assert kept.get(xds.CLUSTER, ["a"])
    envoy.ack(sent)
    assert not kept.get(xds.CLUSTER, ["a"])
    assert envoy.session.watches()[xds.CLUSTER].held == {"b": "1"}


def test_a_wildcard_is_answered_from_disk_by_what_a_wildcard_brought(envoy, above, kept):
    kept.put(xds.CLUSTER, [row("pushed", unasked=True), row("asked")])
    envoy.ask(xds.CLUSTER)
    assert names(envoy.get()) == ["pushed"]
    assert envoy.quiet
    assert above.asked == [(xds.CLUSTER, ("*",), ())]
    assert envoy.session.watches()[xds.CLUSTER].held == {"pushed": "1"}


def test_listeners_from_disk_come_one_by_one_so_that_a_bad_one_stands_alone(envoy, above, kept):
    kept.put(xds.LISTENER, [row("a", unasked=True), row("b", unasked=True)])
    envoy.ask(xds.LISTENER)
    first, second = envoy.get(), envoy.get()
    assert (names(first), names(second)) == (["a"], ["b"])
    envoy.nack(first, "namespace gone")
    envoy.ack(second)
    assert above.nacks == []
    assert above.acks == []
    assert above.restarts == 1
    assert [one.name for one in kept.unasked(xds.LISTENER)] == ["b"]
    assert envoy.session.watches()[xds.LISTENER].held == {"a": session.REFUSED, "b": "1"}


def test_what_envoy_has_is_not_sent_again(envoy, kept):
    kept.put(xds.ROUTES, [row("same"), row("newer", "2")])
    envoy.ask(xds.ROUTES, "same", "newer", held={"same": "1", "newer": "1"})
    assert names(envoy.get()) == ["newer"]
    assert envoy.session.watches()[xds.ROUTES].held == {"same": "1", "newer": "2"}


def test_names_asked_for_later_wait_for_the_control_plane_when_it_is_there(envoy, above, kept):
    kept.put(xds.CLUSTER, [row("a")])
    envoy.ask(xds.CLUSTER)
    envoy.ask(xds.CLUSTER, "a")
    assert envoy.quiet
    assert above.asked[-1] == (xds.CLUSTER, ("a",), ())


def test_names_asked_for_later_come_from_disk_when_it_is_away(envoy, above, kept):
    above.live = False
    kept.put(xds.CLUSTER, [row("a")])
    envoy.ask(xds.CLUSTER)
    envoy.ask(xds.CLUSTER, "a", "unknown")
    assert names(envoy.get()) == ["a"]
    assert envoy.quiet, "what is not known is not said to be gone"
    assert envoy.session.watches()[xds.CLUSTER].names == {"a", "unknown"}


def test_endpoints_are_not_taken_from_disk_while_the_control_plane_is_there(envoy, above, kept):
    kept.put(xds.ENDPOINTS, [row("e")])
    envoy.ask(xds.ENDPOINTS, "e")
    assert envoy.quiet


def test_a_wildcard_that_stands_for_nothing_is_answered_so_from_disk(envoy, above, kept):
    above.live = False
    envoy.ask(xds.LISTENER)
    assert envoy.quiet, "never answered: Envoy is to wait"
    kept.set_answered(xds.CLUSTER)
    envoy.ask(xds.CLUSTER)
    assert names(envoy.get()) == []


def test_the_nodes_own_secrets_never_go_up(envoy, above, own, kept):
    own.put("root", "r1")
    own.put("spiffe://td/ns/a/sa/b", "1")
    envoy.ask(xds.SECRET, "root", "spiffe://td/ns/a/sa/b", "spiffe://td/ns/a/sa/stranger", "tls/shop/web")
    first, second, third = envoy.get(), envoy.get(), envoy.get()
    assert names(first) == ["root"]
    assert names(second) == ["spiffe://td/ns/a/sa/b"]
    assert list(third.removed_resources) == ["spiffe://td/ns/a/sa/stranger"]
    assert above.asked == [(xds.SECRET, ("tls/shop/web",), ())]
    envoy.ack(second)
    assert kept.get(xds.SECRET, ["spiffe://td/ns/a/sa/b"]) == []
    assert above.acks == []
    assert envoy.session.watches()[xds.SECRET].names == {"tls/shop/web"}


def test_a_secret_once_asked_for_is_pushed_when_it_comes_and_when_it_changes(envoy, own):
    name = "spiffe://td/ns/a/sa/b"
    own.table[name] = secrets.Answer.LATER
    envoy.ask(xds.SECRET, name)
    assert envoy.quiet
    own.put(name, "1")
    envoy.session.identity_changed(name)
    assert names(envoy.get()) == [name]
    envoy.session.identity_changed(name)
    assert envoy.quiet, "the same version is no news"
    own.put(name, "2")
    envoy.session.identity_changed(name)
    assert envoy.get().resources[0].version == "2"
    del own.table[name]
    envoy.session.identity_changed(name)
    assert list(envoy.get().removed_resources) == [name]
    own.put(name, "3")
    envoy.session.identity_changed(name)
    assert names(envoy.get()) == [name]
    envoy.session.identity_changed("spiffe://td/ns/never/sa/asked")
    assert envoy.quiet


def test_what_comes_unasked_is_passed_on_and_kept(envoy, above, kept):
    """The control plane pushes clusters that no request waits for, perhaps before Envoy asks for any."""
    envoy.ack(answer(envoy, xds.CLUSTER, "1", resource("mirror")))
    assert above.acks == ["1"]
    envoy.ask(xds.CLUSTER)
    assert above.asked == [(xds.CLUSTER, ("*",), ())]
    assert envoy.session.watches()[xds.CLUSTER].held == {"mirror": "1"}


def test_an_unsubscription_goes_up_and_ends_the_watch(envoy, above):
    envoy.ask(xds.ROUTES, "a", "b")
    envoy.ack(answer(envoy, xds.ROUTES, "1", resource("a"), resource("b")))
    envoy.ask(xds.ROUTES, less=["a"])
    assert above.asked[-1] == (xds.ROUTES, (), ("a",))
    assert envoy.session.watches()[xds.ROUTES].names == {"b"}
    assert envoy.session.watches()[xds.ROUTES].held == {"b": "1"}


LIMIT = "envoy.resource_limits.listener"


def bounds(response):
    """Names and bounds in a response with the listeners' shares."""
    assert response.type_url == shares.TYPE_URL
    layer = rtds_pb2.Runtime()
    assert response.resources[0].resource.Unpack(layer)
    return dict(layer.layer)


def test_listeners_have_their_share_before_they_come_and_no_longer_when_they_go(kept, own, above):
    envoy = Envoy(session.Session(kept, own, above, connections=24))
    envoy.ask(shares.TYPE_URL, shares.NAME)
    first = envoy.get()
    assert bounds(first) == {}
    envoy.ack(first)
    envoy.ask(xds.LISTENER, held={"inbound/old": "1"})
    assert bounds(envoy.get()) == {f"{LIMIT}.inbound/old.connection_limit": 8}
    come = discovery_pb2.DeltaDiscoveryResponse(
        type_url=xds.LISTENER, nonce="n", resources=[listener("outbound/new", "")], removed_resources=["inbound/old"]
    )
    envoy.session.respond(come, session.Ticket(1, xds.LISTENER, "n"))
    assert bounds(envoy.get()) == {f"{LIMIT}.outbound/new.connection_limit": 3}
    assert envoy.get().type_url == xds.LISTENER
    assert not any(url == shares.TYPE_URL for url, *_ in above.asked)


def test_who_has_no_neighbours_has_no_bound(envoy):
    envoy.ask(shares.TYPE_URL, shares.NAME)
    envoy.ask(xds.LISTENER, held={"gateway/a/b/80": "1"})
    assert [bounds(envoy.get()), bounds(envoy.get())] == [{}, {}]


def test_refused_shares_are_no_matter_of_the_control_plane(envoy, above):
    envoy.ask(shares.TYPE_URL, shares.NAME)
    envoy.nack(envoy.get())
    assert (above.nacks, above.restarts) == ([], 0)


def test_filters_that_are_asked_for_and_not_there_are_decisions_that_lack(envoy, tmp_path):
    assert envoy.session.is_decided
    envoy.ask(xds.LISTENER)
    listeners = answer(envoy, xds.LISTENER, "1", listener("inbound/u1", tmp_path))
    assert not envoy.session.is_decided, "Envoy may be about to ask for its filters"
    envoy.ask(xds.FILTER, "filter/allow/u1")
    envoy.ack(listeners)
    assert not envoy.session.is_decided
    filters = answer(envoy, xds.FILTER, "2", resource("filter/allow/u1"))
    assert not envoy.session.is_decided
    envoy.ack(filters)
    assert envoy.session.is_decided
    envoy.ask(xds.FILTER, "filter/allow/u2")
    assert not envoy.session.is_decided
    envoy.ask(xds.FILTER, less=["filter/allow/u2"])
    assert envoy.session.is_decided


def test_a_filter_that_is_refused_is_not_waited_for(envoy):
    envoy.ask(xds.FILTER, "filter/allow/u1")
    envoy.nack(answer(envoy, xds.FILTER, "1", resource("filter/allow/u1")))
    assert envoy.session.is_decided
