"""What `retic check` says of an installation in which something broke, and what mends itself."""

import json

import pytest
from tests.cluster import test_life as life
from tests.cluster import test_uninstall as uninstalling

from retic.install import names
from retic.testing import wait

WEBHOOK = f"validatingwebhookconfiguration/{names.WEBHOOK}"


def failing(installed):
    return {one["check"]: one for one in life.checks(installed) if not one["ok"]}


@pytest.fixture
def well(installed):
    wait.until(lambda: not failing(installed), "all is well before", 110, every=1)
    yield installed
    wait.until(lambda: not failing(installed), "all is well again", 150, every=1)


def test_nothing_is_wrong_right_after_a_change(installed):
    with installed.values(mode="STRICT"):
        assert failing(installed) == {}
    assert failing(installed) == {}


def test_an_agent_that_is_gone_is_named(well, nodes):
    system = well.kubectl()

    def seen_gone():
        """The next agent comes within seconds: a look may find it there already."""
        for pod in system.get("pods", "-l", "app.kubernetes.io/component=node")["items"]:
            if pod["spec"].get("nodeName") == nodes[0]:
                system.attempt("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
        return failing(well).get("agents-ready")

    said = wait.until(seen_gone, "check says so", 110, every=0.2)
    assert "retic-node: 1 of 2 are ready" in said["message"]
    assert said["url"].endswith("#agents-ready")
    system.run("rollout", "status", "daemonset/retic-node", "--timeout=150s", seconds=160)


def test_an_entry_that_somebody_removes_comes_back(well, nodes):
    with well.namespace({"pod-security.kubernetes.io/enforce": "privileged"}) as eye:
        eye.apply(uninstalling.inspector(f"look-{nodes[0]}", nodes[0]))
        eye.ready(f"look-{nodes[0]}")
        code = """
import json, pathlib
for file in pathlib.Path('/host/etc/cni/net.d').glob('*.conflist'):
    found = json.loads(file.read_text())
    found['plugins'] = [one for one in found['plugins'] if one['type'] != 'retic-cni']
    file.write_text(json.dumps(found))
"""
        eye.python(f"look-{nodes[0]}", code)

        def back():
            return any(uninstalling.look(eye, nodes[0], [])["conf"].values())

        wait.until(back, "the entry is back", 60, every=0.5)


def test_a_webhook_that_nobody_trusts_is_named_and_mended(well):
    empty = [{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]

    def seen_empty():
        """The leader writes it anew at any moment: a look may come after that."""
        well.kubectl().run("patch", WEBHOOK, "--type=json", "-p", json.dumps(empty))
        return failing(well).get("webhook-ca")

    said = wait.until(seen_empty, "check says so", 110, every=0.2)
    assert said["message"] == "validate.retic.dev has no caBundle"


def test_somebody_who_may_nothing_is_told_what_is_missing(installed, tmp_path):
    with installed.namespace({}) as kube:
        kube.run("create", "serviceaccount", "nobody")
        token = kube.run("create", "token", "nobody").strip()
        config = tmp_path / "kubeconfig"
        text = kube.run("config", "view", "--raw", "--flatten", "-o", "json")
        value = json.loads(text)
        value["users"] = [{"name": one["name"], "user": {"token": token}} for one in value["users"]]
        config.write_text(json.dumps(value))
        config.chmod(0o600)
        for words in (["install"], ["upgrade", "--set=mode=STRICT"], ["uninstall"], ["check"], ["check", "--pre"]):
            done = installed.attempt(*words, f"--kubeconfig={config}")
            said = done.stdout + done.stderr
            assert done.returncode == 1, (words, said)
            assert "Traceback" not in said
            assert "forbidden" in said or "you may not" in said, (words, said)
