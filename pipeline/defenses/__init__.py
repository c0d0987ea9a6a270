"""Defenses: one file, one function of the same name, one block in params.yaml.

    def <name>(classifier, images, generator, *, <the block's arguments>) -> logits

classifier: the attacked classifier, images in [0, 1] to logits, or what the defense has learned in front of it
(`artifacts/defenses.load_defended`); images: float (n, c, h, w) in [0, 1];
generator: a torch.Generator on the images' device, for a defense that draws random numbers. Returns the
logits of every pass, float (n, passes, k). How passes become one prediction, and how they differ from
one another, is the same for all defenses: `metrics/votes.py`.
"""
