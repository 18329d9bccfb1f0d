"""The command line's words for what passes through a mesh: `top`, `metrics`."""

import enum
import pathlib
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)


class Output(enum.StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"


Which = Annotated[
    str | None, typer.Option("--name", help="A mesh on this machine; of that name when several run side by side.")
]
Kubeconfig = Annotated[
    pathlib.Path | None,
    typer.Option("--kubeconfig", metavar="FILE", help="Instead of KUBECONFIG and ~/.kube/config."),
]
Context = Annotated[str | None, typer.Option("--context", help="The kubeconfig's context.")]


@app.command()
def metrics(
    *,
    name: Which = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print it.")] = Output.TABLE,
) -> None:
    """Print a configuration for Prometheus that reads all metrics of a mesh on this machine.

    It names the files of the token and of the authority, and has no secret in it.

    \b
    Examples:
      retic metrics > prometheus.yml && prometheus --config.file prometheus.yml
      retic metrics -o json
    """
    from retic.cli import metrics as command

    command.run(name, as_json=output is Output.JSON)


@app.command()
def top(
    *,
    name: Which = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Annotated[
        str | None, typer.Option("-n", "--namespace", help="Only what has one end in this namespace.")
    ] = None,
    window: Annotated[float, typer.Option("--window", metavar="S", help="Over how many seconds.")] = 10.0,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print it.")] = Output.TABLE,
) -> None:
    """Show who calls whom: requests a second, success, latencies, identity, and what is refused by which policy.

    On a terminal the table is live, until Ctrl-C; else it is printed once, after so many seconds.

    \b
    Examples:
      retic top
      retic top -n shop --window 30
      retic top -o json
    """
    from retic.cli import top as command
    from retic.cli import which

    options = which.Options(name, kubeconfig, context)
    command.run(options, namespace=namespace, window=window, as_json=output is Output.JSON)
