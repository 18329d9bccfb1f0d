"""Local mode's authority in its files: kept from others, never half, going on with the last good of a user's own."""

import asyncio
import json
import stat

import pytest

from retic.control import config, service
from retic.identity import clock, holdings, ownfiles, pairs, rotation
from retic.sources import api
from retic.testing import authorities, wait
from retic.wiring import rootfolder, trusting

ROOT = authorities.root("root")
OURS = "shop.example"


@pytest.fixture
def given(tmp_path):
    """A user's files, and how to write another pair into them."""
    paths = [tmp_path / name for name in ("cert.pem", "key.pem", "root.pem")]

    def write(held, root=ROOT):
        for path, text in zip(paths, (held.chain, held.key_pem, root.pem), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(text)

    write(ROOT.below("shop"))
    return ownfiles.Files(*map(str, paths)), write


def folder(tmp_path, files=None):
    return rootfolder.Folder(tmp_path / "ca", OURS, files, clock.System())


async def test_a_users_files_are_taken_and_their_last_good_content_stays(tmp_path, given):
    files, write = given
    made = folder(tmp_path, files)
    first = (await made.read()).data
    assert set(first) == {pairs.CERTIFICATE, pairs.KEY, pairs.ROOTS}
    assert not (await made.read()).own
    (tmp_path / "key.pem").write_bytes(ROOT.key_pem)
    assert (await made.read()).data == first
    assert f"{tmp_path}/key.pem does not belong to the first certificate" in made.fault
    assert (await folder(tmp_path, files).read()).data == first, "also for one that has just started"
    write(ROOT.below("shop again"))
    assert (await made.read()).data != first
    assert made.fault == ""


async def test_files_are_the_users_alone(tmp_path, given):
    made = folder(tmp_path, given[0])
    kept = await made.read()
    state = rotation.State(rotation.Phase.STEADY, "s", ROOT.pem, 1)
    await made.write_state(kept, state, (), own=False)
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    names = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "ca").iterdir()}
    assert names == dict.fromkeys(("secret.json", "rotation.json", "root.pem"), 0o600)
    assert "PRIVATE" not in repr(made) + repr(await made.read())


async def test_of_two_writers_the_second_is_told(tmp_path):
    made = folder(tmp_path)
    kept = await made.read()
    state = rotation.State(rotation.Phase.STEADY, "s", ROOT.pem, 1)
    await made.write_state(kept, state, (), own=True)
    with pytest.raises(api.Error, match="has changed meanwhile"):
        await made.write_state(kept, state, ("node/a",), own=True)
    kept = await made.read()
    made.order()
    with pytest.raises(api.Error):
        await made.write_state(kept, state, ("node/a",), own=True)
    assert (await made.read()).request, "the order is not lost"


async def test_what_cannot_be_read_is_an_error_and_no_absence(tmp_path):
    made = folder(tmp_path)
    (tmp_path / "ca" / "secret.json").write_text("{half")
    with pytest.raises(api.Error, match=r"secret\.json cannot be read"):
        await made.read()


class Rig:
    """A control plane's trust, with nobody connected."""

    def __init__(self, folder, **more):
        self.config = config.Config(folder=folder, trust_domain=OURS, **more)
        self.aliases, self.changes = [], []
        self.expected = set()
        self.trust = trusting.Trust(
            self.config, lambda: self.expected, self.aliases.append, lambda: self.changes.append(1)
        )


async def test_nobody_goes_on_without_those_that_are_expected(tmp_path):
    rig = Rig(tmp_path)
    await rig.trust.open()
    rig.expected = {"node/away"}
    running = asyncio.create_task(rig.trust.run(holdings.Holdings()))
    try:
        await wait.until_async((tmp_path / "ca" / "rotation.json").exists, "the root is published")
        assert (await rig.trust.rotate()).ordered

        async def spreading():
            now = await rig.trust.status()
            return now if now.missing else None

        now = await wait.until_async(spreading, "somebody is missing")
        assert (now.phase, now.missing) == ("spreading", ("node/away",))
        assert await rig.trust.rotate() == now, "asked twice is asked once"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_other_trust_domains_are_known_again_after_a_crash(tmp_path):
    file = tmp_path / "partner.pem"
    file.write_bytes(authorities.root("partner").pem)
    rig = Rig(tmp_path, accepted=config.Accepted(("old.example",)))
    signer = await rig.trust.open()
    assert [domain.name for domain in signer.roots.domains] == ["old.example"]
    change = config.Accepted(("new.example",), (config.TrustedRoot("partner.example", str(file)),))
    assert rig.trust.accept(change) == change
    assert rig.aliases[-1] == ("new.example",)
    with pytest.raises(service.Refused, match="own trust domain"):
        rig.trust.accept(config.Accepted((OURS,)))
    assert [domain.name for domain in signer.roots.domains] == ["new.example", "partner.example"]
    file.unlink()
    again = Rig(tmp_path, accepted=config.Accepted(("old.example",)))
    roots = (await again.trust.open()).roots
    assert roots.domains == signer.roots.domains, "with the last good roots"
    (finding,) = again.trust.findings()
    assert (finding.code, finding.file) == ("RT0432", str(file))
    assert json.loads((tmp_path / "ca" / "accepted.json").read_text())["aliases"] == ["new.example"]
