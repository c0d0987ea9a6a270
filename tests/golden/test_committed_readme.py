"""The numbers of full runs as git has them: what the README says of them."""

from typing import Any

from pipeline.reporting.formats import budget, rate
from pipeline.reporting.paper_numbers import reported
from pipeline.reporting.predicates import loses
from pipeline.side_by_side import SIDE_BY_SIDE
from tests.committed import committed_json
from tests.root import ROOT


def whole(entry: dict[str, float]) -> str:
    return f"{100 * entry['value']:.0f} %"


def with_interval(entry: dict[str, float]) -> str:
    return f"[{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"


def test_the_readme_says_what_the_metrics_say(metrics: dict[str, Any]) -> None:
    """Its paragraphs on what holds and what falls, figure by figure."""
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    cifar10, mnist = metrics["cifar10"], metrics["mnist"]
    thwarted = {
        name: {attack: whole(cifar10["defenses"][name][attack]["thwarted"]) for attack in ("minimal", "extended")}
        for name in ("dropout_ensemble", "autoencoder_ensemble")
    }
    dropout, autoencoder = thwarted.values()
    assert (
        f"the dropout ensemble thwarts {dropout['minimal']} of the minimal and {dropout['extended']} of the extended "
        f"images, the autoencoders {autoencoder['minimal']} and {autoencoder['extended']}"
    ) in readme
    for study, over, verdict, words in (
        (
            mnist,
            "over_control",
            "gain",
            "recovers {} points more of MNIST's minimal images than its control ({} trainings;",
        ),
        (mnist, "over_noise_control", "not shown", "which is not shown over a control that learns from noise, {},"),
        (metrics["digits"], "over_control", "not shown", "nor on digits, {},"),
        (cifar10, "over_control", "not shown", "nor on CIFAR-10, {} ({} trainings each;"),
    ):
        gain = study["gac"]["gac_dcgan"]["gain_on"]["minimal"][over]
        assert (
            words.format(f"{round(100 * gain['value'], 1) + 0:.1f} {with_interval(gain)}", gain["trainings"]) in readme
        )
        assert gain["verdict"] == verdict
    other = mnist["gac"]["gac_vanilla"]["gain_on"]
    gain, loss = (other[attack]["over_control"] for attack in ("minimal", "fgsm"))
    assert (
        f"on MNIST the other version gains {100 * gain['value']:.1f} {with_interval(gain)} and loses "
        f"{-100 * loss['value']:.1f} points on FGSM's."
    ) in readme
    assert (gain["verdict"], loss["verdict"]) == ("gain", "loss")
    kept = [study["defenses"]["autoencoder_ensemble"]["clean_accuracy"]["value"] for study in (cifar10, mnist)]
    assert reported(cifar10).autoencoder_clean == (0.6, 0.7)
    assert (
        "than the paper's (60 to 70 % of CIFAR-10's originals right): {:.1f} %, and {:.1f} % on MNIST;".format(
            *(100 * share for share in kept)
        )
    ) in readme
    blur = cifar10["defenses"]["gaussian_blur"]
    assert (
        f"a Gaussian blur, which learns nothing, {whole(blur['minimal']['thwarted'])} and "
        f"{whole(blur['extended']['thwarted'])}, at {100 * blur['clean_accuracy']['value']:.1f} %."
    ) in readme
    epochs = cifar10["gac"]["gac_dcgan"]["settings"]["training"]["epochs"]
    assert f"CIFAR-10's of {epochs} epochs, the paper's of {reported(cifar10).gac_epochs});" in readme
    longer = [
        study["attacks"]["minimal"]["l2"]["mean"] / reported(study).table_1["minimal"]["l2"]["mean"]
        for study in (mnist, cifar10)
    ]
    assert "in L2 {:.1f} (MNIST) and {:.1f} (CIFAR-10) times as long as the paper's.".format(*longer) in readme
    (digits,) = (costs for costs in committed_json("benchmarks/results")["stage_costs"] if costs["study"] == "digits")
    seconds = sum(stage["seconds"] for stage in digits["stages"] if stage["stage"] != SIDE_BY_SIDE)
    assert f"`dvc repro studies/digits/dvc.yaml` takes {seconds / 60:.0f} minutes" in readme
    robust = {name: mnist["adaptive"][name]["every_attack"] for name in (
        "undefended", "dropout_ensemble", "autoencoder_ensemble", "gac_dcgan", "adversarial_training",
    )}  # fmt: skip
    best = robust.pop("adversarial_training")
    assert len({tuple(entry.values()) for entry in robust.values()}) == 1
    assert f"all three keep {rate(robust['undefended'])} of the originals right, as the undefended classifier" in readme
    assert f"adversarial training keeps {rate(best)};" in readme
    known = {name: cifar10["adaptive"][name]["every_attack"] for name in cifar10["families"]}
    best = known.pop("adversarial_training")
    right = cifar10["adaptive"]["adversarial_training"]["clean_accuracy"]
    most = max(known.values(), key=lambda entry: entry["value"])
    assert budget(cifar10["adaptive"]["undefended"]["settings"]) == "L∞ 0.03137"  # 8/255
    assert (
        f"on CIFAR-10 at L∞ 8/255 they keep {rate(most)} at most, and it {rate(best)}, of {whole(right)} "
        "(one training each"
    ) in readme
    prices = [
        100 * cifar10["defenses"][name]["clean_accuracy"]["value"]
        for name in ("gaussian_noise_ensemble", "dropout_ensemble")
    ]
    noise = [
        [
            whole(study["defenses"][name]["minimal"]["thwarted"])
            for name in ("gaussian_noise_ensemble", "dropout_ensemble")
        ]
        for study in (mnist, cifar10)
    ]
    other = mnist["replicates"]
    again = [
        whole(other["defenses"][name]["minimal"]["thwarted"])
        for name in ("gaussian_noise_ensemble", "dropout_ensemble")
    ]
    assert (
        "on MNIST, {} against {} (over {} other trainings of the classifier {} against {}), ".format(
            *noise[0], other["count"], *again
        )
        + "and fewer on CIFAR-10, {} against {}, at {:.1f} and {:.1f} % of originals right there: ".format(
            *noise[1], *prices
        )
        + "not the same price"
    ) in readme
    split = {part: metrics["cifar10-resnet20"]["params"]["sources"][part] for part in ("train", "test")}
    assert f"ResNet-20's results are of {split['train']} originals a split." in readme
    assert split["train"] == split["test"]
    pair = "dropout_ensemble_minus_gaussian_noise_ensemble"
    verdicts = [study["comparisons"][pair]["minimal"]["thwarted"]["verdict"] for study in (mnist, cifar10)]
    assert verdicts == ["loss", "gain"]
    assert loses(cifar10["comparisons"][pair]["clean"]["recovered"])  # what dropout gains there it pays for
