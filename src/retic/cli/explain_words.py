"""The words of `retic explain`: what becomes of a request. What they do stands in `explain`."""

import pathlib
from typing import Annotated

import typer

app = typer.Typer(
    name="explain",
    help="Show what the mesh does with a request, without sending it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _explain() -> None:
    """Show what the mesh does with a request, without sending it."""


@app.command()
def request(
    *,
    method: Annotated[str, typer.Argument(metavar="[METHOD]", show_default=False)] = "GET",
    path: Annotated[str, typer.Argument(metavar="[PATH]", show_default=False)] = "/",
    source: Annotated[
        str, typer.Option("--from", metavar="KIND/NAME", help="Who sends it: deploy/web, pod/x, gateway/x, sa/x ...")
    ] = "",
    target: Annotated[
        str, typer.Option("--to", metavar="NAME:PORT|IP:PORT|URL", help="Where to; a URL is one of a gateway.")
    ],
    file: Annotated[
        list[pathlib.Path] | None,
        typer.Option("-f", "--filename", metavar="PATH", help="A manifest file or a folder of them; repeatable."),
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("-H", "--header", metavar="'NAME: VALUE'", help="A header; repeatable.")
    ] = None,
    address: Annotated[
        str, typer.Option("--address", metavar="IP", help="The address that it comes from, not the sender's own.")
    ] = "",
    tcp: Annotated[bool, typer.Option("--tcp", help="A connection that carries no HTTP.")] = False,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="The sender's namespace.")] = "default",
    name: Annotated[
        str | None,
        typer.Option("--name", help="A mesh on this machine; of that name when several run side by side."),
    ] = None,
    kubeconfig: Annotated[
        pathlib.Path | None,
        typer.Option("--kubeconfig", metavar="FILE", help="Instead of KUBECONFIG and ~/.kube/config."),
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", help="Which of its contexts, if not the current one.")
    ] = None,
    output: Annotated[str, typer.Option("-o", "--output", metavar="[table|json]", help="How to print it.")] = "table",
) -> None:
    """Show which way a request would take, and who would let it in.

    Route and rule, backends and weights, endpoints, time-outs, and the policy that decides, each with file and
    line. With -f it needs no running mesh. Nothing is sent. Exits with 0 when the request is allowed and the
    application answers it, or a proxy with a status below 400; with 1 when it is refused or a proxy answers with
    an error; with 2 when the question names something that is not there.

    \b
    Examples:
      retic explain request -f demo -n shop --from deploy/web --to catalog:80 GET /items -H 'x-canary: yes'
      retic explain request -n shop --from sa/cart --to catalog.shop.svc.cluster.local:80 POST /items
      retic explain request --to http://shop.example.com/ -o json
    """
    from retic.cli import explain as command
    from retic.cli import which

    if output not in ("table", "json"):
        raise typer.BadParameter("choose table or json", param_hint="-o")
    asked = command.Question(source, target, namespace, method, path, tuple(header or ()), address, tcp)
    mesh = which.Options(name, kubeconfig, context)
    raise typer.Exit(command.run(asked, mesh, file or [], as_json=output == "json"))
