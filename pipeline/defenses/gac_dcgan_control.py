"""The paper's "vanilla classifier" beside `gac_dcgan`: same architecture, first weights and batches; no generator."""

from pipeline.defenses.undefended import undefended

gac_dcgan_control = undefended
