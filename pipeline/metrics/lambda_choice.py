"""Which lambda the Generative Adversarial Classifier is trained with (paper, Section 3.3).

Apart from `gains`, so that another rule retrains nothing.
"""

import pandas as pd

# Clean accuracy that a lambda may cost, against the control: a gain that is paid for with more is no defense's.
ALLOWED_LOSS = 0.01


def choose_lambda(trials: pd.DataFrame) -> dict[str, float]:
    """For each defense the lambda of the largest gain, among trainings that did not fail; rows of GacTrial.

    Only those count whose accuracy on unseen originals is at most ALLOWED_LOSS below the control's. A defense without
    any is left out.
    """
    lost = trials["control_clean_accuracy"] - trials["clean_accuracy"]
    kept = trials[(trials["status"] == "ok") & (lost <= ALLOWED_LOSS)]
    best = kept.loc[kept.groupby("defense", sort=False)["gain"].idxmax()]
    return dict(zip(best["defense"], best["lambda_"].astype(float), strict=True))
