"""`retic down`: end a mesh and remove what is left of it."""

from retic.cli import failure, running


def run(*, name: str) -> None:
    """End it; that there is none is no failure, and is said. Raises Failure."""
    running.need_linux()
    from retic.local import outer, state

    try:
        ended = outer.down(name)
    except state.StateError as error:
        raise failure.Failure(str(error)) from error
    print(f"mesh {name} is down" if ended else f"no mesh named {name}: nothing to do")
