"""What happens on discovery streams, for whoever turns it into findings and status."""

import msgspec

from retic import xds


class Connected(msgspec.Struct, frozen=True):
    """A client has named itself on a new stream."""

    client: xds.Client


class Disconnected(msgspec.Struct, frozen=True):
    """The stream is over. Its refusals have been cleared before."""

    client: xds.Client


class Nack(msgspec.Struct, frozen=True):
    """A client has rejected a resource: a bug of ours. It keeps what it had, and these bytes are not sent
    to it again. A NACK that does not say which of several resources was bad is no event until each has
    been sent alone."""

    client: xds.Client
    type_url: str
    name: str
    version: str
    message: str


class Cleared(msgspec.Struct, frozen=True):
    """A rejection no longer stands: the resource has changed and was sent again, or is wanted no more."""

    client: xds.Client
    type_url: str
    name: str


Event = Connected | Disconnected | Nack | Cleared
