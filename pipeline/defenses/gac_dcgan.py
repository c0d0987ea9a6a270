"""The Generative Adversarial Classifier, convolutional, after DC-GAN (paper, Section 3.3).

Trained against a generator of adversarial images (`training/gac.py`); alone it predicts, in one pass.
"""

from pipeline.defenses.undefended import undefended

gac_dcgan = undefended
