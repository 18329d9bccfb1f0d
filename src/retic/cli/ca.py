"""The words of `retic ca`: the mesh's certificate authority, and whom it trusts. What they do stands in `root`."""

import pathlib
from typing import Annotated

import typer

app = typer.Typer(
    name="ca",
    help="The certificate authority of a mesh, and which others it trusts.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Which = Annotated[
    str | None, typer.Option("--name", help="A mesh on this machine; of that name when several run side by side.")
]
Kubeconfig = Annotated[
    pathlib.Path | None,
    typer.Option("--kubeconfig", metavar="FILE", help="Instead of KUBECONFIG and ~/.kube/config."),
]
Context = Annotated[str | None, typer.Option("--context", help="Which of its contexts, if not the current one.")]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
Aliases = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-domain-alias", metavar="DOMAIN", help="Another name of the trust domain, accepted as well; repeatable."
    ),
]
Trusted = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted-root",
        metavar="DOMAIN=FILE",
        help="Accept callers of that trust domain, whose authority has these roots; repeatable.",
    ),
]


@app.command()
def rotate(
    *,
    name: Which = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when the new root signs.")] = True,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait at most.")] = 600,
) -> None:
    """Replace the root by a new one, without a refused connection.

    The new root is made known to every agent first; when all have said so it signs, and all certificates are made
    anew; when the last one of the old root has ended, the old root is removed. On this machine that is as soon as
    all are replaced. The control plane does it: the command may be interrupted, and run again to watch.

    \b
    Examples:
      retic ca rotate
      retic ca rotate --name shop
      retic ca rotate --context staging --no-wait
    """
    from retic.cli import root, which

    root.rotate(which.Options(name, kubeconfig, context), wait=wait, timeout=timeout)


@app.command()
def status(
    *, name: Which = None, kubeconfig: Kubeconfig = None, context: Context = None, json: Json = False
) -> None:
    """Show which root signs, and how far a rotation is.

    \b
    Examples:
      retic ca status
      retic ca status --name shop --json
    """
    from retic.cli import root, which

    root.status(which.Options(name, kubeconfig, context), as_json=json)


@app.command()
def trust(
    *,
    trust_domain_alias: Aliases = None,
    trusted_root: Trusted = None,
    none: Annotated[bool, typer.Option("--none", help="Accept no other trust domain from now on.")] = False,
    name: Which = None,
    json: Json = False,
) -> None:
    """Show which other trust domains a mesh on this machine accepts, or say which it is to accept from now on.

    What is given is the whole list. No connection is closed by it. On a cluster they are values: trustDomainAliases
    and trustedRoots.

    \b
    Examples:
      retic ca trust
      retic ca trust --trust-domain-alias old.example
      retic ca trust --trusted-root partner.example=partner.pem
      retic ca trust --none
    """
    from retic.cli import accept

    accept.run(name, tuple(trust_domain_alias or ()), tuple(trusted_root or ()), none=none, as_json=json)
