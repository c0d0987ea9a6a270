"""Make a new study, or bring the present ones up to date: `make study NAME=mine [FROM=digits]`, `make studies`.

Reads:  the params file of the study to start from; studies/pipeline.yaml.
Writes: studies/<name>/params.yaml and dvc.yaml. With --refresh: every study's dvc.yaml and studies/params.schema.json.
"""

import argparse
import re

from pipeline.artifacts.files import replacing
from pipeline.errors import PipelineError
from pipeline.stages.command import command
from pipeline.studies import PIPELINE, STUDIES, Study, checked_name

SCHEMA = STUDIES / "params.schema.json"


def make_study(name: str, start: str) -> None:
    """A study with the params of another. Raises PipelineError if it is there already."""
    folder = STUDIES / checked_name(name, "NAME")
    if folder.exists():
        raise PipelineError(f"{folder}: expected a new name, found a study of that name")
    text = Study(start).file.read_text(encoding="utf-8")
    named, count = re.subn(rf"^study: {re.escape(start)}$", f"study: {name}", text, flags=re.MULTILINE)
    if count != 1:
        raise PipelineError(f"{Study(start).file}: expected one line 'study: {start}', found {count}")
    folder.mkdir()
    for file, content in (("params.yaml", named), ("dvc.yaml", PIPELINE.read_text(encoding="utf-8"))):
        with replacing(folder / file) as part:
            part.write_text(content, encoding="utf-8")
    print(f"{folder}/params.yaml: change what differs (images, classifier, threat), then: dvc repro {folder}/dvc.yaml")


def refresh() -> None:
    """studies/pipeline.yaml into every study, and the schema of their params files."""
    from pipeline.schema import schema_text

    for path in sorted(STUDIES.glob("*/params.yaml")):
        with replacing(path.with_name("dvc.yaml")) as part:
            part.write_bytes(PIPELINE.read_bytes())
    with replacing(SCHEMA) as part:
        part.write_text(schema_text(), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="name of the new study: a-z, 0-9, _ and -")
    parser.add_argument("start", nargs="?", default="digits", help="study to start from (default: digits)")
    parser.add_argument("--refresh", action="store_true", help="bring the present studies up to date instead")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    words = parser.parse_args()
    if not words.refresh and not words.name:
        parser.error("expected a NAME: make study NAME=mine")
    command(refresh if words.refresh else lambda: make_study(words.name, words.start), words.debug, [])


if __name__ == "__main__":
    main()
