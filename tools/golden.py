"""Write the expected outputs of every golden case anew: `make golden`, then look at the diff.

Removes what no case produces any more; refuses to write a case that produces nothing.
"""

import pathlib
import sys

from retic.testing import golden, golden_commands, golden_controllers, golden_install, golden_status

FOLDER = pathlib.Path(__file__).parent.parent / "tests" / "golden"


def main() -> int:
    """0, or 1 with the case that produces nothing."""
    translation = [golden.Case(folder) for folder in golden.cases(FOLDER / "cases")]
    controllers = [golden_controllers.Case(folder) for folder in golden_controllers.cases(FOLDER / "controllers")]
    installed = [golden_install.Case(folder) for folder in golden_install.cases(FOLDER / "install")]
    statuses = [golden_status.Case(folder) for folder in golden.cases(FOLDER / "status")]
    commands = [golden_commands.Case(folder) for folder in golden.cases(FOLDER / "commands")]
    for case in (*translation, *controllers, *installed, *statuses, *commands):
        folder = case.folder
        wanted, have = case.actual(), case.expected()
        if len(wanted) < 2 and case not in installed:
            print(f"{folder.name}: makes nothing; name resources in {folder / 'render'}, or objects", file=sys.stderr)
            return 1
        for path in set(have) - set(wanted):
            (folder / path).unlink()
            print(f"removed {folder.name}/{path}")
        for path, text in wanted.items():
            if have.get(path) != text:
                (folder / path).parent.mkdir(exist_ok=True)
                (folder / path).write_text(text)
                print(f"wrote {folder.name}/{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
