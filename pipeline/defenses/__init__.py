"""Defenses: one file, one key in a study's params. Its file holds what it tries, how it learns and how it predicts.

    \"\"\"Label, as the report shows it

    What it is, from where.
    \"\"\"

    def <name>(learned, images, generator, *, <parameters>) -> logits
    def learn(materials, *, <parameters>) -> Learned          # if it tries or learns anything
    def examine(materials, learned, *, <parameters>) -> Examined    # if there is more to be measured

    defense = Defense(predict=<name>, learn=learn, examine=examine, ...)

learned: the attacked classifier, images in [0, 1] to logits, or what the defense has learned in its place or in front
of it; images: float (n, c, h, w) in [0, 1]; generator: a torch.Generator on the images' device, for a defense that
draws random numbers. Returns the logits of every pass, float (n, passes, k). How passes become one prediction, and how
they differ from one another, is the same for all defenses: `metrics/votes.py`.

A family is a defense and its variants: they share what it has learned. `protocol.py` tells all of it in types.
What defenses share is in `shared/`, and there too the trials and the examination of one whose file would be too long.
"""
