"""The attacks beside the paper's on a network that knows digits: against Foolbox's, and what they spend."""

import foolbox as library
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from pipeline.attacks.ddn import ddn
from pipeline.attacks.foolbox import foolbox
from pipeline.attacks.minimum_norm import minimum_norm
from pipeline.attacks.pgd_l2 import pgd_l2
from pipeline.attacks.pgd_linf import pgd_linf
from pipeline.attacks.shared.engine import run_attack
from pipeline.attacks.shared.goals import Goal
from pipeline.attacks.shared.protocol import load_attack
from pipeline.errors import PipelineError
from pipeline.metrics.outcomes import margins
from pipeline.models.cnn import Classifier

FIXED = {"relative_step_size": 0.1, "steps": 20, "random_start": False}  # so that both walk the same way


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
    ours, _ = pgd_linf(model, images, Goal(targets), torch.Generator(), epsilon=epsilon, **FIXED)
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
    ours, _ = pgd_l2(model, images, Goal(targets), torch.Generator(), epsilon=epsilon, **FIXED)
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


def test_minimum_norm_needs_less_than_half_of_ddns_steps(digits: tuple[Classifier, Tensor, Tensor]) -> None:
    model, images, targets = digits
    norms = []
    for attack, steps in ((ddn, 40), (minimum_norm, 16)):
        found, _ = attack(model, images, Goal(targets), steps=steps)
        fooled = margins(model(found), targets) > 0
        assert fooled.float().mean() >= 0.999
        norms.append((found - images).flatten(1).norm(dim=1).mean())
    assert norms[1] <= norms[0]


def test_restarts_help_and_leave_what_is_fooled_alone(digits: tuple[Classifier, Tensor, Tensor]) -> None:
    model, images, targets = digits
    more = {"epsilon": 0.12, "relative_step_size": 0.5, "steps": 3}
    once, _ = pgd_linf(model, images, Goal(targets), torch.Generator().manual_seed(1), **more)
    fooled = margins(model(once), targets) > 0
    thrice, steps = pgd_linf(model, images, Goal(targets), torch.Generator().manual_seed(1), restarts=4, **more)
    assert torch.equal(thrice[fooled], once[fooled])
    assert (steps[fooled] == 3).all()
    assert 0 < fooled.sum() < (margins(model(thrice), targets) > 0).sum()


def test_what_one_step_made_is_not_asked_for_again(digits: tuple[Classifier, Tensor, Tensor]) -> None:
    model, images, targets = digits
    passed, finished = 0, []

    def count(module: object, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal passed
        passed += len(output)

    handle = model[-1].register_forward_hook(count)
    rows = torch.arange(len(images))
    run_attack(load_attack("fgsm"), model, images, rows, Goal(targets), 64, lambda *n: finished.append(n), epsilon=0.1)
    handle.remove()
    assert passed == len(images)
    assert sum(n for n, _ in finished) == len(images)
    assert {fooled for _, fooled in finished} == {None}


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
