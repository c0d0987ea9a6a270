"""What benchmarks/README.md answers, in its order."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks import generation_tables, gpu_tables, start_up_tables, tables, worker_tables

HEAD = """# Speed

What the engine, the attacks and the defenses take, beside what else there is; one question, one table. Written by `make results` from
`benchmarks/results/`: `make bench` once digits, mnist and cifar10 have been reproduced, but for `stage_costs`, `core_seconds` and `adversarial_training` (each by its own command) and `faults` (`tests/end_to_end/test_faults.py`), and `benchmarks/on_gpu.sh` on a GPU.
Goals are this project's own. Tables were measured at different times, on machines whose speed varies up to twofold under one name: compare within a table. *2 threads*: of the benchmark's own process; stages compute with one thread a process. `python -m benchmarks.<name> --help` tells how each does it.
"""


class Question(NamedTuple):
    """A chapter: its title, how the answer is measured, the result that its table is made of, and a figure's words.

    A result `gpu/<part>` stands for all parts that were measured on a GPU: its table is made of these. beside : a
    further result that the table takes.
    """

    title: str
    words: str
    result: str
    table: Callable[..., str]
    figure: str = ""
    beside: str = ""


QUESTIONS = (
    Question(
        "What does a study cost beside its computing?",
        "A small study from nothing, as `make demo` reproduces it after the installation; the same with commands that only copy finished outputs; "
        "and with nothing to do (`benchmarks/start_up.py`).",
        "start_up",
        start_up_tables.start_up_table,
    ),
    Question(
        "Which stage of a small study takes how long?",
        "Seconds as the stages say themselves, once imported; each run is a process of its own, and imports its script first.",
        "start_up",
        start_up_tables.stages_table,
    ),
    Question(
        "What does a whole study cost, and which stages keep the cores busy?",
        "Of each stage but `check_params`, which names no study, the last complete run, and what was cut off before it; cores busy: core-seconds over seconds and workers, of stages of a minute or more; *side_by_side*: all stages of a study, several at a time, each of which has no share of its own; the peak is of the stage's own process (`benchmarks/stage_costs.py`). Of cifar10 and cifar10-resnet20 mostly two stages ran at a time; their classifiers, and cifar10's dropout ensemble, autoencoders and adversarial training, were trained on another machine under the same name.",
        "stage_costs",
        start_up_tables.stage_costs_table,
    ),
    Question(
        "Where do a whole study's core-seconds go, and what was saved?",
        "Processor time of each stage's command, at an earlier commit and at a later one, in turns; a stage below one that wrote other bytes may write others for that reason alone (`benchmarks/core_seconds.py`). The goal was half: missed; the engine's passes were near what a CPU gives in float32 before (its ceiling is below). At 5ae1303 the attack on adversarial training costs twice as much, for it doubled its effort once more: the first doubling had broken at least 1 % of the originals. MNIST and CIFAR-10 were not compared so: each is hours at either commit.",
        "core_seconds",
        start_up_tables.core_seconds_table,
    ),
    Question(
        "Is the engine faster than the attack libraries on the same rule?",
        "Steps of one length along the normalized gradient of the target's log-probability. Ours stops each image at its first success; torchattacks, Foolbox and ART "
        "take the steps that 99.9 % success needs. They are given a frozen model with batch normalization folded, in channels_last, and their better batch, and so run near the "
        "ceiling too: what is left is the passes of the slowest image over the mean number of passes, less what ours loses at the end of a block, where its batch empties. Their versions: `requirements.txt`, `requirements-no-deps.txt` and `benchmarks/requirements.txt` of the day, no record of them was kept. Studies may have been measured on different machines of one name: compare ratios, not rates, between them (`benchmarks/generation.py`).",
        "generation",
        generation_tables.same_rule_table,
    ),
    Question(
        "And with every system at its best?",
        "Every system over its own step sizes, numbers of steps and radii, each peer with the batch that was faster for it; what fools at least 99.9 %. Ours: *ours*, the pipeline's `minimal`; "
        "*ours-normalized*, the same with steps of one length; *ours-minimum_norm*, a walk along the boundary to the nearest image. Each of our configurations that no other of ours beats in speed and length "
        "at once (what is in no row is beaten), and the fastest peer whose perturbations are no longer.",
        "generation",
        partial(generation_tables.best_table, leading="ours"),
        "images/s against mean L2",
    ),
    Question(
        "And seen from the peers' side?",
        "Each configuration of a peer that no other peer's beats in both, and the fastest of ours whose perturbations are no longer.",
        "generation",
        partial(generation_tables.best_table, leading="peers"),
    ),
    Question(
        "And with the paper's steps, by which the studies' sets are made?",
        "All step sizes of *ours*, the study's own marked. It is what the paper does, not the best that can be done: where ours is less than 1 times as fast, the library's perturbations are no longer, and sooner there.",
        "generation",
        generation_tables.paper_table,
        beside="metrics",
    ),
    Question(
        "How near is the engine to what the device gives?",
        "The fastest bare forward and input-gradient passes, over memory formats, batches and threads, the engine beside them, and where its time goes; *needed*: the passes of one step after the other, of which none is thrown away (`benchmarks/ceiling.py`). Measured one after the other: a share above 100 % says how much the machine's own speed varies.",
        "ceiling",
        tables.ceiling_table,
    ),
    Question(
        "Does time grow in proportion, and how much does memory?",
        "Step by step, of few images many repeated (`benchmarks/scaling.py`).",
        "scaling",
        tables.scaling_table,
        "time and memory against the number of images",
    ),
    Question(
        "What does each attack cost?",
        "A pass is one image through the classifier and back. JSMA shrinks its batch as images are fooled, and a small batch is slower (`benchmarks/attacks.py`).",
        "attacks",
        tables.speeds_table,
    ),
    Question(
        "Has the attack on whole defenses converged?",
        "What each leaves right of an adversarially trained classifier's originals at the stated budget, those that it gets wrong without an attack counted as broken. A pass is one image through the network, "
        "forward alone or back too; runs after the first go towards the next best other class (`benchmarks/convergence.py`).",
        "convergence",
        tables.convergence_table,
    ),
    Question(
        "What does longer adversarial training buy?",
        "The block `adversarial_training` of the study with other numbers, judged on held-out training images alone: without an attack, under PGD at the budget (20 steps, twice), and where the margin of each other class is raised too, as against whole defenses (`benchmarks/adversarial_training.py`).",
        "adversarial_training",
        tables.adversarial_training_table,
    ),
    Question(
        "What does an epoch of the GAC cost beside its forward and backward passes?",
        "Generator, classifier and both controls; the goal is a ratio of at most 1.25 (`benchmarks/gac.py`).",
        "gac",
        tables.gac_epochs_table,
    ),
    Question(
        "What does the dropout ensemble cost beside as many bare passes?",
        "Masks, votes, bookkeeping; the goal is a ratio of at most 1.25 (`benchmarks/dropout_ensemble.py`).",
        "dropout_ensemble",
        tables.ensemble_table,
    ),
    Question(
        "How much faster are several workers?",
        "The same bytes by this process, by local workers in turns with it, and once by two Ray nodes on this machine; the goal is 1.7 times with two. The adaptive attack is a short one, at a budget where every original falls, so that nothing is left to be doubled in few blocks; whole stages are in the next table (`benchmarks/workers.py`).",
        "workers",
        worker_tables.turns,
    ),
    Question(
        "Are both cores busy?",
        "Of whole stages, from the start of Python to the written file, the processes' own time over that of as many cores as workers; the goal is 85 % in long ones (`benchmarks/workers.py`).",
        "workers",
        worker_tables.busy,
    ),
    Question(
        "What does a block cost beside its work, and what travels?",
        "As pickled; on the network of two Ray nodes, of which one is the driver's own. The goal of one process: less than 1 % (`benchmarks/workers.py`).",
        "workers",
        worker_tables.block,
    ),
    Question(
        "What does the driver store a second, and does its memory grow?",
        "Sets of originals that are left as they are: through the mapper, the shards with their checksums, and the file, but nothing to compute (`benchmarks/workers.py`).",
        "workers",
        worker_tables.sets,
    ),
    Question(
        "And with 8 or 64 GPUs, and a million originals?",
        "Nine million rows, MNIST's size, one driver.",
        "workers",
        worker_tables.ahead,
        beside="gpu/generation_mnist",
    ),
    Question(
        "What do faults change?",
        "The minimal set of a small study of digits in blocks of 90 rows; no more blocks are begun again than workers or nodes were killed, and a round with other bytes would have ended it; *waited*: one of two runs said that it waits for the other (`tests/end_to_end/test_faults.py`).",
        "faults",
        worker_tables.faults,
    ),
    Question(
        "What do gradients in bfloat16 gain on a CPU?",
        "`precision: bfloat16`: gradients in bfloat16, every decision in float32, by a pass more where an image comes near the boundary. Both in turns, on one core, by the process' own time, classifiers trained short; "
        "an image that is not fooled in float32 does not count; no CPU with AMX was at hand (`benchmarks/precision.py`).",
        "precision",
        gpu_tables.precision,
    ),
    Question(
        "And bfloat16 in trainings, and in attacks on whole defenses?",
        "Trainings, and the ascent on a whole defense, whose images are judged in float32: short ones, in turns, on one core, by the process' own time; accuracies of 2,000 test images, robust accuracy of 50. The outcomes say whether precision changes them, not how good such short trainings are (`benchmarks/precision.py`).",
        "precision_uses",
        gpu_tables.precision_uses,
    ),
    Question(
        "And gradients in bfloat16 on a GPU?",
        "The same, on the card, in a run of 2026-11-26 (`benchmarks/on_gpu.sh`, parts `precision_*`).",
        "gpu/precision_mnist",
        gpu_tables.precision_on_gpu,
    ),
    Question(
        "GPU: does it compute the same there?",
        "Of this and all that follows: two runs of `benchmarks/on_gpu.sh` on 2026-11-26, whose results came with commits 4e50371 (sets made, ensembles) and f340197 (all else); no card was at hand since. Tests on the card: float64 gives the CPU's images, float32 its flags away from the boundary and within 0.1 % its norms, a repeat the same bytes; the host waits for the device once a step at most, and up to three times more a call (`tests/gpu`); in bfloat16, by a test on a CPU alone, twice a step.",
        "gpu/tests",
        gpu_tables.tests,
    ),
    Question(
        "GPU: how fast are the paper's sets made?",
        "From raw images to the stored file. The share is that of needed passes in bare ones at this batch, larger than today's in `pipeline/devices.py`, at which CIFAR-10's bare passes are about half of the best; the table above (*And gradients in bfloat16*) is of today's. "
        "Not built: pinned memory and a thread that reads ahead, which might shorten what is not the attack (`benchmarks/on_gpu.sh`, parts `generation_*`).",
        "gpu/generation_mnist",
        gpu_tables.generation,
    ),
    Question(
        "GPU: what does the card give, by batch, precision and order of memory?",
        "Bare forward and input-gradient passes a second. From this the row of `pipeline/devices.py` is made: in float32 large batches of CIFAR-10 run at about half the speed, and MNIST wants the contiguous order. "
        "CUDA graphs gain less than a tenth in float32; in bfloat16 they gain more, but no more than a batch twice as large does without them. Neither is used: in bfloat16 the engine was run at 2,048 images (the next table), whole sets only at 1,024.",
        "gpu/ceiling",
        gpu_tables.ceiling,
    ),
    Question(
        "GPU: how near is the engine?",
        "A block alone: at its end the batch empties to its slowest image, whose steps are launches of a millisecond or two.",
        "gpu/ceiling",
        gpu_tables.engine,
    ),
    Question(
        "GPU: is the engine faster than the attack libraries?",
        "The same rule as above, each at its faster batch; and the walks to the nearest image. On the same rule ours takes fewer passes an image, but makes fewer of them a second, for its batch runs empty at the end: the ratio is that of the passes per image times that of the passes/s.",
        "gpu/peers",
        gpu_tables.peers,
    ),
    Question(
        "GPU: is an ensemble faster folded into the batch?",
        "All passes of an image in one batch, or one after the other; the ratio is above 1 where folding gains; in batches of up to 16,384 images, today's table has 1,024.",
        "gpu/defenses",
        gpu_tables.defenses,
    ),
)
