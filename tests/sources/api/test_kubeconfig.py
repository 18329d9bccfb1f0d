"""Kubeconfig files: merged, chosen from, refused with what to write instead; no credential in a message or repr."""

import msgspec
import pytest

from retic.sources import api
from retic.sources.api import kubeconfig

ONE = """
apiVersion: v1
kind: Config
current-context: one
clusters:
- {name: one, cluster: {server: "https://one:6443", certificate-authority: ca.pem}}
users:
- {name: me, user: {tokenFile: sub/token, token: hunter2}}
contexts:
- {name: one, context: {cluster: one, user: me}}
"""
TWO = """
current-context: two
clusters:
- {name: one, cluster: {server: "https://other:6443"}}
- {name: two, cluster: {server: "https://two:6443", tls-server-name: kubernetes, proxy-url: "http://p:3128"}}
users:
- {name: you, user: {client-certificate: /k/c.pem, client-key: c.key, as: root, as-groups: [a, b]}}
contexts:
- {name: two, context: {cluster: two, user: you, namespace: shop}}
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a").mkdir()
    one, two = tmp_path / "a" / "one", tmp_path / "two"
    one.write_text(ONE)
    two.write_text(TWO)
    return one, two


def of(text, tmp_path, context=None):
    file = tmp_path / "config"
    file.write_text(text)
    return kubeconfig.load(file, context, environment={})


def refused(text, tmp_path, context=None):
    with pytest.raises(api.UnreachableError) as caught:
        of(text, tmp_path, context)
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


def test_the_current_context_and_paths_relative_to_the_file(files):
    access = kubeconfig.load(files[0], environment={})
    assert access.cluster.server == "https://one:6443"
    assert access.cluster.certificate_authority == str(files[0].parent / "ca.pem")
    assert access.user.token_file == str(files[0].parent / "sub/token")
    assert access.namespace == "default"
    assert access.origin == f"context one of {files[0]}"


def test_of_several_files_the_first_counts(files, tmp_path):
    environment = {"KUBECONFIG": f"{files[0]}:{tmp_path / 'absent'}::{files[1]}"}
    access = kubeconfig.load(environment=environment)
    assert access.cluster.server == "https://one:6443"
    access = kubeconfig.load(context="two", environment=environment)
    assert (access.cluster.tls_server_name, access.namespace) == ("kubernetes", "shop")
    assert (access.user.client_certificate, access.user.client_key) == ("/k/c.pem", str(tmp_path / "c.key"))
    assert (access.user.as_, access.user.as_groups) == ("root", ("a", "b"))


def test_home_then_the_pods_account(files, tmp_path):
    account = tmp_path / "account"
    account.mkdir()
    for name, text in (("token", "t"), ("namespace", "retic-system"), ("ca.crt", "")):
        (account / name).write_text(text)
    environment = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = kubeconfig.load(environment=environment, account=account)
    assert (access.cluster.server, access.namespace) == ("https://[fd00::1]:443", "retic-system")
    assert access.user.token_file == str(account / "token")
    with pytest.raises(api.UnreachableError, match="no context 'two'"):
        kubeconfig.load(context="two", environment=environment, account=account)
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(ONE)
    assert kubeconfig.load(environment=environment, account=account).cluster.server == "https://one:6443"


def test_without_any_it_says_what_to_do(tmp_path):
    with pytest.raises(api.UnreachableError, match="set KUBECONFIG"):
        kubeconfig.load(environment={"HOME": str(tmp_path)}, account=tmp_path)
    with pytest.raises(api.UnreachableError, match="absent, which cannot be found"):
        kubeconfig.load(environment={"KUBECONFIG": "/absent"})
    with pytest.raises(api.UnreachableError, match="/absent: cannot be read: No such file"):
        kubeconfig.load(tmp_path / "absent", environment={})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("current-context: one", ""), "no current-context; choose one with --context (there are: one)"),
        (("current-context: one", "current-context: two"), "no context 'two'; there are: one"),
        (("cluster: one, user", "cluster: two, user"), "names the cluster 'two', which it has not"),
        (("user: me}", "user: he}"), "names the user 'he', whom it has not"),
        (('server: "https://one:6443"', "server: ''"), "write server: https://HOST:PORT"),
        (("https://one:6443", "ftp://one"), "server must begin with https://"),
        (("https://one:6443", "http://one:8080"), "would be sent in the clear"),
        (("certificate-authority:", "insecure-skip-tls-verify: true, certificate-authority:"), "remove one of the two"),
        (("token: hunter2", "token: [hunter2]"), "Expected `str`, got `array`"),
        (("token: hunter2", "client-key: k.pem"), "client-certificate and client-key go together"),
        (("tokenFile: sub/token, token: hunter2", "auth-provider: {name: gcp}"), "use an exec plugin"),
        (("hunter2}", 'hunter2, ": "'), "not YAML: line "),
        (("hunter2", "hunter2\x00"), "not YAML"),
    ],
)
def test_what_cannot_be_used_is_refused(change, message, tmp_path):
    assert change[0] in ONE
    assert message in refused(ONE.replace(*change), tmp_path)


def test_a_file_of_something_else_is_refused(tmp_path):
    assert "no kubeconfig" in refused("[1]", tmp_path)
    assert "no current-context" in refused("", tmp_path)


def test_nulls_are_absent(tmp_path):
    text = ONE.replace("token: hunter2", "exec: {command: x, args: null, env: null, apiVersion: y}, as: null")
    assert of(text, tmp_path).user.exec.args == ()


def test_plain_http_on_this_machine_is_fine(tmp_path):
    assert of(ONE.replace("https://one:6443", "http://127.0.0.1:8001"), tmp_path).cluster.server


def test_nothing_secret_is_in_a_repr(tmp_path):
    user = "token: hunter2, password: hunter2, client-key-data: hunter2"
    user += ", exec: {command: x, env: [{name: A, value: hunter2}]}"
    text = ONE.replace("token: hunter2", f"{user}, client-certificate-data: hunter2, username: u")
    access = of(text, tmp_path)
    assert "hunter2" not in repr(access)
    assert "hunter2" in msgspec.json.encode(access).decode()
