"""Where nft is found: ordinary users of Debian have no sbin folder on their PATH."""

import os
import subprocess
import sys

ASK = "from retic.node import redirect; redirect.load('add table inet probe\\n')"


def test_nft_is_found_without_sbin_on_the_path():
    inside = ["unshare", "--user", "--map-root-user", "--net"] if os.getuid() else ["unshare", "--net"]
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    command = [*inside, sys.executable, "-c", ASK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
