"""What attacks share: their protocol and goals, balls, ascent, the engine, the evaluation of whole defenses."""
