"""Attacks: one file, one function of the same name, one block in params.yaml.

    def <name>(model, images, target_labels, *, <the block's keys>) -> (images, steps)

images: float (n, c, h, w) in [0, 1], where the attack starts; target_labels: int64 (n,); steps: int64
(n,), gradient steps taken per image. An attack that stops each image at its first success also names
its single step as `first_success_update(images, gradients, *, step_size)`; the engine then keeps its
batch full of unfinished images.
"""
