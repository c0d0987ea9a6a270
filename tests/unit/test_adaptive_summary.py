"""What is said of the attacks on a whole defense: robust accuracy, tripwires, lengths."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.metrics.adaptive import broken_against_length, median_with_interval, summarize_adaptive

OTHERS: dict[str, Any] = {
    "others": {"square": {}, "autoattack": {}}, "gradient_free": ["square"], "left_out": {}, "resubmissions": 1,
    "doublings": {"pgd_doubled": 2, "pgd_doubled_twice": 4},
}  # fmt: skip


def attempts_frame(rows: list[tuple[str, float, int, bool]]) -> pd.DataFrame:
    """attack, epsilon, original, broken; every score grows with the original's number."""
    frame = pd.DataFrame(rows, columns=["attack", "epsilon", "original", "broken"])
    broken = frame[frame["epsilon"].fillna(0) <= 0.2].groupby("original")["broken"].any()
    worst = frame[frame["attack"] == "none"].assign(attack="worst", epsilon=0.2)
    worst["broken"] = broken[worst["original"]].to_numpy()
    frame = pd.concat([frame, worst], ignore_index=True).assign(resubmitted=np.nan, label_share=1.0)
    return frame.assign(l2=frame["original"] + 1.0, linf=0.5, logit_margin=-frame["original"].astype(float))


def test_summary_carries_success_on_and_raises_the_tripwires() -> None:
    rows = [("none", np.nan, i, i == 9) for i in range(10)]
    rows += [("pgd", 0.1, i, i < 2) for i in range(9)]
    rows += [("pgd", 0.2, i, i < 5) for i in range(2, 9)]
    rows += [("pgd_doubled", 0.2, i, True) for i in range(2, 9)]
    rows += [("quiet", 0.2, i, True) for i in range(9)]
    rows += [("shortest", np.nan, i, i < 4) for i in range(9)]
    rows += [(attack, 0.2, i, attack == "square") for attack in ("transfer", "square", "autoattack") for i in range(9)]
    settings = {"norm": "linf", "epsilons": (0.1, 0.2), "budget": 0.2, "sanity_originals": 10, **OTHERS}
    static = pd.DataFrame(
        {"score": ["logit_margin"], "attack": ["minimal"], "negatives": ["clean"], "auc": [0.9], "defense": ["a"]}
    )
    check = {"zero_gradients": 0.5, "softmax": 0.0, "random": 0.0, "cost": 3.0}
    found = summarize_adaptive(attempts_frame(rows), settings, check, static)
    assert [found["linf"][e]["value"] for e in ("0", "0.1", "0.2")] == pytest.approx([0.9, 0.7, 0.0])  # of all attacks
    assert found["clean_accuracy"] == found["linf"]["0"]
    assert found["l2_median"]["value"] == 4.5  # 0, 1, ..., 9: of all attacks, one wrong as it is
    assert found["l2_median_right"]["value"] == 5
    assert found["l2_curve"]["broken"][0] == pytest.approx(0.1)  # the error rate
    assert found["sanity"]["adaptive"]["value"] == pytest.approx(0.4)
    assert found["sanity"]["square"]["value"] == 0
    assert found["sanity"]["transfer"]["value"] == pytest.approx(0.9)
    assert found["every_attack"]["value"] == 0
    assert found["doubled"]["change"]["value"] == pytest.approx(-0.4)
    raised = {name for name, wire in found["tripwires"].items() if wire["raised"]}
    assert raised == {"zero_gradients", "doubled"}  # square's four to none of ten: p is 0.125
    assert found["doubled"]["times"] == 2
    assert found["randomness"] is None
    assert found["doubled"]["change"]["p"] == found["sanity"]["lead"]["square"]["p"] == 0.125
    assert found["sanity"]["lead"]["square"]["value"] == pytest.approx(0.4)
    assert found["sanity"]["lead"]["autoattack"]["value"] == pytest.approx(-0.5)
    assert found["detection"] == {"score": "logit_margin", "static_auc": 0.9, "adaptive": None}  # nine are too few
    twice = [(attack, epsilon, 10 + i, broken) for attack, epsilon, i, broken in rows]
    found = summarize_adaptive(attempts_frame(rows + twice), {**settings, "sanity_originals": 20}, check, static)
    assert found["detection"]["adaptive"]["images"] == 18
    assert found["detection"]["adaptive"]["auc"] == pytest.approx(0.5)
    near = attempts_frame([(*row[:3], row[0] == "shortest" or row[3]) for row in rows if row[0] != "square"])
    quiet = near["attack"].isin(("quiet", "pgd_doubled"))
    near.loc[quiet, "broken"] = False
    near.loc[near["attack"] == "worst", "broken"] = near["original"].lt(5) | near["original"].eq(9)
    assert summarize_adaptive(near, settings, check, static)["every_attack"]["value"] == pytest.approx(0.4)
    # The shortest perturbations count within what they are; at the budget the last vote on the strongest images does.
    near["linf"] = 0.05
    half = summarize_adaptive(near, {**settings, "epsilons": (0.1, 0.2, 0.3)}, check, static)["linf"]
    assert [half[epsilon]["value"] for epsilon in ("0.1", "0.2", "0.3")] == pytest.approx([0.4, 0.4, 0])
    assert found["cost"] == 3.0


@pytest.mark.parametrize(("moved", "of", "raised"), [(1, 100, True), (1, 200, False), (0, 100, False)])
def test_a_doubling_that_moves_robust_accuracy_by_a_point_raises_a_wire(moved: int, of: int, raised: bool) -> None:
    """The last doubling counts: four times as much, where twice moved it."""
    check = {"zero_gradients": 0.0, "softmax": 0.0, "random": 0.0, "cost": 1.0}
    settings = {"norm": "linf", "epsilons": (0.1,), "budget": 0.1, "sanity_originals": 1, **OTHERS}
    static = pd.DataFrame({"score": ["logit_margin"], "attack": ["minimal"], "negatives": ["clean"], "auc": [0.9]})
    rows = [(attack, epsilon, i, False) for attack, epsilon in (("none", np.nan), ("pgd", 0.1)) for i in range(of)]
    rows += [("pgd_doubled", 0.1, i, i < 10) for i in range(of)]
    rows += [("pgd_doubled_twice", 0.1, i, i < 10 + moved) for i in range(10, of)]
    found = summarize_adaptive(attempts_frame(rows), settings, check, static)
    assert found["doubled"]["times"] == 4
    assert found["doubled"]["robust_accuracy"]["value"] == pytest.approx(1 - (10 + moved) / of)
    assert found["doubled"]["change"]["value"] == pytest.approx(-moved / of)
    assert found["tripwires"]["doubled"]["raised"] is raised


def test_the_settings_say_which_other_attacks_there_are() -> None:
    check = {"zero_gradients": 0.0, "softmax": 0.0, "random": 0.0, "cost": 1.0}
    settings = {"norm": "linf", "epsilons": (0.1,), "budget": 0.1, "sanity_originals": 20}
    settings |= {**OTHERS, "others": {"mine": {}, "blind": {}}, "gradient_free": ["blind"]}
    static = pd.DataFrame({"score": ["logit_margin"], "attack": ["minimal"], "negatives": ["clean"], "auc": [0.9]})
    rows = [("none", np.nan, i, False) for i in range(20)] + [("pgd", 0.1, i, False) for i in range(20)]
    rows += [("mine", 0.1, i, i < 15) for i in range(20)] + [("blind", 0.1, i, False) for i in range(20)]
    found = summarize_adaptive(attempts_frame(rows), settings, check, static)
    assert found["every_attack"]["value"] == pytest.approx(0.25)
    assert set(found["sanity"]) == {"adaptive", "lead", "mine", "blind"}
    assert found["tripwires"]["mine"]["raised"]
    assert not found["tripwires"]["black_box"]["raised"]


def test_tripwires_compare_the_same_originals() -> None:
    """Six to none are within the interval of a rate, and beyond chance as a difference; four to none are not."""
    check = {"zero_gradients": 0.0, "softmax": 0.0, "random": 0.0, "cost": 1.0}
    settings = {"norm": "linf", "epsilons": (0.1, 0.2), "budget": 0.1, "sanity_originals": 100, **OTHERS}
    static = pd.DataFrame({"score": ["logit_margin"], "attack": ["minimal"], "negatives": ["clean"], "auc": [0.9]})
    for more, expected in ((6, {"black_box", "autoattack", "doubled"}), (4, {"doubled"}), (0, set())):
        rows = [("none", np.nan, i, False) for i in range(100)]
        rows += [("pgd", 0.1, i, i < 50) for i in range(100)] + [("pgd", 0.2, i, True) for i in range(50, 100)]
        rows += [
            (attack, 0.1, i, i < 50 + more) for attack in ("pgd_doubled", "square", "autoattack") for i in range(100)
        ]
        found = summarize_adaptive(attempts_frame(rows), settings, check, static)
        assert {name for name, wire in found["tripwires"].items() if wire["raised"]} == expected
        assert found["sanity"]["lead"]["square"]["value"] == pytest.approx(more / 100)


def test_a_median_may_be_infinite() -> None:
    assert median_with_interval(np.array([1.0, 2.0, 3.0]))["value"] == 2
    found = median_with_interval(np.array([1.0, np.inf, np.inf]))
    assert found["value"] is None
    assert found["low"] == 1


def test_a_wrong_original_needs_nothing_and_is_told_apart() -> None:
    """Half of ten are wrong as they are: the median over all is near 0, over the right ones it is not."""
    check = {"zero_gradients": 0.0, "softmax": 0.0, "random": 0.0, "cost": 1.0}
    settings = {"norm": "linf", "epsilons": (0.1,), "budget": 0.1, "sanity_originals": 10, **OTHERS}
    static = pd.DataFrame({"score": ["logit_margin"], "attack": ["minimal"], "negatives": ["clean"], "auc": [0.9]})
    rows = [("none", np.nan, i, i < 6) for i in range(10)] + [("pgd", 0.1, i, True) for i in range(6, 10)]
    rows += [("shortest", np.nan, i, True) for i in range(6, 10)]
    examples = attempts_frame(rows).assign(l2=2.0)
    found = summarize_adaptive(examples, settings, check, static)
    assert found["l2_median"]["value"] == 0
    assert found["l2_median_right"]["value"] == 2
    assert found["l2_curve"] == {"l2": [0.0, 2.0], "broken": [0.6, 1.0]}
    wrong = examples[examples["attack"] == "none"].assign(broken=True)
    assert summarize_adaptive(wrong, settings, check, static)["l2_median_right"] is None


def test_the_curve_of_lengths_starts_at_the_error_rate_and_rises_to_what_was_found() -> None:
    needed = np.r_[0, 0, np.linspace(1, 2, 197), np.inf]
    found = broken_against_length(needed)
    assert found["broken"][0] == pytest.approx(0.01)
    assert found["broken"][-1] == pytest.approx(0.995)
    assert found["broken"] == sorted(found["broken"])
    assert len(found["l2"]) == len(found["broken"]) <= 61
    for length, share in zip(found["l2"], found["broken"], strict=True):
        assert share == pytest.approx((needed <= length).mean())
