"""Write the expected outputs of every golden case anew: `make golden`, then look at the diff.

Removes what no case produces any more; refuses to write a case that produces nothing.
"""

import pathlib
import sys

from retic.testing import golden

CASES = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "cases"


def main() -> int:
    """0, or 1 with the case that produces nothing."""
    for folder in golden.cases(CASES):
        case = golden.Case(folder)
        wanted, have = case.actual(), case.expected()
        if len(wanted) < 2:
            print(f"{folder.name}: renders no resource: name some in {folder / 'render'}", file=sys.stderr)
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
