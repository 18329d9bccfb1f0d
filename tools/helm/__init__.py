"""Helm, built from its module, to compare the chart with what `retic install` makes."""

import pathlib

from tools.cluster import gobuild, places, steps

HERE = pathlib.Path(__file__).resolve().parent


class _Module(gobuild.Module, frozen=True):
    """The module beside this file."""

    @property
    def folder(self) -> pathlib.Path:
        return HERE


HELM = _Module("helm", {"helm": "helm.sh/helm/v3/cmd/helm"})


def build(run: steps.Steps | None = None) -> str:
    """The path of helm, built when it is not there or not current."""
    gobuild.build(HELM, run or steps.Steps())
    return places.binary("helm")
