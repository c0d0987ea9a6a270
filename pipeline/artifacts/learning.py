"""What a family of defenses has learned, and what else was measured of it.

`data/defenses/<study>/<key>.safetensors` is its own model, or a file without weights; `data/curves/<study>/<key>.csv`
its learning curves, a header alone if there are none. The folder `data/learning/<study>/<key>/` holds the rest:
`choices.json`, `trials.csv`, other tables as CSV, pictures as HDF5, the variants' models as `<role>.safetensors`, and
of a defense that trains several times `trainings/<number>/<role>.safetensors`, its own model as `own.safetensors`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from torch import nn

from pipeline.artifacts.checkpoint import load_classifier
from pipeline.artifacts.choices import read_choices, write_choices
from pipeline.artifacts.curves import write_curves
from pipeline.artifacts.files import damaged, replacing, replacing_folder
from pipeline.artifacts.pictures import write_picture
from pipeline.artifacts.weights import load_any, save_model, save_nothing
from pipeline.defenses.protocol import Examined, Learned
from pipeline.errors import PipelineError
from pipeline.models.autoencoder import Autoencoder, RestoringClassifier

WHAT = "what a defense has learned"
OWN = "own"  # file name of the own model, role "", among those of a training
CURVES = ("epoch", "split", "loss", "accuracy")


def write_learned(weights: Path, curves: Path, folder: Path, learned: Learned) -> None:
    """Write all of it; each file, and the folder, appears whole or not at all. The folder is replaced."""
    with replacing_folder(folder) as part:
        write_choices(part / "choices.json", learned.choices)
        if learned.trials:
            write_curves(part / "trials.csv", learned.trials)
        _write_tables(part, learned.tables, learned.pictures)
        for role, model in learned.models.items():
            if role:
                save_model(part / f"{role}.safetensors", model)
        for number, models in learned.trainings.items():
            for role, model in models.items():
                save_model(part / "trainings" / str(number) / f"{role or OWN}.safetensors", model)
    if learned.curves:
        write_curves(curves, learned.curves)
    else:
        with replacing(curves) as part:
            part.write_text(",".join(CURVES) + "\n", encoding="utf-8")
    if own := learned.models.get(""):
        save_model(weights, own)
    else:
        save_nothing(weights)


def write_examined(folder: Path, examined: Examined) -> None:
    """Tables as `<name>.csv` and pictures as `<name>.h5`; the folder appears whole or not at all, and is replaced."""
    with replacing_folder(folder) as part:
        _write_tables(part, examined.tables, examined.pictures)


def load_learned(weights: Path, folder: Path) -> Learned:
    """Models, choices and trainings, in evaluation mode; no tables, curves and pictures.

    Raises PipelineError if a file is missing or not one of ours.
    """
    models = {path.stem: _load(path) for path in sorted(folder.glob("*.safetensors"))}
    own = load_any(weights, WHAT)
    return Learned(
        models=models if own is None else {"": own, **models},
        choices=read_choices(folder / "choices.json"),
        trainings={
            number: {
                "" if path.stem == OWN else path.stem: _load(path)
                for path in sorted((folder / "trainings" / str(number)).glob("*.safetensors"))
            }
            for number in trainings_in(folder)
        },
    )


def trainings_in(folder: Path) -> list[int]:
    """Numbers of the trainings that did not fail; none of a defense that trains once or not at all."""
    return sorted(int(path.name) for path in (folder / "trainings").glob("*") if path.is_dir())


def load_defended(weights: Path, folder: Path, classifier: Path, role: str | None = "") -> nn.Module:
    """What a defense or a variant predicts with, in evaluation mode: images in [0, 1] to logits (n, k).

    role : of the model: "" the family's own, None the attacked classifier itself (`protocol.Defense.role`).

    An autoencoder is put before the attacked classifier. Raises PipelineError if a file is missing or not one of ours.
    """
    if role is None:
        return load_classifier(classifier)
    if role and not (folder / f"{role}.safetensors").is_file():
        there = ", ".join(sorted(path.stem for path in folder.glob("*.safetensors") if path.stem != OWN)) or "none"
        raise PipelineError(
            f"{folder}: expected a model {role!r}, as `learned` of a variant says, found {there}: name one of these, "
            "or run dvc repro"
        )
    model = _load(folder / f"{role}.safetensors") if role else load_any(weights, WHAT)
    if model is None:
        return load_classifier(classifier)
    return RestoringClassifier(model, load_classifier(classifier)) if isinstance(model, Autoencoder) else model


def load_trained(weights: Path, folder: Path, classifier: Path, role: str | None = "") -> dict[int, nn.Module]:
    """`load_defended` of each training that did not fail, by its number; 0 where there are not several."""
    numbers = trainings_in(folder) if role is not None else []
    if not numbers:
        return {0: load_defended(weights, folder, classifier, role)}
    return {
        number: load_defended(parts / f"{OWN}.safetensors", parts, classifier, role)
        for number in numbers
        for parts in [folder / "trainings" / str(number)]
    }


def is_attacked(weights: Path, folder: Path, role: str | None) -> bool:
    """Whether what `load_defended` gives is the attacked classifier, and nothing that was learned."""
    return role is None or (not role and load_any(weights, WHAT) is None and not trainings_in(folder))


def check_defended(predict: Callable[..., Any], defended: nn.Module, where: str) -> None:
    """PipelineError naming `where` if a defense that restores has no autoencoder to do so, or the other way round."""
    first, *_ = get_type_hints(predict).values()
    wanted, found = (
        "an autoencoder" if restoring else "a classifier"
        for restoring in (first is RestoringClassifier, isinstance(defended, RestoringClassifier))
    )
    if wanted != found:
        raise PipelineError(f"{where}: {predict.__name__} predicts with {wanted}, found {found}")


def _load(path: Path) -> nn.Module:
    model = load_any(path, WHAT)
    if model is None:
        raise damaged(path, f"expected {WHAT}, found a file without weights")
    return model


def _write_tables(folder: Path, tables: Mapping[str, Sequence[Any]], pictures: Mapping[str, Any]) -> None:
    for name, rows in tables.items():
        if rows:
            write_curves(folder / f"{name}.csv", rows)
    for name, picture in pictures.items():
        write_picture(folder / f"{name}.h5", picture)
