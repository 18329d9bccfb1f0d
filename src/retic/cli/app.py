"""The command line's words: commands, options, help. What they do stands in a module per command."""

import enum
import os
import pathlib
from typing import Annotated

import typer

from retic.cli import ca, response_words, traffic_words, up_words

DEFAULT = "retic"

app = typer.Typer(
    name="retic",
    help="A service mesh on one machine, from Kubernetes manifests: stock Envoy, no sidecars.",
    epilog="Begin with: retic up -f demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(ca.app)
app.add_typer(response_words.explain)
app.add_typer(traffic_words.app)
_state = {"debug": bool(os.environ.get("RETIC_DEBUG"))}


class Output(enum.StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"


Name = Annotated[str, typer.Option("--name", help="Which mesh, when several run side by side.")]
Which = Annotated[
    str | None, typer.Option("--name", help="A mesh on this machine; of that name when several run side by side.")
]
Manifests = Annotated[
    list[pathlib.Path] | None,
    typer.Option("-f", "--filename", metavar="PATH", help="A manifest file or a folder of them; repeatable."),
]
Files = Annotated[
    list[pathlib.Path],
    typer.Option("-f", "--filename", metavar="PATH", help="A manifest file or a folder of them; repeatable."),
]
Format = Annotated[Output, typer.Option("-o", "--output", help="How to print it.")]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="The pod's namespace.")]
Only = Annotated[str | None, typer.Option("-n", "--namespace", help="Only this namespace of a cluster.")]
Everywhere = Annotated[
    bool, typer.Option("-A", "--all-namespaces", help="Also namespaces of a cluster that are not in the mesh.")
]
Container = Annotated[
    str | None, typer.Option("-c", "--container", help="Which container, when the pod has several.")
]
Target = Annotated[str, typer.Argument(metavar="POD|deploy/NAME", show_default=False)]
Kubeconfig = Annotated[
    pathlib.Path | None,
    typer.Option("--kubeconfig", metavar="FILE", help="Instead of KUBECONFIG and ~/.kube/config."),
]
Context = Annotated[str | None, typer.Option("--context", help="Which of its contexts, if not the current one.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A value, like mode=STRICT or node.concurrency=4; repeatable."),
]
ValuesFiles = Annotated[
    list[pathlib.Path] | None,
    typer.Option("-f", "--values", metavar="FILE", help="A YAML file of values; repeatable, later ones win."),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Return when everything is ready.")]
Patience = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait at most, for each part.")]
Conflicts = Annotated[
    bool, typer.Option("--force-conflicts", help="Take fields back that somebody else has set.")
]


def debug() -> bool:
    """Whether internal errors are shown with where they came from."""
    return _state["debug"]


@app.callback()
def options(
    show: Annotated[bool, typer.Option("--debug", help="Show where an internal error came from.")] = False,
) -> None:
    """Retic: a service mesh on one machine, from Kubernetes manifests: stock Envoy, no sidecars."""
    _state["debug"] = _state["debug"] or show


@app.command()
def up(
    *,
    file: Files,
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=200, help="How many nodes.")] = 1,
    name: Name = DEFAULT,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when all is ready; the mesh goes on.")
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to become ready in.")] = 120,
    lifetime: Annotated[
        int,
        typer.Option("--certificate-lifetime", min=30, metavar="SECONDS", help="They are renewed at half of it."),
    ] = 86400,
    ca_cert: up_words.OwnCertificate = None,
    ca_key: up_words.OwnKey = None,
    ca_root: up_words.OwnRoot = None,
    trust_domain: up_words.TrustDomain = "cluster.local",
    trust_domain_alias: ca.Aliases = None,
    trusted_root: ca.Trusted = None,
    redis: up_words.Redis = "",
    redis_credentials: up_words.RedisCredentials = None,
    access_logs: up_words.AccessLogs = False,
) -> None:
    """Run manifests as a mesh: nodes, pods, proxies.

    Ctrl-C ends it and leaves nothing behind; with --detach it ends the waiting only.
    The files stay the source of truth: an edit is live within a second, a broken edit is reported and the
    last good state stays; so it does while a PATH is gone.

    \b
    Examples:
      retic up -f shop.yaml
      retic up -f manifests/ --nodes 2 --detach --timeout 60
      retic up -f shop.yaml --ca-cert ca-cert.pem --ca-key ca-key.pem --ca-root root-cert.pem
      retic up -f shop.yaml --trust-domain shop.example --trust-domain-alias cluster.local
      retic up -f shop.yaml --redis unix:///run/redis/redis.sock
    """
    from retic.cli import trust
    from retic.cli import up as command

    told = trust.Options(
        ca_cert, ca_key, ca_root, trust_domain, tuple(trust_domain_alias or ()), tuple(trusted_root or ())
    )
    wanted = command.Options(name, nodes, lifetime, told, redis, redis_credentials, access_logs)
    command.run(file, wanted, detach=detach, timeout=timeout)


@app.command()
def ps(
    *,
    namespace: Only = None,
    everywhere: Everywhere = False,
    name: Which = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Format = Output.TABLE,
) -> None:
    """Show pods, services, gateways and problems.

    Of the mesh on this machine when one runs, else of the cluster of the current kubeconfig: the namespaces of
    the mesh, which are those with its label, and those with a Gateway, a route or a captured pod.

    \b
    Examples:
      retic ps
      retic ps -n shop
      retic ps --context staging -A -o json
    """
    from retic.cli import ps as command
    from retic.cli import which

    chosen = command.Choice(namespace, everywhere)
    command.run(which.Options(name, kubeconfig, context), chosen, as_json=output is Output.JSON)


@app.command(name="exec")
def execute(
    *,
    target: Target,
    command_line: Annotated[list[str], typer.Argument(metavar="-- CMD...", show_default=False)],
    namespace: Namespace = "default",
    container: Container = None,
    stdin: Annotated[bool, typer.Option("-i", "--stdin", help="Pass standard input on.")] = False,
    _tty: Annotated[bool, typer.Option("-t", "--tty", help="Use this terminal (it always is).")] = False,
    name: Name = DEFAULT,
) -> None:
    """Run a command in a container of a pod.

    It gets the pod's network and names, the container's folder and variables; its exit code is returned.
    Without -i its standard input is empty, as with kubectl. POD stands also for pod/NAME, rs/, sts/, ds/ and
    job/NAME.

    \b
    Examples:
      retic exec deploy/web -- curl -s http://cart/
      retic exec -it -n shop cart-0 -- sh
    """
    from retic.cli import execute as command

    where = command.Where(target, namespace, container)
    code = command.run(where, command_line, stdin=stdin, name=name)
    raise typer.Exit(code)


@app.command()
def logs(
    *,
    target: Annotated[str, typer.Argument(metavar="POD|deploy/NAME", show_default=False)] = "",
    namespace: Namespace = "default",
    container: Container = None,
    access: Annotated[bool, typer.Option("--access", help="The requests of it, or of all, instead.")] = False,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on, across restarts.")] = False,
    tail: Annotated[int, typer.Option("--tail", min=-1, help="So many last lines; -1: all.")] = -1,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="The life before this one.")] = False,
    name: Name = DEFAULT,
) -> None:
    """Print what a workload wrote; of a gateway's pod, what its Envoy did.

    With --access: the requests that its proxy has logged, as a Telemetry says, one JSON object a line.

    \b
    Examples:
      retic logs deploy/web
      retic logs -n shop -f --tail 20 cart-0 -c cart
      retic logs --access -n shop -f deploy/web
    """
    from retic.cli import access as requests
    from retic.cli import logs as command

    choice = command.Choice(follow=follow, tail=tail, previous=previous)
    if access:
        requests.run(target, choice, namespace=namespace, name=name)
        return
    if not target:
        raise typer.BadParameter("say whose: POD or deploy/NAME", param_hint="POD|deploy/NAME")
    command.run(target, choice, namespace=namespace, container=container, name=name)


@app.command()
def version(name: Which = None, kubeconfig: Kubeconfig = None, context: Context = None) -> None:
    """Print the command's, the mesh's and Envoy's version.

    Of the mesh on this machine, and of that on the cluster of the current kubeconfig, if there is one.

    \b
    Examples:
      retic version
      retic version --context staging
    """
    from retic.cli import version as command
    from retic.cli import which

    command.run(which.Options(name, kubeconfig, context))


@app.command()
def proxy(
    *,
    proxy: Annotated[str, typer.Argument(metavar="NODE|gateway/NS/NAME", show_default=False)],
    section: Annotated[
        str | None,
        typer.Argument(metavar="[listeners|routes|clusters|endpoints|secrets|stats]", show_default=False),
    ] = None,
    name: Which = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Format = Output.TABLE,
) -> None:
    """Show what an Envoy has. Private keys are never shown.

    On a cluster it takes the right to pods/exec in the namespace of the proxy's pod: retic-system for a node's.

    \b
    Examples:
      retic proxy node-1
      retic proxy node-1 clusters
      retic proxy gateway/shop/web routes -o json
    """
    from retic.cli import proxy as command
    from retic.cli import which

    command.run(which.Options(name, kubeconfig, context), proxy, section or "", as_json=output is Output.JSON)


@app.command()
def policies(
    *,
    namespace: Annotated[str | None, typer.Option("-n", "--namespace", help="Only this namespace.")] = None,
    everywhere: Everywhere = False,
    name: Which = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Format = Output.TABLE,
) -> None:
    """Show authorization policies: for whom they are, and what those on trial would have done.

    MATCHED counts requests and connections that an AUDIT or CUSTOM policy matched; WOULD DENY and WOULD ALLOW are
    what a policy with `istio.io/dry-run: "true"` would have done. All count since the proxies began.

    \b
    Examples:
      retic policies
      retic policies -n shop -o json
    """
    from retic.cli import policies as command
    from retic.cli import ps, which

    chosen = ps.Choice(namespace, everywhere)
    command.run(which.Options(name, kubeconfig, context), chosen, as_json=output is Output.JSON)


@app.command()
def why(
    *,
    resource: Annotated[str, typer.Argument(metavar="RESOURCE", show_default=False)],
    name: Which = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Format = Output.TABLE,
    reads: Annotated[bool, typer.Option("--reads", help="Also show every recorded read between.")] = False,
) -> None:
    """Lead from an xDS resource back to its YAML.

    Shows the objects, files and lines that a resource was made from; on a cluster, the objects and who last
    changed them. Names are those that `retic proxy` shows.

    \b
    Examples:
      retic why routes/shop
      retic why service/shop/shop/cart/80
    """
    from retic.cli import which
    from retic.cli import why as command

    options = which.Options(name, kubeconfig, context)
    command.run(options, resource, as_json=output is Output.JSON, reads=reads)


@app.command()
def analyze(
    *,
    file: Manifests = None,
    namespace: Only = None,
    everywhere: Everywhere = False,
    name: Which = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Format = Output.TABLE,
) -> None:
    """Find faults in manifests, or in the objects of a mesh.

    With -f it needs no running mesh, and each fault is shown with file and line; -f - reads standard input.
    Without -f the objects of the running mesh are judged, of the one that `retic ps` shows.
    Each fault has the object and what to write instead. Exits with 1 when there are errors, or no object at
    all; prints nothing and exits with 0 when all is well.

    \b
    Examples:
      retic analyze -f manifests/
      kustomize build . | retic analyze -f - -o json
      retic analyze -n shop
    """
    from retic.cli import analyze as command
    from retic.cli import ps, which

    as_json = output is Output.JSON
    if file:
        raise typer.Exit(command.run(file, as_json=as_json))
    chosen = ps.Choice(namespace, everywhere)
    raise typer.Exit(command.of_mesh(which.Options(name, kubeconfig, context), chosen, as_json=as_json))


@app.command()
def wait(
    *,
    objects: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND/NAME]...", show_default=False)
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="Of the named objects, not the context's; or only this one."),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait at most.")] = 60,
    name: Which = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Wait until proxies have what was applied.

    Returns when every Gateway, route and policy, or each that is named (gateway/NAME, httproute/NAME,
    authorizationpolicy/NAME and so on), is accepted and live on every proxy that it concerns. Exits with 1, saying
    what is missing, when that takes longer.

    \b
    Examples:
      retic wait
      kubectl apply -f routes.yaml && retic wait -n shop --timeout 30
      retic wait -n shop gateway/front httproute/catalog
    """
    from retic.cli import wait as command
    from retic.cli import which

    command.run(which.Options(name, kubeconfig, context), objects or [], namespace, timeout)


@app.command()
def down(name: Name = DEFAULT) -> None:
    """Stop a mesh and remove all that is left of it.

    Works also after everything was killed.

    \b
    Examples:
      retic down
      retic down --name other
    """
    from retic.cli import down as command

    command.run(name=name)


@app.command()
def install(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the objects; ask no cluster.")] = False,
    set_: Set = None,
    values: ValuesFiles = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    wait: Wait = True,
    timeout: Patience = 300,
    force_conflicts: Conflicts = False,
) -> None:
    """Install Retic on the cluster of the current kubeconfig.

    Nothing of a running workload changes: namespaces join by their label. Run it again when it was
    interrupted. docs/reference/values.md has all values.

    \b
    Examples:
      retic install
      retic install --set mode=STRICT --set controller.replicas=3
      retic install -f values.yaml --dry-run
    """
    from retic.cli import cluster
    from retic.cli import install as command

    chosen = command.choice(
        values, set_, dry_run=dry_run, wait=wait, timeout=timeout, force=force_conflicts
    )
    command.run(cluster.Target(kubeconfig, context), chosen)


@app.command()
def upgrade(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, as a diff.")] = False,
    set_: Set = None,
    values: ValuesFiles = None,
    reset_values: Annotated[
        bool, typer.Option("--reset-values", help="Forget the values that were set earlier.")
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    wait: Wait = True,
    timeout: Patience = 300,
    force_conflicts: Conflicts = False,
) -> None:
    """Bring the installed Retic to this version, or to other values.

    Values that were set earlier stay unless set anew. Minor versions are taken one at a time.

    \b
    Examples:
      retic upgrade --dry-run
      retic upgrade --set mode=STRICT
    """
    from retic.cli import cluster
    from retic.cli import install as shared
    from retic.cli import upgrade as command

    chosen = shared.choice(
        values, set_, dry_run=dry_run, wait=wait, timeout=timeout, force=force_conflicts, reset=reset_values
    )
    command.run(cluster.Target(kubeconfig, context), chosen)


@app.command()
def uninstall(
    *,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: Patience = 300,
    drain: Annotated[
        float, typer.Option("--drain", min=0, help="Seconds that connections open through the proxy have to end.")
    ] = 90,
    force: Annotated[
        bool, typer.Option("--force", help="Go on though pods could not be taken out or nodes cleaned up.")
    ] = False,
) -> None:
    """Take all pods out of the mesh and remove everything.

    Pods are not restarted; they go on in plaintext.

    \b
    Examples:
      retic uninstall
      retic uninstall --context staging --timeout 600
      retic uninstall --drain 0
    """
    from retic.cli import cluster
    from retic.cli import uninstall as command

    command.run(cluster.Target(kubeconfig, context), timeout=timeout, drain=drain, force=force)


@app.command()
def check(
    *,
    pre: Annotated[
        bool, typer.Option("--pre", help="Only what must hold before installing.")
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Format = Output.TABLE,
) -> None:
    """Ask a cluster whether Retic can be installed, and is well.

    Changes nothing. Exits with 1 when something fails; what may be so, but hardly should, is a warning.

    \b
    Examples:
      retic check --pre
      retic check -o json
    """
    from retic.cli import check as command
    from retic.cli import cluster

    raise typer.Exit(command.run(cluster.Target(kubeconfig, context), pre=pre, as_json=output is Output.JSON))
