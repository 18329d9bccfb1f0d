"""What a node's kernel lacks, as its agent reports it."""

import subprocess
import sys

import pytest

from retic.node import chain, config, kernel


def within(code):
    """Python code in network and user namespaces of its own."""
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_this_kernel_has_all_and_nothing_is_loaded():
    shown = "import subprocess; from retic.node import kernel; print(kernel.lacks());"
    listed = "said = subprocess.run(['/usr/sbin/nft', 'list', 'tables'], capture_output=True, text=True).stdout;"
    assert within(f"{shown}{listed}print(said or 'none')") == "()\nnone"


def test_a_rule_that_the_kernel_does_not_take(monkeypatch):
    monkeypatch.setitem(kernel._RULES, "nft_new", "chain c { type filter hook output priority 0; bogus; }")
    assert "nft_new" in kernel.lacks()


def test_without_nft(monkeypatch):
    monkeypatch.setattr(kernel, "_SBIN", "")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert kernel.lacks() == ("nft",)


@pytest.fixture
def where(tmp_path):
    for name in ("conf", "bin"):
        (tmp_path / name).mkdir()
    plugin = tmp_path / "retic-cni"
    plugin.write_bytes(b"plugin")
    return config.Cni(conf=tmp_path / "conf", bin=tmp_path / "bin", plugin=plugin, socket=tmp_path / "cni.sock")


def test_a_chain_says_what_is_wrong_with_it(where):
    assert str(where.conf) in chain.fault(where)
    (where.conf / "10-net.conflist").write_text('{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "bridge"}]}')
    assert chain.fault(where) == f"retic-cni is not in {where.conf}/10-net.conflist, or its program not in {where.bin}"
    chain.install(where)
    assert chain.fault(where) == ""
    (where.bin / "retic-cni").unlink()
    assert "its program" in chain.fault(where)


