"""Which device the work runs on, in which batches and order of memory, and by which arithmetic.

The table is committed and not measured at run time, because floating-point results depend on the
batch's shape: same table, same bytes. The CPU's row was the fastest of 16 to 256 on 2 cores (AMD EPYC).
The GPU's comes from an H100 (benchmarks/results/gpu), float32, forward and backward passes a second:

- attack: CIFAR-10 falls from 210,000 at 1,024 to 113,000 at 4,096; MNIST gains 10 % (contiguous) from 1,024 to 4,096.
- memory_format: contiguous is 20 % (1,024) to 41 % (4,096) faster on MNIST, and 4 % slower on CIFAR-10 at 1,024.
- block: each one ends with its slowest image alone, 629 steps on CIFAR-10, a millisecond or two each.
- folded: an ensemble of as many passes as images fill a batch; past 1,024 images it has the fall of `attack`.
"""

import ctypes
import math
import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from pipeline.errors import PipelineError
from pipeline.machine import cpu_model
from pipeline.pixels import LARGE


@dataclass(frozen=True)
class Batching:
    """Sizes of the work on one kind of device.

    attack, predict : images per pass, with input gradients and without. block : rows of an adversarial set that are
    made, kept and resumed together; at a block's end the batch drains to its slowest image. folded : images per pass
    when the passes of an ensemble are put into one batch; 0: a pass at a time, but in attacks on it, see `folding`.
    adaptive : into so many blocks at least a run of an attack on a defense is cut, for as many workers to have one.
    memory_format : of images and convolutions.
    """

    attack: int
    predict: int
    block: int
    folded: int
    adaptive: int
    memory_format: torch.memory_format


TABLE = {
    "cpu": Batching(attack=256, predict=256, block=4500, folded=0, adaptive=4, memory_format=torch.channels_last),
    "cuda": Batching(
        attack=1024, predict=8192, block=45000, folded=1024, adaptive=1, memory_format=torch.contiguous_format
    ),
}


# Of oneDNN's names for what it is kept to those that have bfloat16.
FAST_BFLOAT16 = re.compile("^$|^(ALL|DEFAULT)$|BF16|FP16|AMX|AVX10", re.IGNORECASE)


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


def check_bfloat16(device: torch.device) -> None:
    """Raise PipelineError where the device computes in bfloat16 no faster than in float32."""
    if device.type == "cuda":
        able, wanted = torch.cuda.is_bf16_supported(including_emulation=False), "a GPU with bfloat16 (Ampere or newer)"
    else:
        found = torch.cpu.get_capabilities()
        # What the CPU has, oneDNN may have been told not to use: it then takes several times as long.
        able = (found.get("amx_bf16") or found.get("avx512_bf16")) and FAST_BFLOAT16.search(_onednn_limit())
        wanted = "a CPU with AMX or AVX512-BF16, not shut off by ONEDNN_MAX_CPU_ISA, or a GPU"
    if not able:
        raise PipelineError(f"precision: bfloat16: expected {wanted}, found {describe_device(device)}; use float32")


def numerics(device: torch.device) -> dict[str, str]:
    """All that the bytes of a result depend on beside inputs, parameters and code.

    instructions : of a CPU what it has, for one name may stand for several CPUs, and what it was limited to.
    """
    about = {"kind": device.type, "device": describe_device(device), "torch": torch.__version__}
    if device.type == "cpu":
        has = [name for name, there in sorted(torch.cpu.get_capabilities().items()) if there is True]
        limits = [torch.backends.cpu.get_cpu_capability(), _onednn_limit()]
        about["instructions"] = " ".join([*has, *limits])
    return about


def _onednn_limit() -> str:
    """The instructions that oneDNN is kept to by the environment, "" if by nothing; it obeys the older name too."""
    return os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA", "")


def batching(device: torch.device, shape: Sequence[int] = ()) -> Batching:
    """The table's row for `device`.

    shape : of an image. Of more than LARGE values: so many fewer at a time that memory stays what it was.
    """
    row, times = TABLE[device.type], math.prod(shape) / LARGE
    if times <= 1:
        return row
    attack, predict, block = (max(1, int(size / times)) for size in (row.attack, row.predict, row.block))
    return replace(row, attack=attack, predict=predict, block=block)


def describe_device(device: torch.device) -> str:
    """The device in words, for metrics and reports: GPU name, or CPU model and threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{cpu_model()}, {threads} thread{'s' if threads > 1 else ''}"


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
