"""What is read of a real Envoy: its listeners, clusters, secrets and statistics, never a private key."""

import datetime
import importlib.util
import pathlib
import subprocess
import sys

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from retic.control import admin
from retic.testing import wait

SPIFFE = "spiffe://cluster.local/ns/shop/sa/web"


def certificate():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(4711).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(SPIFFE)]), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), pem.decode()


def bootstrap(folder, chain, key):
    inline = {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}
    tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    proxy = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    return {
        "node": {"id": "node-1", "cluster": "retic"},
        "admin": {"address": {"pipe": {"path": str(folder / "admin.sock")}}},
        "static_resources": {
            "secrets": [{"name": SPIFFE, "tls_certificate": inline}],
            "listeners": [{
                "name": "outbound/x",
                "address": {"pipe": {"path": str(folder / "listener.sock")}},
                "filter_chains": [{"filters": [{
                    "name": "tcp", "typed_config": {"@type": proxy, "stat_prefix": "x", "cluster": "c"},
                }]}],
            }],
            "clusters": [{
                "name": "c", "type": "STATIC",
                "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 9}}}}]}]},
                "transport_socket": {"name": "tls", "typed_config": {
                    "@type": tls, "common_tls_context": {"tls_certificates": [inline]}}},
            }],
        },
    }


@pytest.fixture(scope="module")
def envoy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("e")
    chain, key = certificate()
    file = folder / "envoy.json"
    file.write_bytes(msgspec.json.encode(bootstrap(folder, chain, key)))
    spec = importlib.util.find_spec("envoy._bin")
    binary = pathlib.Path(next(iter(spec.submodule_search_locations))) / "envoy"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "-c", file, "--disable-hot-restart", "--concurrency", "1"], stderr=log, stdout=log
        )
    try:
        wait.until((folder / "admin.sock").is_socket, f"Envoy's admin page; see {folder / 'log'}", 30)
        yield folder / "admin.sock", key
    finally:
        process.terminate()
        process.wait()


async def test_each_section_of_a_real_envoy(envoy):
    path, _ = envoy
    (listener,) = await admin.read(path, "listeners")
    assert (listener["name"], listener["state"]) == ("outbound/x", "static")
    (cluster,) = await admin.read(path, "clusters")
    assert cluster["name"] == "c"
    assert await admin.read(path, "routes") == []
    (endpoint,) = await admin.read(path, "endpoints")
    assert endpoint["cluster_name"] == "c"
    stats = await admin.read(path, "stats")
    assert stats["server.live"] == 1
    summary = await admin.read(path, "")
    assert (summary["state"], summary["listeners"], summary["secrets"]) == ("LIVE", 1, 1)
    assert "1.40" in summary["version"]
    assert await admin.version(path) == "1.40.0"


async def test_a_secret_is_its_certificate_and_never_its_key(envoy):
    path, key = envoy
    (secret,) = await admin.read(path, "secrets")
    assert secret["name"] == SPIFFE
    assert secret["names"] == [SPIFFE]
    assert secret["serial"] == format(4711, "x")
    assert set(secret) == {
        "name", "state", "kind", "version", "names", "serial", "not_before", "not_after",
    }
    body = key.strip().splitlines()[1]
    for section in ("listeners", "routes", "clusters", "endpoints", "secrets", "stats", ""):
        text = str(await admin.read(path, section))
        assert "private_key" not in text
        assert body not in text


def shown(*arguments):
    command = [sys.executable, "-m", "retic.control.shown", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_same_as_a_command_for_containers(envoy, tmp_path):
    path, key = envoy
    done = shown(path, "secrets")
    assert (done.returncode, done.stderr) == (0, "")
    assert [one["name"] for one in msgspec.json.decode(done.stdout)] == [SPIFFE]
    assert key.strip().splitlines()[1] not in done.stdout
    assert msgspec.json.decode(shown(path).stdout)["state"] == "LIVE"
    done = shown(tmp_path / "none")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "No such file or directory\n")
    assert shown(path, "bootstrap").returncode == 2


def test_secret_fields_go_wherever_they_stand():
    value = {"a": [{"private_key": {"inline_string": "K"}, "name": "n"}], "password": "P", "b": {"c": 1}}
    assert admin._bare(value) == {"a": [{"name": "n"}], "b": {"c": 1}}


def test_dynamic_resources_with_their_versions_and_refusals():
    dump = {"configs": [
        {
            "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
            "dynamic_listeners": [{
                "name": "l", "active_state": {"version_info": "1", "listener": {"name": "l"}},
                "warming_state": {"version_info": "2", "listener": {"name": "l"}},
                "error_state": {"details": "no"},
            }],
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
            "dynamic_active_clusters": [{"version_info": "7", "cluster": {"name": "a"}}],
            "dynamic_warming_clusters": [{"version_info": "8", "cluster": {"name": "b"}}],
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
            "dynamic_route_configs": [{"version_info": "3", "route_config": {"name": "routes/shop"}}],
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
            "dynamic_warming_secrets": [{"name": "s", "secret": {"name": "s"}}],
        },
    ]}
    found = admin._sections(dump)
    assert [(row["state"], row["version"], row["error"]) for row in found["listeners"]] == [
        ("active", "1", "no"), ("warming", "2", "no"),
    ]
    assert [(row["name"], row["state"]) for row in found["clusters"]] == [("a", "active"), ("b", "warming")]
    assert found["routes"] == [{"version": "3", "state": "active", "name": "routes/shop"}]
    assert found["secrets"][0]["state"] == "warming"


def test_proxies_are_named_as_users_name_them(tmp_path):
    for folder, agent in (("node-1", "node/node-1"), ("gw-shop-web", "gateway/shop/web")):
        (tmp_path / "agents" / folder).mkdir(parents=True)
        (tmp_path / "agents" / folder / "agent.json").write_bytes(msgspec.json.encode({"id": agent}))
    assert admin.proxies(tmp_path) == {"gw-shop-web": "gateway/shop/web", "node-1": "node-1"}


async def test_an_envoy_that_is_gone_is_an_os_error(tmp_path):
    with pytest.raises(OSError):
        await admin.read(tmp_path / "admin.sock", "stats")
