"""The options of `retic up` that are its own."""

import pathlib
from typing import Annotated

import typer

OwnCertificate = Annotated[
    pathlib.Path | None,
    typer.Option("--ca-cert", metavar="FILE", help="An authority of your own: its certificate, then its chain."),
]
OwnKey = Annotated[pathlib.Path | None, typer.Option("--ca-key", metavar="FILE", help="Its private key, mode 0600.")]
OwnRoot = Annotated[
    pathlib.Path | None,
    typer.Option("--ca-root", metavar="FILE", help="The root that the chain leads to, if it does not hold it."),
]
TrustDomain = Annotated[
    str, typer.Option("--trust-domain", metavar="DOMAIN", help="The first part of every SPIFFE id.")
]
Redis = Annotated[
    str, typer.Option("--redis", metavar="URL", help="Count global rate limits there; without it, in memory.")
]
RedisCredentials = Annotated[
    pathlib.Path | None,
    typer.Option("--redis-credentials", metavar="FILE", help="A file with PASSWORD or USER:PASSWORD of Redis."),
]
AccessLogs = Annotated[bool, typer.Option("--access-logs", help="Log requests where no Telemetry says otherwise.")]
