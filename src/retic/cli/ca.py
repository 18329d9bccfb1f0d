"""The words of `retic ca`: the certificate authority of a cluster. What they do stands in `root`."""

import pathlib
from typing import Annotated

import typer

app = typer.Typer(
    name="ca",
    help="The certificate authority of the mesh on a cluster.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Kubeconfig = Annotated[
    pathlib.Path | None,
    typer.Option("--kubeconfig", metavar="FILE", help="Instead of KUBECONFIG and ~/.kube/config."),
]
Context = Annotated[str | None, typer.Option("--context", help="Which of its contexts, if not the current one.")]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@app.command()
def rotate(
    *,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when the new root signs.")] = True,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait at most.")] = 600,
) -> None:
    """Replace the root by a new one, without a refused connection.

    The new root is made known to every agent first; when all have said so it signs; when the last certificate
    of the old one has ended, the old one is removed. The controllers do it: the command may be interrupted, and
    run again to watch.

    \b
    Examples:
      retic ca rotate
      retic ca rotate --no-wait
    """
    from retic.cli import root

    root.rotate(kubeconfig, context, wait=wait, timeout=timeout)


@app.command()
def status(*, kubeconfig: Kubeconfig = None, context: Context = None, json: Json = False) -> None:
    """Show which root signs, and how far a rotation is.

    \b
    Examples:
      retic ca status
    """
    from retic.cli import root

    root.status(kubeconfig, context, as_json=json)
