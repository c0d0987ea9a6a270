"""Votes of several passes, their disagreement, and what is thwarted and recovered by them."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.defenses.dropout_ensemble import dropout_ensemble
from pipeline.defenses.undefended import undefended
from pipeline.metrics.evaluation import evaluate, judge
from pipeline.metrics.votes import summarize_passes
from pipeline.models.cnn import Classifier
from tests.networks import normalized
from tests.seeds import seeded


@pytest.fixture
def network() -> Classifier:
    return normalized()


def hand_made() -> Tensor:
    """Two images, four passes, three classes, as logits of known softmax scores."""
    scores = torch.tensor(
        [
            [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.3, 0.6, 0.1]],  # 2 : 2, a tie
            [[0.2, 0.2, 0.6], [0.1, 0.1, 0.8], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2]],  # 1 : 0 : 3
        ],
        dtype=torch.float64,
    )
    return scores.log()


def test_votes_and_disagreement_of_a_hand_made_case() -> None:
    found = summarize_passes(hand_made())
    assert found["votes"].tolist() == [[2, 2, 0], [1, 0, 3]]
    assert found["predicted"].tolist() == [0, 2]  # the tie goes to the higher mean score: 0.45 against 0.425
    torch.testing.assert_close(found["vote_variance"], torch.tensor([0.5, 1 - 10 / 16], dtype=torch.float64))
    scores = hand_made().exp().numpy()
    mean = scores.mean(1)
    entropy = -(mean * np.log(mean)).sum(1)
    single = -(scores * np.log(scores)).sum(2).mean(1)
    torch.testing.assert_close(found["score_variance"], torch.from_numpy(scores.var(1).mean(1)))
    torch.testing.assert_close(found["predictive_entropy"], torch.from_numpy(entropy))
    torch.testing.assert_close(found["mutual_information"], torch.from_numpy(entropy - single))
    torch.testing.assert_close(found["max_probability"], torch.from_numpy(mean.max(1)))


def test_a_full_tie_goes_to_the_lowest_class() -> None:
    scores = torch.tensor([[[0.1, 0.5, 0.4], [0.1, 0.4, 0.5]]], dtype=torch.float64)
    assert summarize_passes(scores.log())["predicted"].tolist() == [1]


def test_votes_depend_on_their_own_set_alone(network: Classifier) -> None:
    """The second half of a set, evaluated on its own as a later part, gets the votes it got in the whole."""
    images = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8, generator=seeded())

    def defense(model: nn.Module, batch: Tensor, generator: torch.Generator) -> Tensor:
        return dropout_ensemble(model, batch, generator, passes=5, rate=0.5)

    whole = evaluate(defense, network, images, 10, seeded)
    part = evaluate(defense, network, images[20:], 10, seeded, first_batch=2)
    assert [list(v) for v in whole["votes"][20:]] == [list(v) for v in part["votes"]]
    again = evaluate(defense, network, images, 10, seeded)
    assert whole.drop(columns="votes").equals(again.drop(columns="votes"))


def test_judging_keeps_thwarted_and_recovered_apart(network: Classifier) -> None:
    images = torch.randint(256, (6, 1, 8, 8), dtype=torch.uint8, generator=seeded())
    frame = evaluate(undefended, network, images, 4, seeded)
    frame["predicted"] = [1, 2, 3, 1, 2, 3]
    labels = frame["predicted"].to_numpy().astype("uint8") * 0 + 2
    targets = labels * 0 + 3
    judged = judge(frame, labels, targets)
    assert judged["thwarted"].tolist() == [True, True, False, True, True, False]
    assert judged["recovered"].tolist() == [False, True, False, False, True, False]
    clean = judge(frame, labels, None)
    assert clean["thwarted"].isna().all()
    assert clean["target_label"].isna().all()
