"""The parts of `make cluster` that need no cluster: images, budgets, processes, kernel settings."""

import hashlib
import json
import os
import pathlib
import subprocess
import tarfile

import pytest
from tools.cluster import certificates, gobuild, oci, processes, steps, tunables


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("web", "docker.io/library/web:latest"),
        ("web:1", "docker.io/library/web:1"),
        ("team/web", "docker.io/team/web:latest"),
        ("localhost/web:1", "localhost/web:1"),
        ("registry.example.com/web", "registry.example.com/web:latest"),
        ("registry.example.com:5000/web:v1", "registry.example.com:5000/web:v1"),
    ],
)
def test_references_are_what_containerd_makes_of_them(given: str, full: str):
    assert oci.full(given) == full


def folder(path: pathlib.Path) -> pathlib.Path:
    path.mkdir()
    (path / "run").write_text("#!/bin/sh\n")
    (path / "run").chmod(0o700)
    (path / "data").write_text("data")
    (path / "__pycache__").mkdir()
    (path / "__pycache__" / "x.pyc").write_text("")
    (path / "link").symlink_to("data")
    return path


def test_layers_have_root_as_owner_no_times_and_plain_modes(tmp_path: pathlib.Path):
    oci.pack(tmp_path / "layer.tar", {"/opt/app": folder(tmp_path / "source")})
    with tarfile.open(tmp_path / "layer.tar") as tar:
        members = {member.name: member for member in tar}
    assert list(members) == ["opt", "opt/app", "opt/app/data", "opt/app/link", "opt/app/run"]
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}
    assert (members["opt/app/run"].mode, members["opt/app/data"].mode) == (0o755, 0o644)
    assert members["opt/app/link"].linkname == "data"


def test_archive_is_an_image_layout_and_the_same_each_time(tmp_path: pathlib.Path):
    oci.pack(tmp_path / "layer.tar", {"/opt/app": folder(tmp_path / "source")})
    digests = []
    for name in ("one.tar", "two.tar"):
        oci.write(
            tmp_path / name, "web:1", [tmp_path / "layer.tar"], entrypoint=["/opt/app/run"], cmd=["x"],
            env={"A": "b"}, user="65532", workdir="/opt",
        )  # fmt: skip
        digests.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    with tarfile.open(tmp_path / "one.tar") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(content).hexdigest() == name.rpartition("/")[2]
    manifest = json.loads(files["index.json"])["manifests"][0]
    assert manifest["annotations"]["io.containerd.image.name"] == "docker.io/library/web:1"
    config = json.loads(files[blob(json.loads(files[blob(manifest)])["config"])])["config"]
    assert (config["Entrypoint"], config["Cmd"], config["User"]) == (["/opt/app/run"], ["x"], "65532")
    assert "A=b" in config["Env"]


def blob(descriptor: dict[str, str]) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


def test_archive_that_cannot_be_finished_leaves_nothing(tmp_path: pathlib.Path):
    with pytest.raises(FileNotFoundError):
        oci.write(tmp_path / "out" / "image.tar", "web:1", [tmp_path / "missing.tar"])
    assert list(tmp_path.rglob("*.tar")) == []


def test_part_past_the_budget_fails_with_its_name():
    run = steps.Steps(budget=0.05)
    with pytest.raises(steps.OverBudgetError, match="slow part: the budget"), run.part("slow part"):
        run.command("sleep", "30")
    with pytest.raises(steps.OverBudgetError, match="next part"), run.part("next part"):
        pass


def test_part_that_fails_says_what_it_printed_last(capsys: pytest.CaptureFixture[str]):
    run = steps.Steps(budget=60)
    with pytest.raises(steps.FailedError, match=r"(?s)broken: .* ended with 3\nno such luck"), run.part("broken"):
        run.command("sh", "-c", "echo no such luck >&2; exit 3")
    with pytest.raises(steps.FailedError, match="absent: no-such-command is not installed"), run.part("absent"):
        run.command("no-such-command")
    assert capsys.readouterr().err == ""


def test_process_is_ended_by_its_record_and_nobody_elses(tmp_path: pathlib.Path):
    record = processes.start(tmp_path / "pids", "one", ["sleep", "infinity"], logs=tmp_path / "logs")
    assert processes.alive(tmp_path / "pids", "one")
    other = subprocess.Popen(["sleep", "infinity"])
    try:
        # The id of another process, with the start time of ours: it was taken over.
        (tmp_path / "pids" / "two.json").write_text(json.dumps({"pid": other.pid, "began": record.began - 1}))
        assert not processes.alive(tmp_path / "pids", "two")
        processes.end(tmp_path / "pids", "two")
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    processes.end(tmp_path / "pids", "one")
    assert not pathlib.Path(f"/proc/{record.pid}").exists()
    assert processes.names(tmp_path / "pids") == []
    processes.end(tmp_path / "pids", "one")


def test_process_that_ignores_its_end_is_killed(tmp_path: pathlib.Path):
    deaf = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 60; done"]
    record = processes.start(tmp_path / "pids", "deaf", deaf, logs=tmp_path / "logs")
    processes.until(lambda: "deaf" in (tmp_path / "logs/deaf.log").read_text(), "its word", seconds=10)
    processes.end(tmp_path / "pids", "deaf", patience=0.05)
    assert not pathlib.Path(f"/proc/{record.pid}").exists()


def test_keys_are_for_their_owner_only(tmp_path: pathlib.Path):
    authority = certificates.Authority(tmp_path, "ca")
    authority.issue("server", "server", hosts=["localhost", "127.0.0.1"])
    certificates.signing_key(tmp_path, "tokens")
    keys = sorted(tmp_path.glob("*.key"))
    assert [key.name for key in keys] == ["ca.key", "server.key", "tokens.key"]
    assert {os.stat(key).st_mode & 0o777 for key in keys} == {0o600}


def test_kernel_settings_are_remembered_once_and_put_back_where_they_differ(tmp_path: pathlib.Path):
    tunables.remember(tmp_path / "kernel.json")
    first = (tmp_path / "kernel.json").read_text()
    (tmp_path / "kernel.json").write_text(json.dumps(json.loads(first) | {"not/ours": "1"}))
    tunables.remember(tmp_path / "kernel.json")
    assert "not/ours" in (tmp_path / "kernel.json").read_text()
    tunables.restore(tmp_path / "kernel.json")
    tunables.restore(tmp_path / "missing.json")


def test_kubernetes_is_pinned_at_one_release():
    text = (gobuild.KUBERNETES.folder / "go.mod").read_text()
    assert gobuild.version("k8s.io/kubernetes", gobuild.KUBERNETES.folder).startswith("v1.34.")
    staged = {line.split()[-1] for line in text.splitlines() if "k8s.io/" in line and "=>" in line}
    assert len(staged) == 1
