"""Runs the parts of `gpu_parts.py`, each to its JSON file, whatever becomes of the others. Called by on_gpu.sh.

The parts share one process, for a start of PyTorch and of the card costs seconds. A part that fails writes why and the
next begins; one that breaks the process or outlasts its limit is given up, and a new process does the rest. What does
not fit in `--seconds` says so. Imports no PyTorch itself.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

# In the order of importance, and how many seconds each may take.
LIMITS = {
    "generation_mnist": 90,
    "generation_cifar10": 120,
    "precision_mnist": 70,
    "precision_cifar10": 110,
    "ceiling": 90,
    "peers": 80,
    "defenses": 80,
}
TESTS = 100  # seconds
POLL = 0.1


class Runner:
    def __init__(self, out: Path, work: Path, seconds: float, small: bool, training: float) -> None:
        self.out, self.work = out, work
        self.started = time.monotonic()
        self.deadline = self.started + seconds
        self.small, self.training = small, training
        self.log = open(out / "log.txt", "a", buffering=1)  # noqa: SIM115

    def say(self, text: str) -> None:
        line = f"[{time.monotonic() - self.started:6.1f} s] {text}"
        print(line, flush=True)
        self.log.write(line + "\n")

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        flags = ["--small"] if self.small else []
        flags += ["--training", str(self.training)]
        command = [sys.executable, "-m", "benchmarks.gpu_parts", str(self.out), str(self.work), *flags, *words]
        return subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)

    def fail(self, part: str, why: str) -> None:
        self.say(f"{part}: {why}")
        so_far = self.work / f"{part}.partial.json"
        record = json.loads(so_far.read_text()) if so_far.exists() else {"part": part}
        (self.out / f"{part}.json").write_text(json.dumps({**record, "error": why}, indent=1) + "\n")

    def tests(self) -> None:
        """The tests that need a card, in a process of their own: what they break is theirs."""
        report = self.work / "tests.xml"
        command = [sys.executable, "-m", "pytest", "tests/gpu", "-q", "-s", "-rA", "-p", "no:cacheprovider"]
        command += ["-W", "default", f"--junitxml={report}"]
        started = time.monotonic()
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=min(TESTS, max(1, self.left())),
                text=True, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as expired:
            output = expired.stdout or b""
            self.log.write(output.decode() if isinstance(output, bytes) else output)
            self.fail("tests", f"over its limit of {TESTS} s")
            return
        self.log.write(done.stdout)
        lines = done.stdout.splitlines()
        kept = [line for line in lines if line.startswith(("PASSED", "FAILED", "ERROR", "SKIPPED", "E  "))]
        noted = [line for line in lines if " waits in " in line or " flags " in line]
        record = {
            "part": "tests", "summary": lines[-1] if lines else "", "returncode": done.returncode,
            "seconds": round(time.monotonic() - started, 1), "measured": noted, "tests": kept,
        }  # fmt: skip
        (self.out / "tests.json").write_text(json.dumps(record, indent=1) + "\n")
        self.say(f"tests: {record['summary']}")

    def parts(self, parts: Sequence[str]) -> None:
        remaining = list(parts)
        while remaining:
            if self.left() < 10:
                for part in remaining:
                    self.fail(part, "no time was left for it")
                return
            (self.work / "running").unlink(missing_ok=True)
            process = self.start(*remaining)
            remaining = self.watch(process, remaining)

    def watch(self, process: subprocess.Popen[bytes], parts: list[str]) -> list[str]:
        """Wait for the parts of a process; returns those that are still to be done."""
        begun, current, given_up = time.monotonic(), "", ""
        while process.poll() is None:
            time.sleep(POLL)
            name = self.running()
            if name != current:
                if current:
                    self.say(f"{current}: {time.monotonic() - begun:.1f} s")
                begun, current = time.monotonic(), name
            limit = LIMITS.get(current, 60)
            if time.monotonic() - begun > limit or self.left() <= 0:
                process.kill()
                process.wait()
                given_up = f"given up after {time.monotonic() - begun:.0f} s"
        if current:
            self.say(f"{current}: {time.monotonic() - begun:.1f} s")
        missing = [part for part in parts if not (self.out / f"{part}.json").exists()]
        stopped = self.running() or (missing[0] if missing else "")
        if stopped in missing:
            self.fail(stopped, given_up or f"the process broke, return code {process.returncode}; see log.txt")
        return [part for part in missing if not (self.out / f"{part}.json").exists()]

    def running(self) -> str:
        try:
            return (self.work / "running").read_text()
        except OSError:
            return ""


def failures(out: Path, parts: Sequence[str]) -> dict[str, str]:
    """Of the parts that left an error, or tests that failed, what they say."""
    found = {}
    for part in parts:
        record = json.loads((out / f"{part}.json").read_text())
        if why := record.get("error") or (record.get("returncode") and record["summary"]):
            found[part] = why
    return found


def folder(given: str, small: bool) -> Path:
    """Where results go: as given, else among the committed ones, which are a GPU's, or beside them."""
    if given:
        return Path(given)
    code = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    on_card = not small and subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    return Path("benchmarks/results/gpu" if on_card else ".work/gpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=330, help="all parts together; default: %(default)s")
    parser.add_argument("--parts", default=",".join(["tests", *LIMITS]), help="default: %(default)s")
    parser.add_argument("--small", action="store_true", help="as without a GPU")
    parser.add_argument("--training", type=float, default=1, help="share of each training's epochs; default: 1")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    unknown = set(parts) - {"tests", *LIMITS}
    if unknown:
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    out = folder(os.environ.get("OUT", ""), arguments.small)
    out.mkdir(parents=True, exist_ok=True)
    for part in parts:
        (out / f"{part}.json").unlink(missing_ok=True)
    (out / "log.txt").unlink(missing_ok=True)
    work = Path(tempfile.mkdtemp(prefix="on_gpu_"))
    runner = Runner(out, work, arguments.seconds, arguments.small, arguments.training)
    try:
        reader = runner.start("read")  # decodes images while the tests run
        if "tests" in parts:
            runner.tests()
        try:
            reader.wait(timeout=max(1, runner.left() / 2))
        except subprocess.TimeoutExpired:
            reader.kill()
        runner.say(f"raw images read, return code {reader.returncode}")
        runner.parts([part for part in LIMITS if part in parts])
    finally:
        shutil.rmtree(work, ignore_errors=True)
    failed = failures(out, parts)
    for part, why in failed.items():
        runner.say(f"{part} failed: {why}")
    runner.say("done")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
