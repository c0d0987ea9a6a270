"""What every stage script shares: its words on the command line, its one-line errors, what it took and on what."""

import argparse
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from pipeline.artifacts.files import locked, told_by_system
from pipeline.artifacts.ran_on import write_device
from pipeline.errors import PipelineError
from pipeline.mapper import wanted
from pipeline.processes import last_words
from pipeline.registry import serve_own_files
from pipeline.studies import Study

WORK = Path(".work")
TIMES = WORK / "stage_times.csv"
CUT_OFF = "cut off"  # behind what a run took that was


def run(main: Callable[..., None], doc: str | None, key: str = "", computes: bool = False) -> None:
    """Parse `<study> [<key>]`, call `main(study)` or `main(study, key)`, and turn what a user can mend into one line.

    A second process of the same stage and words waits until the first is done.

    key : what the second word names ("attack", "defense"); left out, there is none.
    computes : whether the stage computes with PyTorch; it then writes down on which device.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of the study: a folder of studies/")
    if key:
        parser.add_argument("key", metavar=key, help=f"key of the {key} in the study's params")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    words = parser.parse_args()
    keys = [words.key] if key else []

    def work() -> None:
        study = Study(words.study)
        serve_own_files(study.folder)
        label = [Path(sys.argv[0]).stem, study.name, *keys]
        with locked(WORK / f"{'-'.join(label).replace('/', '_')}.lock", " ".join(label)):
            main(study, *keys)
            if computes:
                _record_device(study, "-".join([label[0], *keys]))

    command(work, words.debug, [words.study, *keys])


def command(main: Callable[[], None], debug: bool, labels: list[str]) -> None:
    """Call `main`; errors that a user can mend are one line on standard error and exit code 1.

    What it took becomes a line of TIMES; so it does of a run that is cut off, but for one that is killed at once.
    """
    note = partial(_note, " ".join(labels), time.perf_counter(), _core_seconds())
    last_words[:] = [partial(note, CUT_OFF)]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    for stream in (sys.stdout, sys.stderr):  # a locale of another encoding is no reason to fail
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    try:
        wanted()  # what is wrong with the environment, before any work
        main()
    except PipelineError as error:
        _fail(str(error), debug)
    except OSError as error:  # a full disk, a folder that may not be written
        _fail(f"{error.filename or 'input/output'}: {told_by_system(error)}", debug)
    except KeyboardInterrupt:
        note(CUT_OFF)
        print("interrupted: nothing is half written; run the same command again", file=sys.stderr)
        sys.exit(130)
    note()


def _note(labels: str, started: float, before: float, *mark: str) -> None:
    """Add a line to TIMES, of a run that was cut off with a mark; what a finished one took is said too."""
    seconds = time.perf_counter() - started
    core_seconds = _core_seconds() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = Path(sys.argv[0]).stem
    if not mark:
        print(f"{name}: {seconds:.1f} s, peak memory {peak:.0f} MiB", file=sys.stderr)
    try:
        WORK.mkdir(exist_ok=True)
        with open(TIMES, "a", encoding="utf-8") as log:
            took = f"{seconds:.1f}", f"{peak:.0f}", f"{core_seconds:.1f}", str(wanted().workers or "auto")
            log.write(",".join((name, labels, *took, *mark)) + "\n")
    except OSError as error:  # what was asked for is done
        print(f"{TIMES}: not written: {error.strerror or error}", file=sys.stderr)


def _core_seconds() -> float:
    """Processor time of this process and its local workers, also of those still alive; of a Ray cluster's not."""
    import psutil  # here: what runs no stage needs none

    ended = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(used.ru_utime + used.ru_stime for used in ended)
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            used = child.cpu_times()
            seconds += used.user + used.system
    return seconds


def _record_device(study: Study, stage: str) -> None:
    from pipeline.devices import describe_device

    write_device(study.path("device", stage), describe_device(study.device))


def _fail(message: str, debug: bool) -> None:
    if debug:
        raise
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)  # one line, whatever was found
    sys.exit(1)
