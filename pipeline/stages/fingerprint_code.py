"""Write down what code each stage, attack and defense is made of, for the study's other stages to depend on.

Reads:  the sources of the package; the study's own; the weights that it brings; images made elsewhere.
Writes: a JSON file per stage, attack and part of a defense: the checksum of every definition that it reaches, comments
        and docstrings left out, and of the weights, if it takes them; the defenses' labels.
Params: other_attacks, defenses, adaptive: the keys in them, `method` and `learned`; replicates.defenses; what builds
        the classifier.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts.code import write_fingerprint
from pipeline.artifacts.files import checksum_of
from pipeline.code.reach import Code
from pipeline.code.source import label
from pipeline.code.substance import checksum
from pipeline.errors import PipelineError
from pipeline.own_files import builds_by_itself, imported, imported_checksum, installed, own_sources, weights_file
from pipeline.stages.command import run
from pipeline.studies import Study
from pipeline.study_blocks import ADAPTIVE, KIND

PACKAGE = Path("pipeline")
OTHER_PAGES = ("index.html.j2", "pair.html.j2", "pair.j2", "results.md.j2")  # templates of pages that no study has
NEW = "pipeline/training/classifier.py::new_classifier"
MAKERS = {NEW, "pipeline/artifacts/checkpoint.py::load_classifier"}  # of a classifier, whatever its kind
TAKER = "pipeline/artifacts/outside.py::take_classifier"  # of the weights that a study brings
TEMPLATES = {"report": PACKAGE / "reporting/templates"}  # what a stage reads beside code


def main(study: Study) -> None:
    folder, wanted = study.path("code"), fingerprints(study)
    for path in folder.rglob("*.json"):
        if path.relative_to(folder) not in wanted:
            path.unlink()
    for path, found in wanted.items():
        write_fingerprint(folder / path, found)
    for path in folder.iterdir():
        if path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path)


def fingerprints(study: Study) -> dict[Path, Mapping[str, str]]:
    """By file within data/code/<study> what it holds; the package is the working directory's."""
    return {**dict(_fingerprints(study, Code(PACKAGE))), Path("labels.json"): labels(study)}


def _fingerprints(study: Study, code: Code) -> Iterator[tuple[Path, Mapping[str, str]]]:
    for script in sorted((PACKAGE / "stages").glob("*.py")):
        templates = (
            sorted(set(TEMPLATES[script.stem].glob("*")) - {TEMPLATES[script.stem] / name for name in OTHER_PAGES})
            if script.stem in TEMPLATES
            else []
        )
        found = code.reach(script, None, files=templates)
        yield Path("stages") / f"{script.stem}.json", found | _of_classifier(study, code, found)
    made_elsewhere = imported(study)
    for key in study.other_attacks:
        if key in made_elsewhere:
            yield Path("attacks") / f"{key}.json", {study.where(f"other_attacks.{key}"): imported_checksum(study, key)}
            continue
        method = study.value(f"other_attacks.{key}").get("method", key)
        file = file_of("attacks", method, study, f"other_attacks.{key}")
        yield Path("attacks") / f"{key}.json", code.reach(file, None) | _beside(study, file)
    adaptive: dict[str, str] = {}
    for method in sorted(adaptive_methods(study.value("adaptive"))):
        file = file_of("attacks", method, study, "adaptive")
        adaptive |= code.reach(file, None) | _beside(study, file)
    yield Path("attacks/adaptive.json"), adaptive
    replicated: dict[str, str] = {}
    for family, names in study.families.items():
        files = {file_of("defenses", study.method(family, name), study, f"defenses.{family}") for name in names}
        own = file_of("defenses", study.method(family), study, f"defenses.{family}")
        learn = code.reach_of_keyword(own, keywords=("learn",)) | _beside(study, own)
        yield Path("defenses") / f"{family}.learn.json", learn | _of_retraining(study, learn)
        predict: dict[str, str] = {}
        for file in sorted(files):
            keywords = ("predict", "examine") if file == own else ("predict",)
            predict |= code.reach_of_keyword(file, keywords=keywords, scalars=True) | _beside(study, file)
        yield Path("defenses") / f"{family}.predict.json", predict
        if {"undefended", *study.value("replicates.defenses")} & set(names):
            replicated |= learn | predict
    yield Path("defenses/replicated.json"), replicated


def _of_classifier(study: Study, code: Code, found: Mapping[str, str]) -> dict[str, str]:
    """What the study's classifier is made of, for what loads one or makes one; its file is found by its name."""
    if not MAKERS & found.keys():
        return {}
    if not study.brings_classifier:
        return code.reach(PACKAGE / f"models/{study.params['classifier'].get('kind', KIND)}.py", None)
    own = _beside(study, study.folder) if builds_by_itself(study) else {}
    said = {f"{study.where('classifier.build')}": checksum(f"{study.value('classifier.build')} {installed(study)}")}
    weights = {study.where("classifier.weights"): checksum_of(weights_file(study))} if TAKER in found else {}
    return own | said | weights | _of_retraining(study, found)


def _of_retraining(study: Study, found: Mapping[str, str]) -> dict[str, str]:
    """Whether a classifier that is brought may be trained anew, for what would."""
    if not study.brings_classifier or NEW not in found:
        return {}
    return {study.where("classifier.retrain"): checksum(str(study.params["classifier"].get("retrain", False)))}


def _beside(study: Study, file: Path) -> dict[str, str]:
    """Of a study's own file all its Python files: who imports whom there is not followed."""
    if not file.is_relative_to(study.folder):
        return {}
    return {path.as_posix(): checksum_of(path) for path in own_sources(study)}


def file_of(room: str, method: str, study: Study, key: str) -> Path:
    """The file of an attack or a defense, maybe the study's own. Raises PipelineError if it is not there."""
    places = PACKAGE / room / f"{method}.py", study.folder / f"{method}.py"
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise PipelineError(f"{study.where(key)}: expected a file {' or '.join(map(str, places))}, found none")
    return found


def adaptive_methods(block: Any) -> set[str]:
    """Files of the attacks that the block `adaptive` names: by `method`, or by their key under `others`."""
    found = {block.get("all", {}).get(place, {}).get("method", usual) for place, usual in ADAPTIVE.items()}
    for part in block.values():
        found |= {part[place]["method"] for place in ADAPTIVE if "method" in part.get(place, {})}
        for key, about in part.get("others", {}).items():
            found.add((about or {}).get("method", key))
    return found


def labels(study: Study) -> dict[str, str]:
    """What the report calls each defense: the first line of its file.

    Of another key of the same file, and of a variant that is another model of the family's, with what differs.
    """
    found = {}
    for family, names in study.families.items():
        method = study.method(family)
        for name in names:
            own = label(file_of("defenses", study.method(family, name), study, f"defenses.{family}"))
            if name == family and name != method:
                differs = name.removeprefix(method).strip("_").replace("_", " ")
                found[name] = f"{own.partition(' (')[0]}, {differs}"
            elif name != family and "learned" in study.value(f"defenses.{family}.variants.{name}"):
                role = study.value(f"defenses.{family}.variants.{name}")["learned"].replace("_", " ")
                found[name] = f"{found[family]}: {role}"
            else:
                found[name] = own
    return found


if __name__ == "__main__":
    run(main, __doc__)
