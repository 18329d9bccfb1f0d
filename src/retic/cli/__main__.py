"""The entry point: runs a command and turns every way it can fail into a line and an exit code."""

import contextlib
import os
import sys
from typing import NoReturn, Protocol, runtime_checkable

_TROUBLE = 70  # an internal error: EX_SOFTWARE of sysexits.h


@runtime_checkable
class _Usage(Protocol):
    """An error in the command line, as the library under typer raises it."""

    exit_code: int
    ctx: object

    def format_message(self) -> str: ...


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    try:
        code = _run()
    except BrokenPipeError:
        # The reader (head, less) has seen enough; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.exit(code)


def _run() -> int:
    import typer

    from retic.cli import app, failure

    try:
        return app.app(prog_name="retic", standalone_mode=False) or 0
    except failure.Failure as error:
        _say(str(error))
        return error.code
    except (KeyboardInterrupt, typer.Abort):
        return failure.INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if isinstance(error, _Usage):
            return _usage(error)
        if app.debug():
            raise
        _say(f"internal error: {type(error).__name__}: {error} (retic --debug ... shows where)")
        return _TROUBLE


def _usage(error: _Usage) -> int:
    """One line, and how to learn more; a bare `retic` gets the whole help."""
    message = error.format_message()
    if "\n" in message:
        print(message)
        return error.exit_code
    command = getattr(error.ctx, "command_path", "retic")
    _say(f"{message.replace('Value error, ', '').rstrip('.')} (see {command} --help)")
    return error.exit_code


def _say(message: str) -> None:
    print(f"retic: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
