"""Make a new study, or refresh all: `make study NAME=mine [IMAGES=... [CLASSIFIER=...
WEIGHTS=... [MEAN=... STD=...]]]`, `make studies`.

Reads:  the params file of the study to start from; studies/pipeline.yaml; with --images each of the images, once; of a
        classifier that is brought the module and the weights, which are copied.
Writes: studies/<name>/params.yaml and dvc.yaml, and a link in the folder of raw files, if the images lie elsewhere.
        With --refresh: every study's dvc.yaml and studies/params.schema.json.
"""

import argparse
import re
import shutil
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from pipeline.artifacts.files import replacing
from pipeline.artifacts.images import Split
from pipeline.artifacts.raw.survey import link, linked, located, look
from pipeline.artifacts.raw.wanted import Images
from pipeline.bringing import bring, look_at_classifier
from pipeline.errors import PipelineError
from pipeline.params import with_values
from pipeline.proposal import long_enough, longer, numbers, shape_for
from pipeline.stages.command import command
from pipeline.studies import PIPELINE, STUDIES, Study
from pipeline.study_blocks import ALL, checked_name
from pipeline.trial import cost

COMMENT = (
    "# Made by `make study`: as few images and trainings as the demo's. `auto`: a rule chooses on validation images."
)
SCHEMA = STUDIES / "params.schema.json"
NAMED = 30  # classes that are told by name
TAKEN = "index"  # by the page of all studies, reports/index.html


def make_study(
    name: str,
    start: str = "",
    images: str = "",
    classifier: str = "",
    weights: str = "",
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> None:
    """A study with the params of another: `digits`, or, on images of its own, `demo` with numbers that fit them.

    images : a source as in a params file, or a path. classifier, weights, mean, std : one that is brought, see `bring`.

    Raises PipelineError if it is there already, something is wrong with the images or the classifier, or one is given
    without the other.
    """
    folder = STUDIES / checked_name(name, "NAME")
    if name == TAKEN:
        raise PipelineError(f"NAME: expected another name, found {name!r}: reports/{name}.html is of all studies")
    if folder.exists():
        raise PipelineError(f"{folder}: expected a new name, found a study of that name")
    if (weights or mean or std) and not classifier:
        raise PipelineError("CLASSIFIER: missing; expected what builds the network of these WEIGHTS: nets.py:function")
    if classifier and not images:
        raise PipelineError("IMAGES: missing; expected the images of this CLASSIFIER: a folder, a file or a source")
    start = start or ("demo" if images else "digits")
    begin = Study(start)
    text = begin.file.read_text(encoding="utf-8")
    named, count = re.subn(rf"^study: {re.escape(start)}$", f"study: {name}", text, flags=re.MULTILINE)
    if count != 1:
        raise PipelineError(f"{begin.file}: expected one line 'study: {start}', found {count}")
    fitted: Fitted | None = None
    try:
        brought = bring(folder, classifier, weights, mean, std) if classifier else None
        if images:
            named, fitted = on_images(begin, named, name, images, bool(brought))
        if brought:
            named = with_values(named, {"classifier": brought})
            named = re.sub(r"^(training:)", r"\n\1", named, flags=re.MULTILINE)
        for file, content in (("params.yaml", named), ("dvc.yaml", PIPELINE.read_text(encoding="utf-8"))):
            with replacing(folder / file) as part:
                part.write_text(content, encoding="utf-8")
        if fitted and fitted.validation:
            look_at_classifier(Study(name), fitted.validation, fitted.classes)
        if fitted:
            print(cost(Study(name), fitted.shape, fitted.classes, fitted.training_images))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if fitted and fitted.link:
            fitted.link.unlink()
        raise
    differs = "raise its numbers as you like" if images else "change what differs (images, classifier, threat)"
    print(f"{folder}/params.yaml: {differs}, then: dvc repro {folder}/dvc.yaml")
    print(f"(in the environment: source .venv/bin/activate), and open reports/{name}.html")


class Fitted(NamedTuple):
    """The images of a new study, as its classifier gets them: shape (c, h, w), number of classes and to train on.

    validation : some of the validation images, where the classifier is brought.
    link : that was made to them, among the raw files.
    """

    shape: tuple[int, int, int]
    classes: int
    training_images: int
    validation: Split | None
    link: Path | None


def on_images(start: Study, text: str, name: str, images: str, brought: bool) -> tuple[str, Fitted]:
    """The text of a params file with images of one's own and numbers that fit them; what images these are.

    start, text : the study to start from, and its text under the new name; it may lack some of the numbers.
    brought : whether the classifier is.
    """
    source, target = located(images, name)
    made = link(source, target) if target else None
    try:
        asked = copy(start)
        asked.params = {**start.params, "images": {"source": source}}
        found = look(Images(source), asked.source, "images", start.seed, keep=brought)
        try:
            fit = shape_for(found.sizes, found.channels, brought)
            values = numbers(fit.shape, found.class_names, found.counts)
        except PipelineError as error:
            raise PipelineError(f"{found.where}: {error}") from None
    except BaseException as error:
        if made:
            made.unlink()
        if target and isinstance(error, PipelineError):  # it names what the link led to
            raise PipelineError(str(error).replace(str(linked(source)), str(target))) from None
        raise
    channels, height, width = fit.shape
    counts = ", ".join(
        f"{sum(each)} to {split} ({min(each)} to {max(each)} of a class)" for split, each in found.counts.items()
    )
    print(
        f"{source}: {len(found.class_names)} classes, {counts}, {height}x{width}, {'RGB' if channels == 3 else 'gray'}"
    )
    shown, more = found.class_names[:NAMED], len(found.class_names) - NAMED
    print(f"labels 0, 1, ...: {', '.join(shown)}{f' and {more} more' if more > 0 else ''}")
    if found.in_both:
        print(
            f"{found.in_both} of {sum(found.counts['test'])} test images are training images too: the report will say "
            "so; above half of them prepare_images would refuse"
        )
    if target:
        print(f"{linked(source)}: a link to {target}")
    if fit.size:
        print(
            f"of {len(found.sizes)} size{'s' if len(found.sizes) > 1 else ''}, the largest {max(found.sizes)}: "
            f"images.size has them resized to {fit.size}"
        )
    block = replace(found.images, size=fit.size, channels=fit.channels)  # type: ignore[arg-type]
    for family in start.families:
        key = f"defenses.{family}.learn.training.epochs"
        if start.has(key):
            values[key] = longer(start.value(key), sum(found.counts["train"]))
        trials = f"defenses.{family}.learn.trials"
        if start.has(f"{trials}.epochs"):
            values[f"{trials}.epochs"] = long_enough(start.value(f"{trials}.originals"), values, len(found.class_names))
    few = {key for key, value in values.items() if key.endswith(".targets") and value != ALL}
    given = {key: value for key, value in values.items() if start.has(key) or key in few}
    text = with_values(text, {"images": {k: v for k, v in asdict(block).items() if v is not None}, **given})
    text = re.sub(r"^(classifier:)", r"\n\1", text, flags=re.MULTILINE)
    text = re.sub(r"\A(# yaml.*\n)#.*\n", rf"\1{COMMENT}\n", text)
    some = found.validation(block) if brought else None
    return text, Fitted(fit.shape, len(found.class_names), sum(found.counts["train"]), some, made)


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
    parser.add_argument("start", nargs="?", default="", help="study to start from (default: digits; of --images: demo)")
    parser.add_argument("--images", default="", help="folder, file or source (torchvision:SVHN) of the images")
    parser.add_argument(
        "--classifier", default="", help="what builds one's own: nets.py:function, or package.module:function"
    )
    parser.add_argument("--weights", default="", help="the file of its weights: safetensors, or a state_dict")
    for word in ("mean", "std"):
        parser.add_argument(
            f"--{word}",
            nargs="+",
            type=float,
            default=[],
            help=f"{word} by channel of the images in [0, 1] that it takes",
        )
    parser.add_argument("--refresh", action="store_true", help="bring the present studies up to date instead")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    words = parser.parse_args()
    if not words.refresh and not words.name:
        parser.error("expected a NAME: make study NAME=mine")
    given = words.name, words.start, words.images, words.classifier, words.weights, words.mean, words.std
    command(refresh if words.refresh else lambda: make_study(*given), words.debug, [])


if __name__ == "__main__":
    main()
