"""The entry point: runs a command and turns every way it can fail into a line and an exit code."""

import contextlib
import os
import sys
from typing import NoReturn

_INTERRUPTED = 130
_TROUBLE = 70  # an internal error: EX_SOFTWARE of sysexits.h


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    from retic.cli import app, failure

    code = 0
    try:
        code = app.app(standalone_mode=True) or 0
    except failure.Failure as error:
        _say(str(error))
        code = error.code
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if app.debug():
            raise
        _say(f"internal error: {type(error).__name__}: {error} (retic --debug ... shows where)")
        code = _TROUBLE
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.exit(code)


def _say(message: str) -> None:
    print(f"retic: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
