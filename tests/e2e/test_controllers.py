"""The golden folders of local mode's controllers, run as processes: what is there at rest is what they say."""

import pathlib

import live
import pytest

from retic.testing import golden_controllers, wait

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "controllers"
CASES = golden_controllers.cases(FOLDER)


@pytest.mark.parametrize("folder", CASES, ids=lambda f: f.name)
def test_a_running_mesh_comes_to_rest_as_the_golden_folder_says(mesh, folder):
    case = golden_controllers.Case(folder)
    steps = [folder / name for name in golden_controllers.STEPS if (folder / name).exists()]
    with live.file(mesh, f"golden-{folder.name}.yaml", steps[0].read_text()):
        for number, step in enumerate(steps, start=1):
            live.write(mesh, f"golden-{folder.name}.yaml", step.read_text())
            wanted = case.actual(number)
            del wanted["findings.yaml"]

            def same(wanted=wanted):
                assert case.files(live.everything(mesh)) == wanted
                return True

            wait.until(same, f"{step.name} is at rest as it should", seconds=20, every=0.2)
