"""Which device the work runs on, in which batches, and by which arithmetic; channels_last everywhere.

The table is committed and not measured at run time, because floating-point results depend on the
batch's shape: same table, same bytes. The CPU's row was the fastest of 16 to 256 on 2 cores (AMD EPYC);
the GPU's is not measured yet.
"""

import ctypes
import sys
import warnings
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Batching:
    """Sizes of the work on one kind of device.

    attack, predict : images per pass, with input gradients and without. block : rows of an adversarial set that are
    made, kept and resumed together; at a block's end the batch drains to its slowest image. folded : images per pass
    when the passes of an ensemble are put into one batch; 0: a pass at a time.
    """

    attack: int
    predict: int
    block: int
    folded: int


TABLE = {
    "cpu": Batching(attack=256, predict=256, block=4500, folded=0),
    "cuda": Batching(attack=4096, predict=8192, block=22500, folded=16384),
}


def choose_device() -> torch.device:
    """The GPU if PyTorch sees one, else the CPU; its arithmetic is fixed, see `fix_numerics`."""
    fix_numerics()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prepare_device() -> torch.device:
    """The device that a stage runs on, this process made ready for it: one thread on a CPU: threads change bytes."""
    keep_freed_memory()
    torch.set_num_threads(1)
    return choose_device()


def fix_numerics() -> None:
    """IEEE float32 in convolutions and matrix products, and cuDNN's deterministic algorithms, whatever was set before.

    cuDNN's own choice on a GPU is TF32, ten bits of mantissa, and of several algorithms any. On a CPU nothing changes.
    """
    with warnings.catch_warnings():
        # The newer fp32_precision sets no older flag, and PyTorch refuses to read those once the two disagree.
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def numerics(device: torch.device) -> dict[str, str]:
    """All that the bytes of a result depend on beside inputs, parameters and code."""
    return {"kind": device.type, "device": describe_device(device), "torch": torch.__version__}


def batching(device: torch.device) -> Batching:
    """The table's row for `device`."""
    return TABLE[device.type]


def describe_device(device: torch.device) -> str:
    """The device in words, for metrics and reports: GPU name, or CPU model and threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = "CPU"
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
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
