"""What every stage script shares: its options, its one-line errors, its running time."""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import PipelineError

TIMES = Path(".work/stage_times.csv")


def run(main: Callable[[argparse.Namespace], None], doc: str | None, **options: str) -> None:
    """Parse `--<option>` arguments, call `main`, and turn what a user can mend into one line.

    `options` maps each option to its help text; all are required but those whose help begins with "optional", which
    are None when left out. After that word, an option whose help begins with "path" is parsed to a Path, one that
    begins with "paths" to a list of them, and one that begins with "names" to a list of texts.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, text in options.items():
        words = text.removeprefix("optional ")
        kind = Path if words.startswith("path") else str
        many = "+" if words.startswith(("paths", "names")) else None
        option, needed = f"--{name.replace('_', '-')}", words == text
        parser.add_argument(option, required=needed, type=kind, nargs=many, help=text, metavar=name.upper())
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="default: %(default)s")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args()
    started = time.perf_counter()
    try:
        main(arguments)
    except PipelineError as error:
        _fail(str(error), arguments.debug)
    except OSError as error:  # a full disk, a folder that may not be written
        _fail(f"{error.filename or 'input/output'}: {error.strerror or error}", arguments.debug)
    except KeyboardInterrupt:
        print("interrupted: nothing was written; run the same command to go on", file=sys.stderr)
        sys.exit(130)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = Path(sys.argv[0]).stem
    print(f"{name}: {seconds:.1f} s, peak memory {peak:.0f} MiB", file=sys.stderr)
    TIMES.parent.mkdir(exist_ok=True)
    with open(TIMES, "a") as log:
        given = [vars(arguments)[key] for key in ("dataset", "attack", "defense") if key in options]
        labels = " ".join(" ".join(words) if isinstance(words, list) else str(words) for words in given)
        log.write(f"{name},{labels},{seconds:.1f},{peak:.0f}\n")


def _fail(message: str, debug: bool) -> None:
    if debug:
        raise
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
