"""What pid 1 asks of the spawner, and what the spawner says. Values only."""

import msgspec


class Volume(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A folder or file `source` of this machine that the pod sees at `path`.

    When nothing is at `path`, it is made to appear, in the pod's mount namespace only.
    """

    source: str
    path: str
    read_only: bool = False


class Start(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Build the fabric: state folder and the nodes' names, in their order."""

    folder: str
    nodes: tuple[str, ...]


class AddPod(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pod's namespaces.

    `kernel_name`: what the kernel calls it, when that is not `hostname`. `resolv_conf`: the file, when it is not
    the usual one. `aliases`: more lines of /etc/hosts.
    """

    uid: str
    namespace: str
    name: str
    hostname: str
    node: str
    ip: str
    volumes: tuple[Volume, ...] = ()
    subdomain: str | None = None
    kernel_name: str = ""
    resolv_conf: str = ""
    aliases: str = ""


class PodAdded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    holder_pid: int
    host_pid: int
    netns_path: str


class RemovePod(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    uid: str


class Spawn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Run a command: in the pod `pod`, else in the network namespace at `netns`, else beside pid 1.

    Descriptors that come along: standard input, output, error, then one for each number in `extra_fds`.
    `kill_group`: when the command ends, what is left of its process group is killed.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    pod: str | None = None
    netns: str | None = None
    kill_group: bool = True
    extra_fds: tuple[int, ...] = ()


class Spawned(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`pid` as pid 1 sees it, `host_pid` as /proc and the host show it. A pidfd comes along."""

    pid: int
    host_pid: int


class Exited(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """News: a spawned command ended; `status` as in subprocess: exit code, or minus the signal's number."""

    pid: int
    status: int
