"""How a whole defense is attacked: the settings of `adaptive` in a study's params, and the attacks that they name."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pipeline.attacks.shared.budgets import within_threat
from pipeline.attacks.shared.protocol import Attack, load_attack
from pipeline.errors import PipelineError
from pipeline.models.precision import Precision
from pipeline.params import arguments_for
from pipeline.ranges import Range
from pipeline.registry import split_method
from pipeline.study_blocks import ADAPTIVE

Count = Annotated[int, Range(1, 1000000)]
DOUBLINGS = {2: "pgd_doubled", 4: "pgd_doubled_twice"}  # how many times the steps, draws and runs: as what it is stored
# Of attempts; no other attack may be called so.
OURS = ("none", "pgd", *DOUBLINGS.values(), "quiet", "shortest", "transfer", "fixed", "worst")


@dataclass(frozen=True, kw_only=True)
class AdaptiveSettings:
    """How a defense is attacked.

    norm, epsilons, budget : of the curve of robust accuracy; the budget, one of the epsilons, is the stated one.
    originals : images attacked, a random sample of the whole test split. sanity_originals : the first of them, that the
    other attacks are run on; and on every other one that the attacks at the budget have left.
    restarts, curve_restarts : runs of the ascent at the budget and at the other epsilons, each on what those before
    have left, towards the next best other class.
    draws : passes averaged at each step, of a randomized defense. scored_draws : passes that judge what was found; ten
    times as many where chance may have decided.
    resubmissions : how often the strongest image of each original is submitted to a randomized defense as deployed.
    quiet : weight of the passes' disagreement in the attack that evades the detector too.
    precision : of the gradients; what was found is judged in float32.

    Blocks of attacks, `method` naming the file, the rest its parameters, norm and budget filled in from above:
    ascent : run at each epsilon; at the budget also with twice the `steps`, draws and runs, and quietly.
    shortest : that looks for the shortest perturbation, without a budget.
    others : by name, run at the budget; `method` may be left out where the name is the file's.
    """

    norm: Literal["linf", "l2"]
    epsilons: tuple[Annotated[float, Range(0, 1000, low_open=True)], ...]
    budget: Annotated[float, Range(0, 1000, low_open=True)]
    originals: Count
    sanity_originals: Count
    restarts: Annotated[int, Range(1, 1000)]
    curve_restarts: Annotated[int, Range(1, 1000)]
    draws: Annotated[int, Range(1, 1000)]
    scored_draws: Annotated[int, Range(1, 10000)]
    resubmissions: Annotated[int, Range(1, 1000)]
    quiet: Annotated[float, Range(0, 1000)]
    ascent: dict[str, Any]
    shortest: dict[str, Any]
    others: dict[str, Any] = field(default_factory=dict)
    precision: Precision = "float32"

    def described(self, height: int, width: int) -> dict[str, Any]:
        """The settings as they are stored, and what comes of them.

        gradient_free : those of the other attacks that ask for no gradients. left_out : of those that cannot be run on
        images of this size, by name, the reason. doublings : by name how many times the steps, draws and runs.
        """
        others = attacks_of(self, "adaptive").others
        reasons = {name: one.attack.reason(False, height, width, self.norm) for name, one in others.items()}
        return {
            **asdict(self),
            "gradient_free": [name for name, one in others.items() if not one.attack.gradients],
            "left_out": {name: reason for name, reason in reasons.items() if reason},
            "doublings": {name: times for times, name in DOUBLINGS.items()},
        }


@dataclass(frozen=True)
class Chosen:
    """An attack with its checked parameters, and which of them bounds it, "" if none does."""

    attack: Attack
    parameters: dict[str, Any]
    bound: str


@dataclass(frozen=True)
class Attacks:
    """The attacks that settings name; see `AdaptiveSettings`."""

    ascent: Chosen
    shortest: Chosen
    others: dict[str, Chosen]


def attacks_of(settings: AdaptiveSettings, where: str, budget: str = "budget", epsilons: str = "epsilons") -> Attacks:
    """The attacks that the settings name, their parameters checked.

    where : names the block in messages. budget, epsilons : name these two, where they stand elsewhere.

    Raises PipelineError if the budget is none of the epsilons, or if an attack is not there, has no such parameters,
    cannot leave a label, or is not bounded as its place asks for.
    """
    if settings.budget not in settings.epsilons:
        known = ", ".join(f"{epsilon:g}" for epsilon in settings.epsilons)
        raise PipelineError(
            f"{budget}: expected one of {epsilons}, {known}; found {settings.budget:g}: add it there, or take one of "
            "these"
        )

    def choose(key: str, block: Any, at: str, bounded: bool = True) -> Chosen:
        file, own = split_method(key, block, at)
        try:
            attack = load_attack(file)
        except PipelineError as error:
            raise PipelineError(f"{at}: {error}") from None
        own = within_threat(attack, own, {settings.norm: settings.budget}, at)
        bound = attack.budget_for(own)
        wanted = f"an attack with a budget in {settings.norm}" if bounded else "an attack without a budget"
        if (bound and bound.norm) != (settings.norm if bounded else None):
            raise PipelineError(f"{at}: expected {wanted}, found {attack.name}")
        if not attack.untargeted:
            raise PipelineError(f"{at}: expected an attack that leaves the label; {attack.name} only takes targets")
        return Chosen(attack, arguments_for(attack.run, own, at), bound.parameter if bound else "")

    ascent = choose(ADAPTIVE["ascent"], settings.ascent, f"{where}.ascent")
    if "steps" not in ascent.parameters:
        raise PipelineError(f"{where}.ascent.steps: missing; its doubling shows whether they are enough")
    if settings.ascent.get("restarts", 1) != 1:
        found = settings.ascent["restarts"]
        raise PipelineError(
            f"{where}.ascent.restarts: expected none, for `restarts` beside it says how many; found {found}"
        )
    others = {}
    for name, block in settings.others.items():
        if name in OURS:
            raise PipelineError(f"{where}.others.{name}: expected another name than {', '.join(OURS)}")
        others[name] = choose(name, block, f"{where}.others.{name}")
    shortest = choose(ADAPTIVE["shortest"], settings.shortest, f"{where}.shortest", bounded=False)
    return Attacks(ascent, shortest, others)
