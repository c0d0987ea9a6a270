"""The paper's "vanilla classifier" beside `gac_vanilla`: same architecture, first weights and batches; no generator."""

from pipeline.defenses.undefended import undefended

gac_vanilla_control = undefended
