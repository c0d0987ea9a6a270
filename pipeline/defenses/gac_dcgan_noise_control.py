"""`gac_dcgan` with random noise of the same L2 norm in place of the generator's perturbation. Not in the paper."""

from pipeline.defenses.undefended import undefended

gac_dcgan_noise_control = undefended
