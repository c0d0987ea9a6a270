"""The autoencoder ensemble at its best: it learns from the classifier, and sees clean images too.

Not in the paper: a term of the loss on the classifier's logits, originals among the inputs, and on MNIST and CIFAR-10
a residual connection (params.yaml, trainings). How it predicts is the paper's ensemble.
"""

from pipeline.defenses.autoencoder_ensemble import autoencoder_ensemble

autoencoder_ensemble_tuned = autoencoder_ensemble
