"""How a command fails: with one clear line on standard error and an exit code."""


INTERRUPTED = 130  # 128 and SIGINT, as shells have it


class Failure(Exception):  # noqa: N818
    """The command cannot do what was asked. `code` is its exit code: 1, 2 for a wrong command line, or INTERRUPTED."""

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
