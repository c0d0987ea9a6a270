"""`data/code/<study>/`: what code each stage, attack and defense is made of, and the defenses' labels.

DVC knows nothing of imports. These files tell it what each is made of, so that an edit reruns what reaches the edited
definition, and nothing else.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.artifacts.files import read_json, replacing


def write_fingerprint(path: Path, fingerprint: Mapping[str, str]) -> bool:
    """Write checksums by name, a line each, sorted; whether the file had to be written.

    Equal fingerprints give equal bytes, and a file that holds them already stays as it is, with its times.
    """
    text = json.dumps(dict(fingerprint), indent=0, sort_keys=True, ensure_ascii=False) + "\n"
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    with replacing(path) as part:
        part.write_bytes(text.encode())
    return True


def read_labels(path: Path) -> dict[str, str]:
    """What the report calls each defense. Raises PipelineError if the file is missing or no JSON."""
    labels: dict[str, str] = read_json(path, "the defenses' labels")
    return labels
