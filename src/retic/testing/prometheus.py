"""A real Prometheus for tests: the machine's, or the one of Debian's package, which is unpacked into the cache."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import urllib.parse
import urllib.request
from types import TracebackType
from typing import Any, Self

from retic.testing import wait


def binary() -> pathlib.Path:
    """Where it is; fetched by apt where it is not. RuntimeError when that cannot be."""
    found = shutil.which("prometheus")
    if found:
        return pathlib.Path(found)
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "retic" / "prometheus"
    kept = cache / "prometheus"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _fetch(pathlib.Path(folder)).rename(kept)
    return kept


def _fetch(folder: pathlib.Path) -> pathlib.Path:
    done = subprocess.run(
        ["apt-get", "download", "-q", "prometheus"], cwd=folder, capture_output=True, text=True, check=False
    )
    package = next(iter(folder.glob("prometheus_*.deb")), None)
    if package is None:
        raise RuntimeError(f"Debian's package prometheus cannot be had: install it\n{done.stdout}{done.stderr}")
    subprocess.run(["dpkg-deb", "--extract", package.name, "."], cwd=folder, check=True, capture_output=True)
    return folder / "usr" / "bin" / "prometheus"


class Prometheus:
    """It runs in a `with`, on a port of its own at 127.0.0.1, with a configuration as text."""

    def __init__(self, configuration: str, folder: pathlib.Path, port: int) -> None:
        self._folder = folder
        self._at = f"127.0.0.1:{port}"
        (folder / "prometheus.yml").write_text(f"global: {{scrape_interval: 2s, scrape_timeout: 2s}}\n{configuration}")

    def __enter__(self) -> Self:
        words = [
            str(binary()), f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address={self._at}", "--log.level=warn",
        ]  # fmt: skip
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(60)

    def log(self) -> str:
        """What it wrote."""
        return (self._folder / "prometheus.log").read_text()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query: rows of `metric` and `value`; none while it does not serve yet."""
        words = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"http://{self._at}/api/v1/query?{words}", timeout=5) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except OSError:
            return []
        return found

    def until(self, expression: str, seconds: float = 40.0) -> list[dict[str, Any]]:
        """Wait until the query has rows."""
        return wait.until(lambda: self.query(expression), expression, seconds)
