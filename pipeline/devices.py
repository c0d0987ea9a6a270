"""Which device the work runs on, and in which batches; the memory format is channels_last everywhere.

The table is committed and not measured at run time, because floating-point results depend on the
batch's shape: same table, same bytes. The CPU's row was the fastest of 16 to 256 on 2 cores (AMD EPYC);
the GPU's is not measured yet.
"""

import ctypes
import sys
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Batching:
    """Images per pass on one kind of device: with input gradients, and without."""

    attack: int
    predict: int


TABLE = {
    "cpu": Batching(attack=256, predict=256),
    "cuda": Batching(attack=1024, predict=8192),
}


def choose_device() -> torch.device:
    """The GPU if PyTorch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prepare_device() -> torch.device:
    """The device that a stage runs on, this process made ready for it: one thread on a CPU, for threads change bytes."""
    keep_freed_memory()
    torch.set_num_threads(1)
    return choose_device()


def batching(device: torch.device) -> Batching:
    """The table's row for `device`."""
    return TABLE[device.type]


def describe_device(device: torch.device) -> str:
    """The device in words, for metrics and reports: GPU name, or CPU model and threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = "CPU"
    try:
        with open("/proc/cpuinfo") as lines:
            model = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), model)
    except OSError:
        pass
    threads = torch.get_num_threads()
    return f"{model}, {threads} thread{'s' if threads > 1 else ''}"


def keep_freed_memory() -> None:
    """Tell glibc to keep the activations' memory instead of returning it to the kernel after each pass.

    By default each large block is unmapped when freed and zeroed page by page when taken again: a
    third of the time of a forward and backward pass of our CNNs. Does nothing outside Linux.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return
    m_trim_threshold, m_mmap_threshold = -1, -3
    mallopt(m_mmap_threshold, 1 << 30)
    mallopt(m_trim_threshold, (1 << 31) - 1)
