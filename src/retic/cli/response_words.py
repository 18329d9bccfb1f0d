"""The words of `retic explain response` and `retic explain code`. What they do stands in `response` and `code`."""

import pathlib
from typing import Annotated

import typer

from retic.cli import explain_words

explain = explain_words.app


@explain.command()
def response(
    *,
    wanted: Annotated[
        str, typer.Argument(metavar="[ID]", show_default=False, help="What the header x-retic-id says.")
    ] = "",
    last: Annotated[
        int, typer.Option("--last", min=0, max=1000, metavar="N", help="List so many of the newest that failed.")
    ] = 0,
    source: Annotated[
        str, typer.Option("--from", metavar="KIND/NAME", help="Only calls of: deploy/web, pod/x, gateway/x, sa/x ...")
    ] = "",
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="The caller's namespace; without --from, of caller or called.")
    ] = "",
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
    """Say why a request failed or was refused, by the id in its answer.

    When, who called what, which proxy answered, its code, the policy or route that decided with file and line, how
    the called Service stands now, and what to change. Connections, and requests whose client has left, have an id too:
    --last lists the newest. Agents keep the newest few thousand each.

    \b
    Examples:
      retic explain response 3f0c7a52-91d4-4c36-9d5e-0a6c1f7b8e21
      retic explain response --last 10 -n shop --from deploy/web
    """
    from retic.cli import response as command
    from retic.cli import which

    if output not in ("table", "json"):
        raise typer.BadParameter("choose table or json", param_hint="-o")
    if bool(wanted) == bool(last):
        raise typer.BadParameter("give either an ID, or --last N for a list of the newest")
    if wanted and (source or namespace):
        raise typer.BadParameter("--from and -n choose from a list: they go with --last")
    mesh = which.Options(name, kubeconfig, context)
    as_json = output == "json"
    if wanted:
        command.one(mesh, wanted, as_json=as_json)
    else:
        command.newest(mesh, command.Choice(last, source, namespace), as_json=as_json)


@explain.command()
def code(
    *,
    wanted: Annotated[str, typer.Argument(metavar="CODE", show_default=False)],
    output: Annotated[str, typer.Option("-o", "--output", metavar="[table|json]", help="How to print it.")] = "table",
) -> None:
    """Say what a code means: of an answer (RT1...) or of a finding (RT0...).

    \b
    Examples:
      retic explain code RT1101
      retic explain code RT0201 -o json
    """
    from retic.cli import code as command

    if output not in ("table", "json"):
        raise typer.BadParameter("choose table or json", param_hint="-o")
    command.run(wanted, as_json=output == "json")
