"""The command: `python -m tools.cluster up|down|status|kubeconfig`."""

import argparse
import sys

from tools.cluster import places, steps, whole


def main(arguments: list[str] | None = None) -> int:
    """Do it; 0 where it went well, 1 with the reason on stderr, and for `status` 1 where no cluster runs."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.cluster", description="A Kubernetes cluster on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="build what is missing and start it; harmless where it runs")
    commands.add_parser("down", help="end it; nothing of it stays but the caches")
    commands.add_parser("status", help="its nodes and pods")
    commands.add_parser("kubeconfig", help="the path of its administrator's kubeconfig")
    command = parser.parse_args(arguments).command
    try:
        return _run(command)
    except (steps.FailedError, steps.OverBudgetError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1


def _run(command: str) -> int:
    if command == "up":
        whole.up()
    elif command == "down":
        whole.down()
    elif command == "kubeconfig":
        print(whole.given() or places.kubeconfig())
    elif not whole.running():
        print("cluster: none runs; `make cluster` starts it", file=sys.stderr)
        return 1
    else:
        print(whole.kubectl("get", "nodes", "-o", "wide"))
        print(whole.kubectl("get", "pods", "-A", "-o", "wide"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
