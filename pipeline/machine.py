"""The machine in words. Without torch, so that stages that need none start quickly."""

from pathlib import Path


def describe_machine() -> str:
    """For metrics and reports: the GPUs' model, or the CPU's, with the one thread that a stage computes with."""
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = dict(line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines() if ":" in line)
        if "Model" in lines:
            return lines["Model"].strip()
    return f"{cpu_model()}, 1 thread"


def cpu_model() -> str:
    """The CPU's model, or "CPU" where the system does not tell."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            return next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), "CPU")
    except OSError:
        return "CPU"
