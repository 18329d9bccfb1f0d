"""What `retic up` and `retic ca` are told of certificates, checked before anything starts. No key passes here."""

import os
import pathlib
from collections.abc import Sequence

import msgspec

from retic.cli import failure
from retic.control import config as settings


class Options(msgspec.Struct, frozen=True):
    """As on the command line; None and () for what is not there."""

    cert: pathlib.Path | None = None
    key: pathlib.Path | None = None
    root: pathlib.Path | None = None
    domain: str = "cluster.local"
    aliases: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()


def checked(options: Options) -> tuple[settings.Authority | None, settings.Accepted]:
    """The authority's files and the trust domains. Raises Failure when the mesh could not use them."""
    from retic.identity import chains, clock, ownfiles, spiffe
    from retic.wiring import accepting

    own, wanted = _authority(options), accepted(options.aliases, options.trusted)
    time = clock.System()
    try:
        spiffe.check_trust_domain(options.domain)
        roots = b""
        if own is not None:
            roots = ownfiles.Files(own.certificate, own.key, own.roots).read(time.now(), options.domain).roots
        accepting.check(wanted, options.domain, time, roots)
    except (chains.FaultyError, spiffe.InvalidIdError) as error:
        raise failure.Failure(str(error)) from error
    return own, wanted


def _authority(options: Options) -> settings.Authority | None:
    if options.cert is None and options.key is None:
        if options.root is not None:
            raise failure.Failure("--ca-root is the root of --ca-cert: give --ca-cert and --ca-key too", code=2)
        return None
    if options.cert is None or options.key is None:
        raise failure.Failure("an authority is a certificate and its key: give both --ca-cert and --ca-key", code=2)
    root = os.path.abspath(options.root) if options.root else ""
    return settings.Authority(os.path.abspath(options.cert), os.path.abspath(options.key), root)


def accepted(aliases: Sequence[str], trusted: Sequence[str]) -> settings.Accepted:
    """From the options --trust-domain-alias and --trusted-root. Raises Failure for one that is not DOMAIN=FILE."""
    roots = []
    for one in trusted:
        domain, sign, file = one.partition("=")
        if not (domain and sign and file):
            raise failure.Failure(f"--trusted-root {one}: write DOMAIN=FILE, as partner.example=partner.pem", code=2)
        roots.append(settings.TrustedRoot(domain, os.path.abspath(file)))
    return settings.Accepted(tuple(aliases), tuple(roots))
