"""What `retic up` says to certificates and trust domains that it cannot use, before anything starts."""

import pathlib

import pytest

from retic.cli import failure, trust
from retic.control import config
from retic.testing import authorities


@pytest.fixture
def files(tmp_path):
    root = authorities.root("root")
    shop = root.below("shop")
    for name, text in {"cert": shop.chain, "key": shop.key_pem, "root": root.pem}.items():
        (tmp_path / f"{name}.pem").touch(mode=0o600)
        (tmp_path / f"{name}.pem").write_bytes(text)
    partner = authorities.root("partner")
    (tmp_path / "partner.pem").write_bytes(partner.pem)
    return tmp_path


def options(files, **more):
    given = {name: files / f"{name}.pem" for name in ("cert", "key", "root")}
    return trust.Options(**{**given, **more})


def test_paths_are_made_absolute_and_nothing_else_is_kept(files, monkeypatch):
    monkeypatch.chdir(files)
    told = {"cert": pathlib.Path("cert.pem"), "trusted": ("partner.example=partner.pem",), "aliases": ("old.example",)}
    own, accepted = trust.checked(options(files, **told))
    assert own == config.Authority(*(str(files / f"{name}.pem") for name in ("cert", "key", "root")))
    assert accepted == config.Accepted(
        ("old.example",), (config.TrustedRoot("partner.example", str(files / "partner.pem")),)
    )
    assert trust.checked(trust.Options()) == (None, config.Accepted())


@pytest.mark.parametrize(("given", "code", "words"), [
    ({"key": None}, 2, "give both --ca-cert and --ca-key"),
    ({"cert": None}, 2, "give both --ca-cert and --ca-key"),
    ({"cert": None, "key": None}, 2, "--ca-root is the root of --ca-cert"),
    ({"root": None}, 1, "the file of the root (--ca-root) is missing"),
    ({"domain": "Shop"}, 1, "'Shop' is not a trust domain: write 1 to 255 of a-z"),
    ({"aliases": ("cluster.local",)}, 1, "cluster.local is the mesh's own trust domain"),
    ({"aliases": ("a.example", "a.example")}, 1, "the trust domain a.example is given twice"),
    ({"aliases": ("A",)}, 1, "'A' is not a trust domain"),
    ({"trusted": ("partner.pem",)}, 2, "--trusted-root partner.pem: write DOMAIN=FILE"),
    ({"trusted": ("a.example=nothing.pem",)}, 1, "nothing.pem: no such file or directory"),
])  # fmt: skip
def test_what_cannot_be_used(files, given, code, words):
    with pytest.raises(failure.Failure) as raised:
        trust.checked(options(files, **given))
    assert words in str(raised.value)
    assert raised.value.code == code


def test_the_own_root_is_no_partners(files):
    with pytest.raises(failure.Failure, match=r"is the mesh.s own root: accept a\.example with --trust-domain-alias"):
        trust.checked(options(files, trusted=(f"a.example={files / 'root.pem'}",)))
