"""Values as users write them: merged, checked, and every mistake named with what to write instead."""

import pathlib
import re

import pytest

from retic.install import given, values


def loaded(*assignments, files=()):
    return given.load(given.collect(files, assignments))


def test_the_defaults_need_nothing():
    assert loaded() == values.Values()


def test_assignments_read_numbers_lists_and_texts():
    made = loaded(
        "mode=STRICT", "controller.replicas=3", "podNetworks=10.42.0.0/16,10.44.0.0/16", "trustDomain=123",
        "excludeNamespaces=[a, b]", "createNamespace=false", "controller.resources.limits.cpu=2",
    )  # fmt: skip
    assert made.mode is values.Mode.STRICT
    assert made.controller.replicas == 3
    assert made.pod_networks == ("10.42.0.0/16", "10.44.0.0/16")
    assert made.trust_domain == "123"
    assert made.exclude_namespaces == ("a", "b")
    assert made.create_namespace is False
    assert made.controller.resources.limits.cpu == "2"


def test_later_ones_win_and_groups_are_merged(tmp_path):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("mode: STRICT\ncontroller: {replicas: 3}\n")
    two.write_text("controller: {resources: {requests: {cpu: 1}}}\n".replace("1", "'1'"))
    made = loaded("controller.replicas=4", files=[one, two])
    assert (made.mode, made.controller.replicas) == (values.Mode.STRICT, 4)
    assert made.controller.resources.requests == values.Amounts(cpu="1", memory="192Mi")


def test_an_amount_that_is_null_is_not_stated():
    made = loaded("controller.resources.limits.memory=null")
    assert values.builtins(made)["controller"]["resources"]["limits"] == {}


@pytest.mark.parametrize(("assignments", "words"), [
    (["mode"], "--set mode: write it as name=value"),
    (["modes=STRICT"], "modes: there is no such value; did you mean mode?"),
    (["controller.replica=1"], "controller.replica: there is no such value; did you mean controller.replicas?"),
    (["replicas=1"], "replicas: there is no such value; did you mean controller.replicas or gateway.replicas?"),
    (["zzz=1"], "zzz: there is no such value; there are: image, "),
    (["controller=3"], "controller: is a group of values: set what is in it, like controller.replicas"),
    (["mode=LAX"], "mode: must be one of PERMISSIVE, STRICT, not 'LAX'"),
    (["mode=null"], "mode: must be one of PERMISSIVE, STRICT"),
    (["controller.replicas=0"], "controller.replicas: must be a whole number of at least 1, not 0"),
    (["controller.replicas=two"], "controller.replicas: must be a whole number, not 'two'"),
    (["podNetworks=10.42.0.1/16"], "is no network: 10.42.0.1/16 has host bits set; write it like 10.42.0.0/16"),
    (["podNetworks=all"], "podNetworks: 'all' is no network"),
    (["podNetworks=10.0.0.0/8", "serviceNetworks=10.43.0.0/16"], "overlaps 10.43.0.0/16 of serviceNetworks"),
    (["controller.resources.limits.memory=1GB"], "controller.resources.limits.memory: must be a text like ^"),
    (["cni.confFolder=etc"], "cni.confFolder: must be a text like ^/"),
    (["cni.binFolder=/etc/cni/net.d"], "cni.binFolder: is the same folder as cni.confFolder"),
    (["certificateLifetime=5"], "certificateLifetime: must be a whole number of at least 30, not 5 (Seconds"),
    (["trustDomain=Mesh"], "trustDomain: must be a text like ^"),
    (["trustDomainAliases=Mesh"], "trustDomainAliases"),
    (["trustDomainAliases=cluster.local"], "trustDomainAliases: cluster.local stands in trustDomain already"),
    (["trustedRoots=[{trustDomain: a.example, roots: x}]"], "trustedRoots"),
    (["trustedRoots=[{trustDomain: a.example, roots: \"-----BEGIN CERTIFICATE-----\\nx\"}]"], "no certificates in PEM"),
    (["image="], "image: must not be empty"),
    (["imagePullSecrets=[{nam: x}]"], "imagePullSecrets"),
    (["metrics.port=15012"], "metrics.port: 15012 is the controller's for the webhook: write another one, or 0"),
    (["metrics.port=70000"], "metrics.port: must be a whole number"),
])  # fmt: skip
def test_mistakes_are_named(assignments, words):
    with pytest.raises(given.ValuesError, match=re.escape(words)):
        loaded(*assignments)


def test_all_mistakes_at_once():
    with pytest.raises(given.ValuesError) as raised:
        loaded("mode=LAX", "controller.replicas=0", "logLevel=loud")
    assert len(str(raised.value).splitlines()) == 3


@pytest.mark.parametrize(("text", "words"), [
    ("- a\n", "must be a mapping of values (mode: STRICT), not a list"),
    ("mode: [", "is not YAML"),
    ("5\n", "must be a mapping of values"),
    ("1: 2\n", "1: there is no such value"),
])  # fmt: skip
def test_files_that_hold_something_else(tmp_path, text, words):
    file = tmp_path / "values.yaml"
    file.write_text(text)
    with pytest.raises(given.ValuesError, match=re.escape(words)):
        loaded(files=[file])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(given.ValuesError, match="cannot be read: No such file"):
        loaded(files=[tmp_path / "none.yaml"])
    empty = pathlib.Path(tmp_path / "empty.yaml")
    empty.write_text("")
    assert loaded(files=[empty]) == values.Values()


def test_every_value_is_explained():
    for setting in values.settings():
        assert setting.description.endswith("."), setting.name
