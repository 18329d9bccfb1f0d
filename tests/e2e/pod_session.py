"""A session inside a pod that lasts: `pod_probes` called by name, without a new `retic exec` for each call."""

import contextlib
import json
import pathlib
import subprocess
import sys

PROBES = pathlib.Path(__file__).with_name("pod_probes.py")


class Session:
    """`Session(...).http("http://web/")` calls `pod_probes.http` there. AssertionError when it raises there."""

    def __init__(self, name, line):
        self.name = name
        self.running = subprocess.Popen(
            [*line, sys.executable, str(PROBES)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __getattr__(self, call):
        def do(*given, **named):
            import inspect

            import pod_probes

            bound = inspect.signature(getattr(pod_probes, call)).bind(*given, **named)
            self.running.stdin.write(json.dumps({"call": call, "with": bound.arguments}) + "\n")
            self.running.stdin.flush()
            line = self.running.stdout.readline()
            assert line, f"the session in {self.name} ended: {self.running.stderr.read()}"
            answer = json.loads(line)
            assert "error" not in answer, f"in {self.name}: {answer['error']}"
            return answer["answer"]

        return do

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.running.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.running.wait(10)
        self.running.kill()
        self.running.wait()
        self.running.stdout.close()
        self.running.stderr.close()


class Pod(Session):
    """A session inside a pod."""

    def __init__(self, mesh, name, namespace="default"):
        line = [sys.executable, "-m", "retic.cli", "exec", "-i", "--name", mesh.name, "-n", namespace, name, "--"]
        super().__init__(name, line)
