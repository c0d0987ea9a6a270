"""Attacks: one method = one file = one function of the same name = one params block, and nothing else stands here.

To write one, put this into `pipeline/attacks/<name>.py` and a block `<name>` into a study's params:

    from pipeline.attacks.shared.goals import Goal
    from pipeline.attacks.shared.protocol import Attack, Budget

    def <name>(model, images, goal: Goal, [generator], *, <the block's keys>) -> (images, steps)

    attack = Attack(run=<name>, budget=Budget("epsilon", "linf"), ...)

model: images (n, c, h, w) in [0, 1] to logits, differentiable. images: float (n, c, h, w) in [0, 1], where the attack
starts; they are not changed. goal: what is to be reached, towards a target or away from the label, see `Goal`; an
attack asks it for what to raise (`score`, `lead`, `raised`) and whether it is `reached`, and so makes targeted sets and
attacks whole defenses, whose logits are of several passes, by the same lines. generator: a torch.Generator on the
images' device, for attacks that draw random numbers. The keyword-only parameters, with their ranges, are the block's
schema. Returned: adversarial images (n, c, h, w) in [0, 1] and the steps taken by each, int64 (n,).

What else there is to say of an attack (what bounds it, whether it draws random numbers, ...) are fields of `Attack`;
`shared.protocol.load_attack` finds it by its name. What attacks share is in `shared/`.
"""
