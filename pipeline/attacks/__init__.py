"""Attacks: one file, one function of the same name, one block in params.yaml.

    def <name>(model, images, target_labels, *, <the block's keys>) -> (images, steps)

images: float (n, c, h, w) in [0, 1], where the attack starts; target_labels: int64 (n,); steps: int64
(n,), gradient steps taken per image. What a file may say beside:

- a fourth argument `generator`, for attacks that draw random numbers (a torch.Generator on the images' device);
- `budget = (parameter, norm)`, or a function of the arguments that returns it: the parameter that bounds the
  perturbation, and in which norm; its block then lists `budgets`, for a curve of success against it;
- `first_success_update(images, gradients, *, step_size)`, the single step of an attack that stops each image at its
  first success; the engine then keeps its batch full of unfinished images.
"""
