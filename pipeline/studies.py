"""A study: where its files lie, its params, its seed and its device. What every stage needs and none writes again."""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import PipelineError
from pipeline.params import AUTO, arguments_for, block_at, check_value, parameters_of, read_yaml
from pipeline.registry import classifier_kinds
from pipeline.study_blocks import BLOCKS, FAMILY, FORMATS, INNER, KIND, RESERVED, TRAINED, Budgets, Seed, checked_name

if TYPE_CHECKING:
    import torch

STUDIES = Path("studies")
PIPELINE = STUDIES / "pipeline.yaml"
# Where each artifact lies; {study} and {key} are filled in. data/README.md says what is in it.
PATHS = {
    "earlier": "reports/earlier.json",
    "words": "studies/{study}/.words.json",
    "code": "data/code/{study}",
    "raw_files": "data/raw_files/{study}.json",
    "images": "data/images/{study}.h5",
    "classifier": "data/classifiers/{study}.safetensors",
    "classifier_facts": "data/classifiers/{study}.json",
    "classifier_curves": "data/curves/{study}/classifier.csv",
    "attack_choices": "data/calibrations/{study}/choices.json",
    "step_sizes": "data/calibrations/{study}/step_sizes.csv",
    "extra_steps": "data/calibrations/{study}/extra_steps.csv",
    "minimal": "data/adversarial/{study}/minimal.h5",
    "extended": "data/adversarial/{study}/extended.h5",
    "set": "data/adversarial/{study}/{key}.h5",
    "statistics": "data/perturbations/{study}/{key}",
    "sizes": "data/sizes/{study}",
    "learned": "data/defenses/{study}/{key}.safetensors",
    "learning": "data/learning/{study}/{key}",
    "curves": "data/curves/{study}/{key}.csv",
    "evaluation": "data/evaluations/{study}/{key}.parquet",
    "examination": "data/evaluations/{study}/{key}",
    "other_evaluation": "data/other_evaluations/{study}/{key}",
    "adaptive": "data/adaptive/{study}/{key}",
    "replicates": "data/replicates/{study}",
    "devices": "data/devices/{study}",
    "device": "data/devices/{study}/{key}.json",
    "detection": "data/detection/{study}",
    "metrics": "reports/metrics/{study}.json",
    "figures": "reports/figures/{study}",
    "report": "reports/{study}.html",
}


class Study:
    """One folder of `studies/`.

    Attributes: `name`; `folder`; `file`, its params file; `params`, what is in it.

    Raises PipelineError if the name is none, the folder or its params file is not there, a block of it is unknown or
    missing, or its dvc.yaml differs from studies/pipeline.yaml.
    """

    def __init__(self, name: str) -> None:
        self.name = checked_name(name, "study")
        self.folder = folder = STUDIES / name
        self.file = folder / "params.yaml"
        if not folder.is_dir():
            known = ", ".join(sorted(path.parent.name for path in STUDIES.glob("*/params.yaml"))) or "none"
            raise PipelineError(f"{folder}: no such study; expected one of: {known} (`make study` makes a new one)")
        self.params = read_yaml(self.file)
        for key in self.params:
            if key not in BLOCKS:
                raise PipelineError(f"{self.file}: {key}: no stage reads it; expected one of: {', '.join(BLOCKS)}")
        for key in BLOCKS:
            block_at(self.params, key, self.file)
        for key, inner in INNER.items():
            self._refuse_others(key, inner)
        if not self.brings_classifier:
            self._refuse_others("classifier", TRAINED)
        if self.params["study"] != name:
            raise PipelineError(
                f"{self.file}: study: expected the folder's name '{name}', found {self.params['study']!r}"
            )
        for block in ("other_attacks", "defenses"):
            for key in self.block(block):
                self._check_new(key, block)
        if "undefended" not in self.block("defenses"):
            raise PipelineError(
                f"{self.file}: defenses: expected 'undefended', which all are compared with, found none of that name"
            )
        self._check_families()
        dvc = folder / "dvc.yaml"
        if dvc.is_file() and PIPELINE.is_file() and dvc.read_bytes() != PIPELINE.read_bytes():
            raise PipelineError(
                f"{dvc}: expected a copy of {PIPELINE}, found another text: copy it again (`make studies`)"
            )

    def block(self, key: str) -> Mapping[str, Any]:
        """The block at a dotted key. Raises PipelineError if it is not there or no mapping."""
        block = block_at(self.params, key, self.file)
        if not isinstance(block, Mapping):
            raise PipelineError(f"{self.file}: {key}: expected a block of parameters, found {block!r}")
        return block

    def _refuse_others(self, key: str, known: Sequence[str]) -> Mapping[str, Any]:
        """The block at a dotted key, which may hold nothing else than `known`."""
        block = self.block(key)
        for name in block:
            if name not in known:
                where = self.where(f"{key}.{name}")
                raise PipelineError(f"{where}: unknown parameter; expected one of: {', '.join(known)}")
        return block

    def _check_new(self, name: str, block: str) -> None:
        """Whether an attack or a defense may be called so."""
        if checked_name(name, self.where(block)) in RESERVED:
            raise PipelineError(f"{self.where(block)}.{name}: expected another name: {name} is something else already")

    def _check_families(self) -> None:
        for key in self.block("defenses"):
            block = self._refuse_others(f"defenses.{key}", FAMILY)
            for part in ("learn", "predict", "variants"):
                self.block(f"defenses.{key}.{part}")
            for variant in block["variants"]:
                self._check_new(variant, f"defenses.{key}.variants")
        every = [name for family in self.families.values() for name in family]
        if twice := sorted({name for name in every if every.count(name) > 1}):
            raise PipelineError(f"{self.file}: defenses: expected each name once, found {twice[0]} twice")

    # --- what is in it -------------------------------------------------------------------------------------------
    @property
    def source(self) -> str:
        """Name of the images, by which random numbers are named: studies on the same images attack the same.

        It is `images.source`; of torchvision's sets their class, in small letters; of a source that is a mere
        format the path of the files, from the folder of all raw files on.
        """
        source: str = self.checked("images.source", str)
        kind, _, what = source.partition(":")
        if kind == "torchvision":
            return what.lower().replace("/", "_")
        return source if kind not in FORMATS else "/".join(filter(None, (self.block("images").get("raw"), what)))

    @property
    def brings_classifier(self) -> bool:
        """Whether the attacked classifier is somebody else's, built by a function that the params name."""
        return "build" in self.params["classifier"]

    @property
    def kind(self) -> type[Any]:
        """The class of classifiers that the study trains: what the file `classifier.kind` of pipeline/models holds."""
        name, kinds = self.params["classifier"].get("kind", KIND), classifier_kinds()
        if not isinstance(name, str) or name not in kinds:
            raise PipelineError(f"{self.where('classifier.kind')}: expected one of: {', '.join(kinds)}, found {name!r}")
        return kinds[name]

    @property
    def seed(self) -> int:
        """The number that all random numbers start from."""
        seed: int = check_value(self.value("seed"), Seed, f"{self.file}: seed")
        return seed

    @property
    def other_attacks(self) -> list[str]:
        """Keys of the attacks beside the paper's two."""
        return list(self.params["other_attacks"])

    @property
    def attacks(self) -> list[str]:
        """Keys of all sets: the paper's two first."""
        return [*INNER["attacks"], *self.other_attacks]

    @property
    def families(self) -> dict[str, list[str]]:
        """Each defense with its variants, itself first, in the params file's order."""
        return {key: [key, *block["variants"]] for key, block in self.params["defenses"].items()}

    @property
    def defenses(self) -> list[str]:
        """Keys of all defenses and variants."""
        return [name for family in self.families.values() for name in family]

    def family(self, key: str) -> list[str]:
        """A family's defenses, itself first. Raises PipelineError if there is none of this key."""
        block_at(self.params, f"defenses.{key}", self.file)
        return self.families[key]

    def method(self, family: str, variant: str = "") -> str:
        """Name of the file in `pipeline/defenses` of a family, or of one of its variants."""
        own: str = self.params["defenses"][family].get("method", family)
        if not variant or variant == family:
            return own
        block = self.params["defenses"][family]["variants"][variant]
        if "learned" in block:  # another model that the family learns, used in its way
            return own
        return str(block.get("method", variant))

    def value(self, key: str) -> Any:
        """What stands at a dotted key. Raises PipelineError if it is not there."""
        return block_at(self.params, key, self.file)

    def has(self, key: str) -> bool:
        """Whether something stands at a dotted key."""
        block: Any = self.params
        for part in key.split("."):
            if not isinstance(block, Mapping) or part not in block:
                return False
            block = block[part]
        return True

    def where(self, key: str) -> str:
        """The key with its file, for messages."""
        return f"{self.file}: {key}"

    def checked(self, key: str, annotation: Any) -> Any:
        """The value at a dotted key, checked against a type with ranges; a dataclass takes a block."""
        return check_value(self.value(key), annotation, self.where(key))

    def arguments(self, function: Any, key: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Checked keyword arguments of `function` from the block at a dotted key.

        given : the block's content, where it isn't what stands in the file ("auto" replaced, `method` taken out).
        """
        return arguments_for(function, self.value(key) if given is None else given, self.where(key))

    def training(self, function: Any, key: str) -> dict[str, Any]:
        """Arguments of a training: the block at `key`, and what it leaves out from the study's block `training`."""
        self._refuse_others("training", list(parameters_of(function)))
        own = self.block(key) if self.has(key) else {}
        return self.arguments(function, key, self.defaults(function) | dict(own))

    def defaults(self, function: Any) -> dict[str, Any]:
        """Of the study's block `training` what `function`, or a dataclass, takes; each checked where it stands."""
        known = parameters_of(function)
        return {
            name: self.checked(f"training.{name}", known[name][0]) for name in self.block("training") if name in known
        }

    def threat(self, norm: str) -> Budgets:
        """The threat model in a norm. Raises PipelineError if the study states none."""
        budgets: Budgets = self.checked(f"threat.{norm}", Budgets)
        return budgets

    @property
    def budgets(self) -> dict[str, float]:
        """The stated budget of each norm of the threat model."""
        return {norm: self.threat(norm).epsilon for norm in self.block("threat")}

    def resolved(
        self,
        block: Mapping[str, Any],
        key: str,
        choices: Mapping[str, Any],
        prefix: str = "",
        chosen_in: Path | None = None,
    ) -> dict[str, Any]:
        """The block with every "auto" replaced by what the rule chose: `choices[prefix + parameter]`.

        chosen_in : the file that the choices were read from, for messages.

        Raises PipelineError where no rule chooses that number, or the rule found none that meets it.
        """
        found = dict(block)
        for name, value in block.items():
            if value != AUTO:
                continue
            where = self.where(f"{key}.{name}")
            if prefix + name not in choices and chosen_in:
                raise PipelineError(
                    f"{chosen_in}: expected a choice of {prefix + name}, which is 'auto' in {where}; found "
                    f"{', '.join(choices) or 'none'}: delete it and run dvc repro, or give a number in its place"
                )
            if prefix + name not in choices:
                raise PipelineError(f"{where}: expected a number, found 'auto': no rule chooses this parameter")
            if choices[prefix + name] is None:
                raise PipelineError(f"{where}: 'auto': no setting that was tried meets the rule; give a number")
            found[name] = choices[prefix + name]
        return found

    def without(self, attacks: Collection[str], defenses: Collection[str]) -> "Study":
        """The same study as if these other attacks and families of defenses did not stand in its params."""
        found = copy(self)
        found.params = {
            **self.params,
            "other_attacks": {k: v for k, v in self.params["other_attacks"].items() if k not in attacks},
            "defenses": {k: v for k, v in self.params["defenses"].items() if k not in defenses},
        }
        return found

    # --- where it lies and where it runs --------------------------------------------------------------------------
    def path(self, what: str, key: str = "") -> Path:
        """Where an artifact of this study lies, from the project's root; `key` of an attack or a defense."""
        return Path(PATHS[what].format(study=self.name, key=key))

    def evaluation_path(self, family: str, name: str) -> Path:
        """Where the evaluation of a family's defense lies: of a variant, in the family's folder."""
        return (
            self.path("evaluation", family) if name == family else self.path("examination", family) / f"{name}.parquet"
        )

    @cached_property
    def device(self) -> "torch.device":
        """The device of this process, with one thread on a CPU, for threads change bytes."""
        from pipeline.devices import prepare_device

        return prepare_device()
