"""The difference that a defense's claim rests on."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Contrast:
    """The one difference that a defense's claim rests on, named in its file.

    over : what it is compared with: a variant's key, or the role of another model that the family learns. attack,
    outcome : on which images ("clean" too), and in what, "thwarted" or "recovered".
    """

    over: str
    attack: str = "minimal"
    outcome: str = "recovered"

    def as_dict(self) -> dict[str, str]:
        return asdict(self)
