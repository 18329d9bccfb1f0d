"""The command line's words for what passes through a mesh: `top`, `tap`, `metrics`."""

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
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print it.")] = Output.TABLE,
) -> None:
    """Print a configuration for Prometheus that reads all metrics of the mesh.

    It names the files of the token and of the authority, and has no secret in it. For a cluster it is for a Prometheus
    that runs there.

    \b
    Examples:
      retic metrics > prometheus.yml && prometheus --config.file prometheus.yml
      retic metrics -o json
      retic metrics --context production > retic.yml
    """
    from retic.cli import metrics as command
    from retic.cli import which

    command.run(which.Options(name, kubeconfig, context), as_json=output is Output.JSON)


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


_FROM = "Who calls: deploy/NAME, sts/, ds/, job/, pod/ or gateway/NAME."
_TO = "Who is called: the same, or svc/NAME."
_HEADER = "Only requests with this header; a * in VALUE is for any letters. Repeatable."


@app.command()
def tap(
    *,
    source: Annotated[str | None, typer.Option("--from", metavar="KIND/NAME", help=_FROM)] = None,
    destination: Annotated[str | None, typer.Option("--to", metavar="KIND/NAME", help=_TO)] = None,
    namespace: Annotated[
        str | None, typer.Option("-n", "--namespace", help="Of --from and --to; without them, of one end.")
    ] = None,
    method: Annotated[str, typer.Option("--method", help="Only this method.")] = "",
    path: Annotated[str, typer.Option("--path", metavar="'/x*'", help="Only this path; a * is for any letters.")] = "",
    status: Annotated[
        list[str] | None, typer.Option("--status", metavar="404|5xx", help="Only these answers; repeatable.")
    ] = None,
    header: Annotated[list[str] | None, typer.Option("-H", "--header", metavar="'NAME: VALUE'", help=_HEADER)] = None,
    protocol: Annotated[str, typer.Option("--protocol", metavar="http|http1|http2|tcp", help="Only this.")] = "",
    show_header: Annotated[
        list[str] | None, typer.Option("--show-header", metavar="NAME", help="Show this header too; repeatable.")
    ] = None,
    redact: Annotated[
        list[str] | None,
        typer.Option("--redact", metavar="NAME", help="Also hide this parameter or header; repeatable."),
    ] = None,
    most: Annotated[int, typer.Option("--max", metavar="N", help="End after so many.")] = 1000,
    seconds: Annotated[float, typer.Option("--for", metavar="SECONDS", help="End after so long.")] = 60.0,
    name: Which = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print it.")] = Output.TABLE,
) -> None:
    """Show single requests and connections as they pass, one line each (a JSON object each with -o json).

    Credentials are never shown: in headers, or in parameters of a path. Only pods concerned report, and only while the
    command runs. A call is told by the caller's proxy, or with --to alone by the called one's.

    \b
    Examples:
      retic tap -n shop --to svc/catalog --status 5xx
      retic tap -n shop --from deploy/web --path '/items*' --show-header x-version
      retic tap -o json --max 20
    """
    from retic.cli import tap as command
    from retic.cli import which
    from retic.telemetry import calls

    headers = dict(map(command.header, header or ()))
    statuses = tuple(each.lower() for each in status or ())
    asked = command.Asked(
        source, destination, namespace, calls.Wanted(method, path, statuses, headers, protocol.lower()),
        calls.Shown(command.lower(show_header), command.lower(redact)), most, seconds,
    )  # fmt: skip
    command.run(which.Options(name, kubeconfig, context), asked, as_json=output is Output.JSON)
