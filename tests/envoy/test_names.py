"""Names go both ways, and hostile parts never become another name."""

from hypothesis import given
from hypothesis import strategies as st

from retic.envoy import names

PART = st.text(alphabet=st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(st.sampled_from(list(names.Kind)), st.lists(PART, min_size=5, max_size=5))
def test_round_trip(kind, parts):
    for count in range(6):
        name = names.Name(kind, tuple(parts[:count]))
        parsed = names.parse(str(name))
        assert parsed is None or parsed == name


@given(st.text(max_size=60))
def test_parse_never_raises_and_is_exact(text):
    parsed = names.parse(text)
    assert parsed is None or str(parsed) == text


def test_every_builder_makes_a_name_of_its_type():
    built = {
        names.outbound("u"): names.LISTENER,
        names.opaque("u"): names.LISTENER,
        names.inbound("u"): names.LISTENER,
        names.gateway("n", "g", 80): names.LISTENER,
        names.routes("n"): names.ROUTES,
        names.gateway_routes("n", "g", 80): names.ROUTES,
        names.listener_routes("n", "g", 443, "l"): names.ROUTES,
        names.virtual("n", "10.96.0.1:80"): names.CLUSTER,
        names.address("n", "10.244.1.2"): names.CLUSTER,
        names.service("c", "n", "s", 80): names.CLUSTER,
        names.grpc("c", "n", "s", 80): names.CLUSTER,
        names.service("c", "n", "s", 80, "v1"): names.CLUSTER,
        names.grpc("c", "n", "s", 80, "v1"): names.CLUSTER,
        names.endpoints("n", "s", 80): names.ENDPOINTS,
        names.view("c", "n", "s", 80): names.ENDPOINTS,
        names.view("c", "n", "s", 80, "v1"): names.ENDPOINTS,
        names.tls("n", "s"): names.SECRET,
        names.filter_slot("authorization", "u"): names.FILTER,
        names.APPLICATION: names.CLUSTER,
        names.PASSTHROUGH: names.CLUSTER,
        names.MIRROR: names.CLUSTER,
        names.MIRRORS: names.LISTENER,
        names.DESTINATIONS: names.OPAQUE,
    }
    for name, type_url in built.items():
        parsed = names.parse(name)
        assert parsed is not None
        assert parsed.type_url == type_url
        assert str(parsed) == name
