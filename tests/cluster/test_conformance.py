"""The Gateway API's official suite: every core test of both mesh profiles passes, and the page says what passes."""

import subprocess
import sys

from tools.cluster import places


def test_the_suite_passes_as_the_page_says(installed):
    done = subprocess.run(
        [sys.executable, "-m", "tools.conformance", "--check"],
        cwd=places.ROOT, capture_output=True, text=True, check=False, timeout=2700,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr
