"""The commands of docs/trust.md that make an authority make one that the mesh takes."""

import datetime
import pathlib
import re
import subprocess

from retic.identity import ownfiles

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "trust.md"


def test_the_commands_make_an_authority_that_can_sign(tmp_path):
    text = PAGE.read_text().partition("<!-- authority -->")[2].partition("<!-- end authority -->")[0]
    commands = re.findall(r"^\$ (.+)$", text, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
    paths = (str(tmp_path / name) for name in ("ca-cert.pem", "ca-key.pem", "root-cert.pem"))
    pair = ownfiles.Files(*paths).read(datetime.datetime.now(datetime.UTC), "cluster.local")
    assert pair.chain != pair.roots
