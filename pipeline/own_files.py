"""A study's own files: attacks and defenses, and the classifier that it brings, with its weights."""

import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.registry import is_own
from pipeline.studies import Study

BUILD = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def building_module(study: Study) -> str:
    """The dotted name of the module that builds the classifier. Raises PipelineError if `build` is none of one."""
    build: str = study.checked("classifier.build", str)
    if not BUILD.fullmatch(build):
        where = study.where("classifier.build")
        raise PipelineError(f"{where}: expected 'package.module:function', found {build!r}")
    return build.partition(":")[0]


def builds_by_itself(study: Study) -> bool:
    """Whether that module is a file or a package of the study's folder; else it is an installed one."""
    return is_own(study.folder, building_module(study))


def weights_file(study: Study) -> Path:
    """Where the weights of the classifier that it brings lie: in its folder, or in the package that builds it.

    Raises PipelineError if the path leads elsewhere, or to no file.
    """
    where, text = study.where("classifier.weights"), study.checked("classifier.weights", str)
    if Path(text).is_absolute() or ".." in Path(text).parts:
        raise PipelineError(f"{where}: expected a path within {study.folder}, found {text!r}: put the file there")
    spec = None if builds_by_itself(study) else find_spec(building_module(study).partition(".")[0])
    places = [study.folder, *map(Path, (spec.submodule_search_locations or []) if spec else [])]
    found: Path | None = next((place / text for place in places if (place / text).is_file()), None)
    if found is None:
        raise PipelineError(f"{where}: no such file; expected {' or '.join(str(place / text) for place in places)}")
    return found


def own_sources(study: Study) -> list[Path]:
    """The Python files of its folder."""
    return sorted(study.folder.rglob("*.py"))


def own_files(study: Study) -> list[Path]:
    """Those, and the weights that its classifier is brought with."""
    return [*own_sources(study), *([weights_file(study)] if study.brings_classifier else [])]


def installed(study: Study) -> dict[str, str]:
    """The version of the package that builds the classifier, where it is none of the study's own files."""
    if not study.brings_classifier or builds_by_itself(study):
        return {}
    package = building_module(study).partition(".")[0]
    try:
        return {package: version(package)}
    except PackageNotFoundError:  # on the path, but not by pip
        return {package: ""}
