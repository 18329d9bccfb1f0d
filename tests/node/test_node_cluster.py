"""An agent's configuration from the environment of its pod, and what is cleaned up at the end."""

import json
import pathlib
import signal
import subprocess
import sys

import pytest

from retic.node import chain, cleaning, cluster, config
from retic.testing import wait

GIVEN = {"NODE_NAME": "worker-1", "RETIC_CONTROLLER_SERVICE_HOST": "10.43.0.7"}
NOWHERE = pathlib.Path("/nowhere")


def test_a_node_and_the_controllers_service_are_enough():
    made = cluster.settings(GIVEN, NOWHERE)
    assert (made.id, made.role, made.enrolment) == ("node/worker-1", config.Role.NODE, config.Enrolment.CLUSTER)
    assert (made.control, made.enrol_address) == ("10.43.0.7:15010", "10.43.0.7:15011")
    assert (made.folder, made.netns_folder) == (pathlib.Path("/run/retic"), pathlib.Path("/run/retic-ns"))
    assert made.cni_socket == made.cni.socket == pathlib.Path("/run/retic/cni.sock")
    assert str(made.identity) == "spiffe://cluster.local/retic/node/worker-1"
    assert made.heap_bytes == 2 << 30


def test_what_is_stated_holds():
    made = cluster.settings(
        {**GIVEN, "RETIC_TRUST_DOMAIN": "shop.example", "RETIC_CONCURRENCY": "4", "RETIC_DRAIN_SECONDS": "45",
         "RETIC_POD_NETWORKS": "10.42.0.0/16, 10.50.0.0/16", "RETIC_HEAP_BYTES": "1000", "RETIC_DNS": "",
         "RETIC_TOKEN_FILE": "/t", "POD_UID": "7c9e"},
        NOWHERE,
    )  # fmt: skip
    assert made.pod == "7c9e"
    assert (made.trust_domain, made.concurrency, made.heap_bytes) == ("shop.example", 4, 1000)
    assert (made.drain_seconds, made.handover_seconds) == (45, cluster.HANDOVER_SECONDS)
    assert made.pod_networks == ("10.42.0.0/16", "10.50.0.0/16")
    assert made.dns == "10.96.0.10", "empty is as not set"
    assert made.token_file == pathlib.Path("/t")


@pytest.mark.parametrize(
    ("limit", "heap"), [("max", 2 << 30), (str(1 << 30), (1 << 30) - (160 << 20)), ("1000", 64 << 20)]
)
def test_envoys_heap_fits_into_the_container(tmp_path, limit, heap):
    (tmp_path / "memory.max").write_text(limit + "\n")
    assert cluster.settings(GIVEN, tmp_path / "memory.max").heap_bytes == heap


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"NODE_NAME": ""}, "NODE_NAME is not set"),
        ({"RETIC_CONTROLLER_SERVICE_HOST": ""}, "RETIC_CONTROLLER_SERVICE_HOST is not set"),
        ({"NODE_NAME": "a/b"}, "a/b"), ({"RETIC_CONCURRENCY": "two"}, "RETIC_CONCURRENCY is 'two'"),
        ({"RETIC_CONCURRENCY": "0"}, "RETIC_CONCURRENCY is '0'"),
        ({"RETIC_DRAIN_SECONDS": "-1"}, "RETIC_DRAIN_SECONDS"),
        ({"RETIC_FOLDER": "run"}, "folder must be an absolute path"),
        ({"RETIC_NAMESPACES": "ns"}, "netns_dir must be an absolute path"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_named(changed, words):
    with pytest.raises(ValueError, match=words.replace("/", ".")):
        cluster.settings({**GIVEN, **changed}, NOWHERE)


@pytest.fixture
def node(tmp_path):
    """The environment of a node's folders, with a chain, the plugin in it, and what an agent leaves."""
    for name in ("conf", "bin", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "plugin").write_bytes(b"#!/bin/true\n")
    (tmp_path / "conf" / "10.conflist").write_text(
        json.dumps({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "bridge"}]})
    )
    given = {
        "RETIC_CNI_CONF": tmp_path / "conf", "RETIC_CNI_BIN": tmp_path / "bin", "RETIC_CNI_PLUGIN": tmp_path / "plugin",
        "RETIC_FOLDER": tmp_path / "run", "RETIC_CLEANED_FILE": tmp_path / "cleaned",
    }  # fmt: skip
    environment = {name: str(value) for name, value in given.items()}
    chain.install(cluster.plugin(environment))
    (tmp_path / "run" / "cache").mkdir()
    (tmp_path / "run" / "cache" / "key.pem").write_text("secret")
    (tmp_path / "run" / "envoy").symlink_to("a")
    return environment


def left(tmp_path):
    return sorted(str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*"))


def test_nothing_is_left_on_a_node(node, tmp_path):
    assert len(cleaning.clean(node)) == 4
    assert left(tmp_path) == ["bin", "conf", "conf/10.conflist", "plugin"]
    assert json.loads((tmp_path / "conf" / "10.conflist").read_text())["plugins"] == [{"type": "bridge"}]
    assert cleaning.clean(node) == []


def test_the_commands(node, tmp_path):
    def command(*words):
        return subprocess.Popen([sys.executable, "-m", "retic.node", *words], env=node, stderr=subprocess.PIPE)

    for words in (("cni", "remove"), ("cni", "install")):
        with command(*words) as done:
            assert done.wait(30) == 0, done.stderr.read()
        assert chain.installed(cluster.plugin(node)) == (words[1] == "install")
    with command("clean-up") as cleaner:
        wait.until((tmp_path / "cleaned").exists, "the node cleaned up", 30)
        assert cleaner.poll() is None, "it stays, so that whoever asked can see it"
        cleaner.send_signal(signal.SIGTERM)
        assert cleaner.wait(30) == 0
    with command() as agent:
        assert agent.wait(30) == 2
        assert b"RETIC_CONTROLLER_SERVICE_HOST is not set" in agent.stderr.read()
