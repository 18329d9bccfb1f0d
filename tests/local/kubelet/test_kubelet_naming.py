"""Host names, /etc/hosts and resolv.conf of pods, as kubelet makes them."""

import pytest
from kubelet_machine import RESOLV, shell

from retic import objects
from retic.local.kubelet import environment, naming

OWN = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")
HOST = naming.parse(RESOLV)


def pod(name="web", **spec):
    meta = {"name": name, "namespace": "shop"}
    return objects.decode({"kind": "Pod", "metadata": meta, "spec": {"containers": [{"name": "c"}], **spec}})


def test_a_machines_resolv_conf_is_read_as_kubelet_reads_it():
    assert naming.Resolver(("127.0.0.53",), ("lan", "corp.example"), ("edns0", "ndots:1")) == HOST
    assert naming.parse("nameserver\nsearch\noptions") == naming.Resolver()


@pytest.mark.parametrize("policy", [None, "ClusterFirst", "ClusterFirstWithHostNet"])
def test_the_cluster_comes_first_with_the_machines_domains_after_its_own(policy):
    more = {} if policy is None else {"dnsPolicy": policy}
    found = naming.resolver(pod(**more), HOST)
    assert found == naming.Resolver(("10.96.0.10",), (*OWN, "lan", "corp.example"), ("ndots:5",))
    assert found.text == (
        "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local lan corp.example\n"
        "options ndots:5\n"
    )


def test_by_default_policy_a_pod_asks_what_its_machine_asks():
    wanted = naming.Resolver(("172.31.255.1",), HOST.searches, HOST.options)
    assert naming.resolver(pod(dnsPolicy="Default"), HOST) == wanted
    assert naming.resolver(pod(hostNetwork=True), HOST) == wanted
    with_net = naming.resolver(pod(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"), HOST)
    assert with_net.nameservers == ("10.96.0.10",)


def test_without_a_policy_there_is_what_the_config_says():
    config = {"nameservers": ["192.0.2.1"], "searches": ["a.example"], "options": [{"name": "use-vc"}]}
    assert naming.resolver(pod(dnsPolicy="None", dnsConfig=config), HOST) == naming.Resolver(
        ("192.0.2.1",), ("a.example",), ("use-vc",)
    )


def test_the_config_is_added_and_its_options_win():
    config = {
        "nameservers": ["10.96.0.10", "192.0.2.1"], "searches": ["svc.cluster.local", "b.example"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }  # fmt: skip
    assert naming.resolver(pod(dnsConfig=config), HOST) == naming.Resolver(
        ("10.96.0.10", "192.0.2.1"), (*OWN, "lan", "corp.example", "b.example"), ("ndots:2", "edns0")
    )


def test_what_a_resolver_would_not_take_is_cut():
    many = {"nameservers": ["192.0.2.1", "192.0.2.2", "192.0.2.3"], "searches": [f"d{i}.example" for i in range(40)]}
    found = naming.resolver(pod(dnsConfig=many), HOST)
    assert found.nameservers == ("10.96.0.10", "192.0.2.1", "192.0.2.2")
    assert len(found.searches) == 32
    long = naming.resolver(pod(dnsConfig={"searches": ["x" * 60 + f".{i}" for i in range(32)]}), HOST)
    assert len(" ".join(long.searches)) <= 2048


def test_only_nameservers_outside_the_mesh_need_a_way_out():
    servers = ["10.96.0.10", "10.244.1.9", "127.0.0.1", "fd00::1", "192.0.2.1", "192.0.2.1"]
    assert naming.outside(pod(dnsConfig={"nameservers": servers})) == ("192.0.2.1",)
    assert naming.outside(pod()) == ()


def test_names_and_domains():
    assert naming.kernel_name(pod()) == "web"
    assert naming.kernel_name(pod(hostname="h", subdomain="set")) == "h"
    assert naming.kernel_name(pod(hostname="h", subdomain="set", setHostnameAsFQDN=True)) == (
        "h.set.shop.svc.cluster.local"
    )
    assert naming.kernel_name(pod(setHostnameAsFQDN=True)) == "web", "no subdomain, no domain"
    assert naming.host_name(pod("a" * 62 + "-b")) == "a" * 62, "a label has 63 characters and ends with none"
    with pytest.raises(environment.Missing, match="longer than 64"):
        naming.kernel_name(pod(hostname="h" * 40, subdomain="set", setHostnameAsFQDN=True))


def test_aliases_are_lines_of_hosts():
    aliases = [{"ip": "10.1.2.3", "hostnames": ["one", "one.example"]}, {"ip": "10.1.2.4", "hostnames": ["two"]}]
    text = naming.aliases(pod(hostAliases=aliases))
    assert text == "\n# Entries added by HostAliases.\n10.1.2.3\tone\tone.example\n10.1.2.4\ttwo\n"
    assert naming.aliases(pod()) == ""


async def test_a_pod_is_made_with_them_once_its_nameservers_are_reachable(machine):
    config = {"nameservers": ["192.0.2.1"]}
    more = {"hostname": "h", "subdomain": "set", "setHostnameAsFQDN": True, "dnsConfig": config}
    machine.run("one", shell("echo $HOSTNAME; sleep 60"), **more, hostAliases=[{"ip": "10.1.2.3", "hostnames": ["a"]}])
    await machine.until_ready("one")
    asked = machine.fabric.asked["one"]
    assert (asked["hostname"], asked["kernel_name"]) == ("h", "h.set.default.svc.cluster.local")
    assert "nameserver 192.0.2.1\n" in asked["resolv_conf"]
    assert asked["aliases"].endswith("10.1.2.3\ta\n")
    assert machine.nameservers == ["192.0.2.1"]
    await machine.until(lambda: machine.log("one").split() == ["h.set.default.svc.cluster.local"], "its variable")


async def test_a_name_too_long_for_the_kernel_holds_the_pod_and_is_told(machine):
    machine.run("one", shell("sleep 60"), hostname="h" * 60, subdomain="set", setHostnameAsFQDN=True)
    await machine.until(lambda: "one" in machine.seen, "a status")
    found = {item.type: item for item in machine.seen["one"].status.conditions}
    assert "setHostnameAsFQDN" in found["PodReadyToStartContainers"].message
    assert machine.seen["one"].status.phase == "Pending"
