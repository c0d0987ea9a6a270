"""Adversarial input spaces of convolutional networks, and defenses against them."""
