"""What a discovery server has done, as plain numbers. Refuses to know how metrics are published."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Since the server was made; `open` is now."""

    open: int = 0
    """Streams."""
    streams: int = 0
    """Streams ever opened, refused ones included."""
    refused: int = 0
    """Streams ended by the server because of what the client sent or was."""
    received: int = 0
    """Requests."""
    messages: int = 0
    """Responses."""
    bytes: int = 0
    """Bytes of responses."""
    resources: int = 0
    """Resources in responses, removals among them."""
    acks: int = 0
    """Responses acknowledged."""
    nacks: int = 0
    """Responses rejected."""
    failed: int = 0
    """Look-ups for which the graph has no answer at all, only an exception."""
