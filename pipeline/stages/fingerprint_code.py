"""Write down what code each stage, attack and defense is made of, for the study's other stages to depend on.

Reads:  the sources of the package.
Writes: a JSON file per stage, attack and part of a defense: the checksum of every definition that it reaches, comments
        and docstrings left out; the defenses' labels.
Params: other_attacks, defenses, adaptive: the keys in them, `method` and `learned`; replicates.defenses.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts.code import write_fingerprint
from pipeline.code.reach import Code
from pipeline.code.source import label
from pipeline.errors import PipelineError
from pipeline.stages.command import run
from pipeline.studies import Study

PACKAGE = Path("pipeline")
OTHER_PAGES = ("index.html.j2", "results.md.j2")  # templates of pages that no study has
TEMPLATES = {"report": PACKAGE / "reporting/templates"}  # what a stage reads beside code


def main(study: Study) -> None:
    code, folder = Code(PACKAGE), study.path("code")
    wanted: dict[Path, Mapping[str, str]] = dict(_fingerprints(study, code))
    wanted[Path("labels.json")] = labels(study)
    for path in folder.rglob("*.json"):
        if path.relative_to(folder) not in wanted:
            path.unlink()
    for path, found in wanted.items():
        write_fingerprint(folder / path, found)
    for path in folder.iterdir():
        if path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path)


def _fingerprints(study: Study, code: Code) -> Iterator[tuple[Path, Mapping[str, str]]]:
    for script in sorted((PACKAGE / "stages").glob("*.py")):
        templates = (
            sorted(set(TEMPLATES[script.stem].glob("*")) - {TEMPLATES[script.stem] / name for name in OTHER_PAGES})
            if script.stem in TEMPLATES
            else []
        )
        yield Path("stages") / f"{script.stem}.json", code.reach(script, None, files=templates)
    for key in study.other_attacks:
        method = study.value(f"other_attacks.{key}").get("method", key)
        yield (
            Path("attacks") / f"{key}.json",
            code.reach(file_of("attacks", method, study, f"other_attacks.{key}"), None),
        )
    adaptive: dict[str, str] = {}
    for method in sorted(adaptive_methods(study.value("adaptive"))):
        adaptive |= code.reach(file_of("attacks", method, study, "adaptive"), None)
    yield Path("attacks/adaptive.json"), adaptive
    replicated: dict[str, str] = {}
    for family, names in study.families.items():
        files = {file_of("defenses", study.method(family, name), study, f"defenses.{family}") for name in names}
        own = file_of("defenses", study.method(family), study, f"defenses.{family}")
        learn = code.reach_of_keyword(own, keywords=("learn",))
        yield Path("defenses") / f"{family}.learn.json", learn
        predict: dict[str, str] = {}
        for file in sorted(files):
            keywords = ("predict", "examine") if file == own else ("predict",)
            predict |= code.reach_of_keyword(file, keywords=keywords, scalars=True)
        yield Path("defenses") / f"{family}.predict.json", predict
        if {"undefended", *study.value("replicates.defenses")} & set(names):
            replicated |= learn | predict
    yield Path("defenses/replicated.json"), replicated


def file_of(room: str, method: str, study: Study, key: str) -> Path:
    """The file of an attack or a defense. Raises PipelineError if it is not there."""
    path = PACKAGE / room / f"{method}.py"
    if not path.is_file():
        raise PipelineError(f"{study.where(key)}: expected a file {path}, found none")
    return path


def adaptive_methods(block: Any) -> set[str]:
    """Files of the attacks that the block `adaptive` names: by `method`, or by their key under `others`."""
    found = set()
    for part in block.values():
        for place in ("ascent", "shortest"):
            if "method" in part.get(place, {}):
                found.add(part[place]["method"])
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
