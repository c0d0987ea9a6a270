"""A study's own files: attacks and defenses, the classifier that it brings, with its weights, images made elsewhere."""

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from pipeline.artifacts.raw.files import Listing, beneath, look_at
from pipeline.artifacts.raw.wanted import base, leads_outside
from pipeline.errors import PipelineError
from pipeline.registry import IMPORTED, is_own, split_method
from pipeline.studies import Study

INDEX = Path(".work/imported")  # what was looked at before
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
    if leads_outside(text):
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


# --- images made elsewhere ----------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """A block of `other_attacks` with `method: imported`.

    file : an .npz, a .pt or a folder of images, in the study's folder or in that of raw files.
    """

    file: str


def imported(study: Study) -> list[str]:
    """Keys of the other attacks whose images were made elsewhere."""
    where = {key: f"other_attacks.{key}" for key in study.other_attacks}
    return [key for key, at in where.items() if split_method(key, study.value(at), study.where(at))[0] == IMPORTED]


def imported_path(study: Study, key: str) -> Path:
    """Where its images lie. Raises PipelineError if the path leads elsewhere, or to nothing."""
    where = f"other_attacks.{key}"
    _, own = split_method(key, study.value(where), study.where(where))
    text: str = study.arguments(Elsewhere, where, own)["file"]
    places = [folder / text for folder in (study.folder, base())]
    if leads_outside(text) or not text:
        wanted = f"a path within {study.folder} or {base()}"
        raise PipelineError(f"{study.where(where)}.file: expected {wanted}, found {text!r}: put it there")
    found = [place for place in places if place.exists()]
    if not found:
        raise PipelineError(f"{study.where(where)}.file: no such file; expected {' or '.join(map(str, places))}")
    return found[0]


def files_of(path: Path) -> list[Path]:
    """The file itself, or all in a folder that are not hidden."""
    return beneath(path, lambda name: True) if path.is_dir() else [path]


def imported_checksum(study: Study, key: str) -> str:
    """Of the images that were made elsewhere; the bytes are read again only where sizes or times have changed."""
    path = imported_path(study, key)
    return look_at(Listing(files_of(path)), path.parent, key, INDEX / f"{study.name}-{key}.json").checksum
