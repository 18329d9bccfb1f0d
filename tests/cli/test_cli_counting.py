"""What `retic up` says to a Redis that it cannot use, before anything starts."""

import pytest

from retic.cli import counting, failure
from retic.control import config


def test_a_place_is_passed_on_without_its_password(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "redis.password").write_text("sesame\n")
    told = counting.checked("unix:///run/redis.sock", (tmp_path / "redis.password").relative_to(tmp_path))
    assert told == config.Counting("unix:///run/redis.sock", str(tmp_path / "redis.password"))
    assert "sesame" not in repr(told)
    assert counting.checked("", None) == config.Counting()


@pytest.mark.parametrize(
    ("url", "file", "words"),
    [
        ("", "there", "give the address too"),
        ("redis://h", "none", "no such file"),
        ("redis://:sesame@redis", None, "no user and no password"),
        ("redis.infra:6379", None, "redis://HOST:PORT"),
        ("redis://127.0.0.1:6379", None, "unix:///PATH"),
        ("rediss://localhost", None, "unix:///PATH"),
    ],
)
def test_what_cannot_be_used(tmp_path, url, file, words):
    (tmp_path / "there").write_text("sesame")
    with pytest.raises(failure.Failure, match=words) as refused:
        counting.checked(url, tmp_path / file if file else None)
    assert "sesame" not in str(refused.value)
