"""The attacks beside the paper's: closed forms on a linear model, and agreement with Foolbox."""

import inspect
from typing import Any

import foolbox as library
import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from torch import Tensor, nn

from pipeline.attacks.autoattack import autoattack
from pipeline.attacks.ddn import ddn
from pipeline.attacks.fgsm import fgsm
from pipeline.attacks.foolbox import foolbox
from pipeline.attacks.jsma import jsma
from pipeline.attacks.minimum_norm import minimum_norm
from pipeline.attacks.pgd_l2 import pgd_l2
from pipeline.attacks.pgd_linf import pgd_linf
from pipeline.attacks.shared.balls import L2, Linf
from pipeline.attacks.shared.budgets import fooled_within, within_threat
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Evasion, Goal
from pipeline.attacks.shared.projected_gradient import projected_gradient_descent
from pipeline.attacks.shared.protocol import Budget, load_attack
from pipeline.attacks.square import square
from pipeline.errors import PipelineError
from pipeline.metrics.outcomes import margins
from pipeline.models.cnn import Classifier
from pipeline.registry import split_method
from tests.linear import Linear


def gray(model: Linear, generator: torch.Generator, count: int, spread: float = 0.02) -> tuple[Tensor, Tensor]:
    """Images around gray, so that nothing is clipped, near the boundary, and targets that are not predicted."""
    with torch.no_grad():
        model.bias -= model(torch.full((1, *SHAPE), 0.5, dtype=torch.float64))[0]
    images = 0.5 + spread * torch.randn(count, *SHAPE, generator=generator, dtype=torch.float64)
    classes = len(model.bias)
    targets = (model(images).argmax(1) + torch.randint(1, classes, (count,), generator=generator)) % classes
    return images, targets


SHAPE = (1, 4, 4)
attacks = {name: load_attack(name) for name in ("fgsm", "ddn", "foolbox")}


def test_fgsm_flips_exactly_where_the_closed_form_says(linear: Linear, generator: torch.Generator) -> None:
    """The lead over k grows by epsilon * sign(w_t) . (w_t - w_k)."""
    images, targets = gray(linear, generator, 300)
    weight = linear.weight.detach()
    logits = linear(images).detach()
    flipped = []
    for epsilon in (0.001, 0.01, 0.05):
        found, steps = fgsm(linear, images, Goal(targets), epsilon=epsilon)
        assert steps.tolist() == [1] * 300
        for i, target in enumerate(targets.tolist()):
            others = [k for k in range(4) if k != target]
            gains = [epsilon * weight[target].sign() @ (weight[target] - weight[k]) for k in others]
            expected = all(logits[i, target] - logits[i, k] + gain > 0 for k, gain in zip(others, gains, strict=True))
            assert bool(margins(linear(found[i : i + 1]), targets[i : i + 1]) > 0) == expected
            flipped.append(expected)
    assert 0.1 < np.mean(flipped) < 0.9


def smallest_norm(model: Linear, image: Tensor, target: int) -> float:
    """Norm of the smallest perturbation that makes the target lead: a quadratic program."""
    weight, logits = model.weight.detach().numpy(), model(image[None]).detach().numpy()[0]
    others = [k for k in range(len(logits)) if k != target]
    constraints = [
        {
            "type": "ineq",
            "fun": lambda p, k=k: logits[target] - logits[k] + (weight[target] - weight[k]) @ p,
            "jac": lambda p, k=k: weight[target] - weight[k],
        }
        for k in others
    ]
    solved = minimize(lambda p: p @ p, np.zeros(image.numel()), jac=lambda p: 2 * p, constraints=constraints)
    assert solved.success
    return float(np.sqrt(solved.fun))


def test_ddn_is_near_the_smallest_perturbation(generator: torch.Generator) -> None:
    """Two classes: the smallest is as long as the distance to the boundary."""
    model = Linear(generator, classes=2)
    images, targets = gray(model, generator, 40, spread=0.1)
    found, _ = ddn(model, images, Goal(targets), steps=200)
    smallest = -margins(model(images), targets).detach() / (model.weight[0] - model.weight[1]).detach().norm()
    lengths = (found - images).flatten(1).norm(dim=1)
    assert (margins(model(found), targets) > 0).all()
    assert (lengths >= smallest * 0.999).all()
    assert (lengths <= 1.25 * smallest).all()


def test_ddn_is_mostly_near_it_also_where_several_classes_meet(linear: Linear, generator: torch.Generator) -> None:
    """In corners between classes the gradient of the log-probability points past the nearest image, Foolbox's too."""
    images, targets = gray(linear, generator, 40, spread=0.1)
    found, _ = ddn(linear, images, Goal(targets), steps=100)
    assert (margins(linear(found), targets) > 0).all()
    lengths = (found - images).flatten(1).norm(dim=1).numpy()
    smallest = [smallest_norm(linear, image, target) for image, target in zip(images, targets.tolist(), strict=True)]
    ratio = lengths / smallest
    assert ratio.min() >= 0.999
    assert np.quantile(ratio, 0.9) <= 1.25
    assert ratio.max() <= 1.5


def test_ddn_says_so_where_it_finds_nothing(linear: Linear, generator: torch.Generator) -> None:
    """Not the clean image, as if nothing had been tried: the last one tried, which is not adversarial."""
    images, targets = gray(linear, generator, 10)
    with torch.no_grad():
        linear.bias[:] = torch.where(torch.arange(4) == 0, 1000.0, 0.0)
    targets = torch.ones(10, dtype=torch.int64)
    found, _ = ddn(linear, images, Goal(targets), steps=5)
    assert (margins(linear(found), targets) < 0).all()
    assert ((found - images).flatten(1).norm(dim=1) > 0).all()


def test_minimum_norm_finds_the_smallest_perturbation_of_two_classes(generator: torch.Generator) -> None:
    model = Linear(generator, classes=2)
    images, targets = gray(model, generator, 40)
    smallest = -margins(model(images), targets).detach() / (model.weight[0] - model.weight[1]).norm().detach()
    found, steps = minimum_norm(model, images, Goal(targets), steps=12)
    length = (found - images).flatten(1).norm(dim=1)
    assert (margins(model(found), targets) > 0).all()
    assert (length >= smallest).all()
    assert (length <= 1.01 * smallest).all()
    assert steps.tolist() == [12] * 40


def test_minimum_norm_needs_less_than_half_of_ddns_steps(digits: tuple[Classifier, Tensor, Tensor]) -> None:
    model, images, targets = digits
    norms = []
    for attack, steps in ((ddn, 40), (minimum_norm, 16)):
        found, _ = attack(model, images, Goal(targets), steps=steps)
        fooled = margins(model(found), targets) > 0
        assert fooled.float().mean() >= 0.999
        norms.append((found - images).flatten(1).norm(dim=1).mean())
    assert norms[1] <= norms[0]


@pytest.mark.parametrize(("ball", "dual"), [(Linf(), 1), (L2(), 2)])
@pytest.mark.parametrize("targeted", [True, False])
def test_pgd_finds_an_adversarial_image_where_there_is_one_and_only_there(
    generator: torch.Generator, ball: Linf | L2, dual: int, targeted: bool
) -> None:
    """Two classes: the ball holds one exactly if epsilon * ||w_t - w_k||_dual exceeds the margin."""
    model = Linear(generator, classes=2)
    images, targets = gray(model, generator, 50)
    distance = -margins(model(images), targets).detach() / (model.weight[0] - model.weight[1]).detach().norm(dual)
    goal = Goal(targets) if targeted else Goal(1 - targets, targeted=False)
    for share, expected in ((1.02, True), (0.98, False)):
        for i in range(50):
            found, _ = projected_gradient_descent(
                model, images[i : i + 1], goal.at(torch.tensor([i])), generator, ball,
                epsilon=share * distance[i].item(), relative_step_size=0.25, steps=20, restarts=2, random_start=True,
            )  # fmt: skip
            assert bool(margins(model(found), targets[i : i + 1]) > 0) == expected
            moved = (found - images[i]).flatten()
            assert moved.norm(torch.inf if dual == 1 else 2) <= share * distance[i] * (1 + 1e-9)


def test_random_starts_fill_the_ball(generator: torch.Generator) -> None:
    images = torch.zeros(4000, 1, 2, 2, dtype=torch.float64)
    drawn = Linf().random(images, 0.3, generator)
    assert drawn.abs().max() <= 0.3
    assert drawn.mean().item() == pytest.approx(0, abs=0.01)
    assert drawn.std().item() == pytest.approx(0.3 / 3**0.5, rel=0.02)
    lengths = L2().random(images, 2.0, generator).flatten(1).norm(dim=1)
    assert lengths.max() <= 2
    # The share within radius r of a ball in 4 dimensions is r^4.
    assert (lengths < 1).double().mean().item() == pytest.approx(1 / 16, abs=0.01)
    assert (lengths < 1.7).double().mean().item() == pytest.approx(0.85**4, abs=0.02)


def test_restarts_help_and_leave_what_is_fooled_alone(digits: tuple[Classifier, Tensor, Tensor]) -> None:
    model, images, targets = digits
    more = {"epsilon": 0.12, "relative_step_size": 0.5, "steps": 3}
    once, _ = pgd_linf(model, images, Goal(targets), torch.Generator().manual_seed(1), **more)
    fooled = margins(model(once), targets) > 0
    thrice, steps = pgd_linf(model, images, Goal(targets), torch.Generator().manual_seed(1), restarts=4, **more)
    assert torch.equal(thrice[fooled], once[fooled])
    assert (steps[fooled] == 3).all()
    assert 0 < fooled.sum() < (margins(model(thrice), targets) > 0).sum()


@pytest.mark.parametrize("channels", [1, 3])
def test_jsma_changes_no_more_positions_than_allowed_and_those_of_highest_impact(
    generator: torch.Generator, channels: int
) -> None:
    model = Linear(generator, (channels, 4, 4))
    images = 0.5 + 0.02 * torch.randn(60, channels, 4, 4, generator=generator, dtype=torch.float64)
    predicted = model(images).argmax(1)
    targets = (predicted + torch.randint(1, 4, (60,), generator=generator)) % 4
    sums = 2 * model.weight.detach() - model.weight.detach().sum(0)  # F_t - sum of the others
    outcomes = []
    for fraction in (0.05, 0.07, 0.2, 0.5, 1):
        found, steps = jsma(model, images, Goal(targets), allowed_fraction=fraction, positions_per_step=1)
        moved = (found != images).any(1).flatten(1)
        assert (moved.sum(1) <= int(fraction * 16)).all()
        assert torch.equal(moved.sum(1), steps)
        outcomes.append((margins(model(found), targets) > 0).double().mean().item())
        for i in range(60):
            impact = sums[targets[i]].view(channels, 16)
            ranked = impact.abs().sum(0).argsort(descending=True)[: int(steps[i])]
            assert set(moved[i].nonzero()[:, 0].tolist()) == set(ranked.tolist())
            expected = (impact[:, ranked] > 0).double()  # all the way to white or black
            assert torch.equal(found[i].view(channels, 16)[:, ranked], expected)
    assert outcomes[0] == 0  # 0.05 of 16 positions is none
    assert outcomes == sorted(outcomes)
    assert outcomes[-1] > 0.5


def test_jsma_spends_no_step_on_pixels_without_room(generator: torch.Generator) -> None:
    """On black images only pixels whose impact is positive can move: all steps go there, though others weigh more."""
    model = Linear(generator, (1, 4, 4))
    images = torch.zeros(20, 1, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        model.bias[:] = torch.tensor([1e3, 0, 0, 0])  # nothing that ten pixels do changes the prediction
    targets = torch.randint(1, 4, (20,), generator=generator)
    found, steps = jsma(model, images, Goal(targets), allowed_fraction=0.25, positions_per_step=1)
    impact = 2 * model.weight.detach() - model.weight.detach().sum(0)
    assert steps.tolist() == [4] * 20
    for image, target in zip(found.flatten(1), targets.tolist(), strict=True):
        best = impact[target].argsort(descending=True)[:4]
        assert set(image.nonzero()[:, 0].tolist()) == set(best.tolist())


@pytest.fixture(scope="module")
def digits() -> tuple[Classifier, Tensor, Tensor]:
    """A classifier trained for a moment in float64, images that it knows, and a target for each."""
    data = load_digits()
    images = torch.from_numpy(data.images / 16)[:, None]
    labels = torch.from_numpy(data.target.astype(np.int64))
    torch.manual_seed(5)
    model = Classifier((1, 8, 8), 10, channels=(16, 32), dropout=0.0).double()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    model.eval()
    right = (model(images).argmax(1) == labels).nonzero()[:300, 0]
    assert len(right) == 300
    generator = torch.Generator().manual_seed(6)
    return model, images[right], (labels[right] + torch.randint(1, 10, (300,), generator=generator)) % 10


def by_foolbox(
    attack: library.attacks.base.Attack, model: nn.Module, images: Tensor, targets: Tensor, epsilon: float | None
) -> Tensor:
    bounded = library.PyTorchModel(model, bounds=(0, 1), device="cpu")
    _, found, _ = attack(bounded, images, library.criteria.TargetedMisclassification(targets), epsilons=epsilon)
    return found.detach()


@pytest.mark.parametrize("epsilon", [0.08, 0.12, 0.16])
def test_pgd_linf_succeeds_as_often_as_foolboxs(digits: tuple[Classifier, Tensor, Tensor], epsilon: float) -> None:
    model, images, targets = digits
    attack = library.attacks.LinfPGD(rel_stepsize=0.1, steps=20, random_start=False)
    theirs = by_foolbox(attack, model, images, targets, epsilon)
    ours, _ = pgd_linf(
        model,
        images,
        Goal(targets),
        torch.Generator(),
        epsilon=epsilon,
        relative_step_size=0.1,
        steps=20,
        random_start=False,
    )
    rates = [(margins(model(found), targets) > 0).double().mean().item() for found in (ours, theirs)]
    assert 0.02 < rates[1] < 0.999
    assert abs(rates[0] - rates[1]) <= 0.01
    same = margins(model(theirs), targets) > 0
    torch.testing.assert_close(ours[same], theirs[same])  # the very images, where theirs fool


@pytest.mark.parametrize("epsilon", [0.5, 0.8])
def test_pgd_l2_gives_foolboxs_images(digits: tuple[Classifier, Tensor, Tensor], epsilon: float) -> None:
    model, images, targets = digits
    attack = library.attacks.L2PGD(rel_stepsize=0.1, steps=20, random_start=False)
    theirs = by_foolbox(attack, model, images, targets, epsilon)
    ours, _ = pgd_l2(
        model,
        images,
        Goal(targets),
        torch.Generator(),
        epsilon=epsilon,
        relative_step_size=0.1,
        steps=20,
        random_start=False,
    )
    same = margins(model(theirs), targets) > 0
    assert 0.02 < same.double().mean() < 0.999
    torch.testing.assert_close(ours[same], theirs[same])


@pytest.mark.parametrize("steps", [20, 100])
def test_ddn_is_as_short_as_foolboxs(digits: tuple[Classifier, Tensor, Tensor], steps: int) -> None:
    model, images, targets = digits
    theirs = by_foolbox(library.attacks.DDNAttack(steps=steps), model, images, targets, None)
    ours, _ = ddn(model, images, Goal(targets), steps=steps)
    for found in (ours, theirs):
        assert (margins(model(found), targets) > 0).all()
    medians = [(found - images).flatten(1).norm(dim=1).median().item() for found in (ours, theirs)]
    assert medians[0] == pytest.approx(medians[1], rel=0.03)


def test_any_attack_of_foolbox_runs_and_the_seed_decides(digits: tuple[Classifier, Tensor, Tensor]) -> None:
    model, images, targets = digits
    before = torch.get_rng_state()

    def run(seed: int) -> Tensor:
        arguments = {"rel_stepsize": 0.1, "steps": 3, "random_start": True}
        found, steps = foolbox(
            model, images[:20], Goal(targets[:20]), torch.Generator().manual_seed(seed),
            name="LinfProjectedGradientDescentAttack", arguments=arguments, epsilon=0.2,
        )  # fmt: skip
        assert steps.tolist() == [0] * 20
        return found

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert (run(1) - images[:20]).abs().max() <= 0.2 + 1e-12


@pytest.mark.parametrize(
    ("name", "arguments", "epsilon", "words"),
    [
        ("NoSuchAttack", {}, 0.1, "foolbox:NoSuchAttack: no such attack"),
        ("base", {}, 0.1, "foolbox:base: no such attack"),
        ("LinfPGD", {"stride": 3}, 0.1, "foolbox:LinfPGD: arguments refused: .*stride"),
        ("LinfPGD", {}, None, "foolbox:LinfPGD: expected a parameter 'epsilon'"),
        (
            "VirtualAdversarialAttack",
            {"steps": 1},
            0.1,
            "foolbox:VirtualAdversarialAttack: expected an attack that takes targets",
        ),  # no targets
    ],
)
def test_what_foolbox_cannot_do_is_said(
    digits: tuple[Classifier, Tensor, Tensor], name: str, arguments: dict[str, int], epsilon: float | None, words: str
) -> None:
    model, images, targets = digits
    with pytest.raises(PipelineError, match=words):
        foolbox(
            model, images[:2], Goal(targets[:2]), torch.Generator(), name=name, arguments=arguments, epsilon=epsilon
        )


CLASSES = [
    name
    for name, kind in vars(library.attacks).items()
    if isinstance(kind, type) and issubclass(kind, library.attacks.base.Attack)
]
FEW = {
    "steps": 3, "binary_search_steps": 2, "directions": 3, "repeats": 3, "initial_gradient_eval_steps": 3,
    "max_gradient_eval_steps": 5, "num_translations": 2, "num_rotations": 2, "population": 4, "random_steps": 3,
    "distance": "l2",
}  # fmt: skip


TAKE_NO_TARGETS = {
    "FGM", "FGSM", "InversionAttack", "L1FastGradientAttack", "L2AdditiveGaussianNoiseAttack",
    "L2AdditiveUniformNoiseAttack", "L2ClippingAwareAdditiveGaussianNoiseAttack",
    "L2ClippingAwareAdditiveUniformNoiseAttack", "L2ContrastReductionAttack", "L2DeepFoolAttack",
    "L2FastGradientAttack", "LinfAdditiveUniformNoiseAttack", "LinfDeepFoolAttack", "LinfFastGradientAttack",
    "NewtonFoolAttack", "VirtualAdversarialAttack",
}  # fmt: skip


@pytest.fixture(scope="module")
def small() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4)).eval()
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return model, images, model(images).argmax(1)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Foolbox's, that it found little
@pytest.mark.parametrize("targeted", [True, False])
def test_every_attack_of_foolbox_ends_in_images_or_in_one_line(
    small: tuple[nn.Module, Tensor, Tensor], targeted: bool
) -> None:
    model, images, labels = small
    goal = Goal((labels + 1) % 4 if targeted else labels, targeted)
    before = images.clone()
    refused = {}
    for name in CLASSES:
        known = inspect.signature(getattr(library.attacks, name)).parameters
        block: dict[str, Any] = {"name": name, "arguments": {key: FEW[key] for key in FEW if key in known}}
        if issubclass(getattr(library.attacks, name), library.attacks.base.FixedEpsilonAttack):
            block["epsilon"] = 0.3
        try:
            bound = attacks["foolbox"].budget_for(block)
            found, steps = attacks["foolbox"](model, images, goal, torch.Generator().manual_seed(1), **block)
        except PipelineError as error:
            refused[name] = str(error)
            continue
        assert (bound is not None) == ("epsilon" in block), name
        assert found.shape == images.shape, name
        assert found.min() >= 0, name
        assert found.max() <= 1, name
        assert found.flatten(1).any(1).all(), name  # no black placeholder
        assert steps.tolist() == [0] * 3
    assert torch.equal(images, before)
    # What is refused, but for what needs a package, data or a place to start.
    assert all(words.startswith(f"foolbox:{name}: ") and "\n" not in words for name, words in refused.items())
    wrong_way = {name for name, words in refused.items() if ": expected an attack" in words}
    expected = TAKE_NO_TARGETS if targeted else {"GenAttack"}
    assert wrong_way == expected
    others = {"Attack", "BinarizationRefinementAttack", "DatasetAttack"}
    assert others <= set(refused) - wrong_way <= others | {name for name in CLASSES if "BrendelBethge" in name}


def test_what_foolbox_did_not_find_is_the_original_and_a_failure(small: tuple[nn.Module, Tensor, Tensor]) -> None:
    """Its placeholder is a black image: here even one of the class that was asked for."""
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), small[1]
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[0.01], [-0.01]]).expand(2, 64))
        model[1].bias.copy_(torch.tensor([-0.1, 0.1]))
    goal = Goal(torch.ones(3, dtype=torch.int64))
    assert goal.reached(model(torch.zeros_like(images))).all()
    assert not goal.reached(model(images)).any()
    arguments = {"steps": 1, "binary_search_steps": 1}
    for epsilon in (None, 0.5):
        found, _ = foolbox(
            model, images, goal, torch.Generator(), name="L2CarliniWagnerAttack", arguments=arguments, epsilon=epsilon
        )
        assert torch.equal(found, images)


def test_the_threat_model_fills_in_what_a_block_leaves_out() -> None:
    threat = {"linf": 0.2, "l2": 1.5}
    of_foolbox = {"name": "L2PGD", "arguments": {}}
    assert within_threat(attacks["fgsm"], {}, threat, "a") == {"epsilon": 0.2}
    assert within_threat(attacks["fgsm"], {"epsilon": 0.1}, threat, "a") == {"epsilon": 0.1}
    assert within_threat(attacks["ddn"], {"steps": 3}, threat, "a") == {"steps": 3}
    assert within_threat(attacks["foolbox"], of_foolbox, threat, "a") == {**of_foolbox, "epsilon": 1.5}
    pgd = load_attack("pgd")
    assert within_threat(pgd, {}, {"l2": 1.5}, "a") == {"norm": "l2", "epsilon": 1.5}
    assert within_threat(pgd, {"norm": "linf"}, threat, "a") == {"norm": "linf", "epsilon": 0.2}
    for block, words in (
        ({}, r"a\.norm: missing; expected one of linf, l2"),
        ({"norm": "l1"}, r"a\.epsilon: missing; the threat model has no budget in l1"),
        ({"norm": "l7"}, "pgd: expected a norm among l0, l1, l2, linf, found 'l7'"),
    ):
        with pytest.raises(PipelineError, match=words):
            within_threat(pgd, block, threat, "a")
    assert load_attack("jsma").budget_for({}) == Budget("allowed_fraction", "l0")


@pytest.mark.parametrize("way", [Goal, Evasion])
def test_outside_attacks_leave_labels_and_refuse_targets(
    small: tuple[nn.Module, Tensor, Tensor], way: type[Goal]
) -> None:
    model, images, labels = small
    if way is Evasion:
        model = nn.Sequential(model, nn.Unflatten(1, (1, 4)))
    goal = way(labels, targeted=False)
    for function in (square, autoattack):
        more: dict[str, Any] = {"norm": "linf", "epsilon": 0.5, "queries": 60}
        found, _ = function(model, images, goal, torch.Generator().manual_seed(1), **more)
        assert goal.reached(model(found)).all()
        with pytest.raises(PipelineError, match=f"^{function.__name__}: expected an attack that takes targets"):
            load_attack(function.__name__)(model, images, Goal(labels), torch.Generator(), **more)


def test_a_block_may_name_another_file() -> None:
    assert split_method("fgsm", {"epsilon": 1}, "a") == ("fgsm", {"epsilon": 1})
    assert split_method("strong", {"method": "pgd_linf", "steps": 9}, "a") == ("pgd_linf", {"steps": 9})
    assert split_method("fb", {"method": "foolbox", "name": "LinfPGD"}, "a") == ("foolbox", {"name": "LinfPGD"})


@pytest.mark.parametrize("block", [None, 3, ["epsilon"]])
def test_a_block_that_is_none_is_named(block: object) -> None:
    with pytest.raises(PipelineError, match=r"other_attacks\.x: expected a block of parameters, found"):
        split_method("x", block, "other_attacks.x")
    with pytest.raises(PipelineError, match=r"other_attacks\.x\.method: expected a text"):
        split_method("x", {"method": 3}, "other_attacks.x")


def test_budgets_are_in_the_attacks_own_norm() -> None:
    assert attacks["fgsm"].budget_for({}) == ("epsilon", "linf")
    assert attacks["ddn"].budget_for({}) is None
    for name, epsilon, norm in (("LinfPGD", 0.1, "linf"), ("L2PGD", 1.0, "l2"), ("DDNAttack", None, None)):
        found = attacks["foolbox"].budget_for({"name": name, "arguments": {}, "epsilon": epsilon})
        assert found == (norm and ("epsilon", norm))


def test_what_one_step_made_is_not_asked_for_again(digits: tuple[Classifier, Tensor, Tensor]) -> None:
    model, images, targets = digits
    passed, finished = 0, []

    def count(module: object, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal passed
        passed += len(output)

    handle = model[-1].register_forward_hook(count)
    rows = torch.arange(len(images))
    run_attack(attacks["fgsm"], model, images, rows, Goal(targets), 64, lambda *n: finished.append(n), epsilon=0.1)
    handle.remove()
    assert passed == len(images)
    assert sum(n for n, _ in finished) == len(images)
    assert {fooled for _, fooled in finished} == {None}


def test_an_image_that_is_fooled_is_not_tried_with_a_larger_budget() -> None:
    needs = torch.tensor([0.1, 0.5, 0.2, 9.0])
    tried = []

    def attempt(budget: float, rows: Tensor) -> Tensor:
        tried.append((budget, rows.tolist()))
        return needs[rows] <= budget

    within = fooled_within(attempt, 4, (0.5, 0.1, 0.3))
    assert [values.tolist() for values in within.values()] == [
        [True, False, False, False], [True, False, True, False], [True, True, True, False]
    ]  # fmt: skip
    assert tried == [(0.1, [0, 1, 2, 3]), (0.3, [1, 2, 3]), (0.5, [1, 3])]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("fgsm", {"epsilon": 0.2}),
        ("pgd_linf", {"epsilon": 0.2, "relative_step_size": 0.1, "steps": 5, "restarts": 2}),
        ("pgd_l2", {"epsilon": 1, "relative_step_size": 0.1, "steps": 5}),
        ("ddn", {"steps": 5}),
        ("jsma", {"allowed_fraction": 0.2, "positions_per_step": 2}),
    ],
)
def test_an_attack_computes_no_gradient_of_a_weight_and_no_more_passes_than_its_steps(
    digits: tuple[Classifier, Tensor, Tensor], name: str, more: dict[str, float]
) -> None:
    model, images, targets = digits
    passed, largest = 0, 0

    def count(module: object, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal passed, largest
        passed += len(output) * output.requires_grad
        largest = max(largest, len(output))
        assert not any(parameter.requires_grad for parameter in model.parameters())

    attack = load_attack(name)
    handle = model[-1].register_forward_hook(count)
    rows, draws = torch.arange(len(images)), torch.Generator().manual_seed(1)
    _, steps = run_attack(attack, model, images, rows, Goal(targets), 64, generator=draws, **more)
    handle.remove()
    assert int(steps.sum()) <= passed <= int(steps.sum()) + len(images)
    assert largest == 64
