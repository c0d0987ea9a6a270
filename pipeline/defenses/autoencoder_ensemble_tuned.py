"""The autoencoder ensemble at its best: it corrects the image, learns from the classifier, and sees clean images too.

Not in the paper: a residual connection, a term of the loss on the classifier's logits, originals among the inputs,
and mirrored images (params.yaml). How it predicts is the paper's ensemble.
"""

from pipeline.defenses.autoencoder_ensemble import autoencoder_ensemble

autoencoder_ensemble_tuned = autoencoder_ensemble
