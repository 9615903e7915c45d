"""Time training steps and predictions, ours against PyTorch, JAX and onnxruntime: python scripts/benchmark.py --help

Every contender runs in a child process of its own, with the same weights and the same fresh batches; they take turns,
and the median of the rounds counts, since machines are noisy. A contender whose loss and gradients of the first step
(or whose outputs) differ from ours is not timed. Each is timed as it comes and with its memory allocator tuned.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, sleep
from typing import IO, Any

from workloads import FORWARD, WORKLOADS, Workload, allocated, first_step, gemm_peak, peak, resident, serving, shares
from workloads import training as our_training

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
TUNED = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}
RIVALS = ("torch", "compile", "jax", "onnxruntime", "one-thread")  # the last is ourselves, on one thread
JOBS = [*WORKLOADS, *(f"{name}-forward{batch}" for batch in (1, 256) for name in FORWARD)]
CHECK = "check"  # the child that leaves what the first step of all contenders must agree with
TURN = 0.3  # seconds a round of predictions, about
PAUSE = 0.15  # seconds before a round: threads of BLAS and of others stay awake for a tenth
Row = dict[str, Any]


def parts(job: str) -> tuple[Workload, int]:
    """(the workload of a job, how many examples it predicts: 0 where it trains)"""
    name, _, batch = job.partition("-forward")
    return (WORKLOADS[FORWARD[name]], int(batch)) if batch else (WORKLOADS[name], 0)


def contenders(job: str, against: list[str]) -> list[str]:
    """Their names; the second word is a variant."""
    work, batch = parts(job)
    layouts = [variant for variant in work.rivals if not batch or variant != "sparse"] or [""]
    found = ["ours"]
    for rival in against:
        if rival == "torch":
            found += [f"torch {variant}".strip() for variant in layouts]
        elif (rival == "onnxruntime") == bool(batch):
            found.append(rival)
    return found


# --- what a child does ----------------------------------------------------------------------------------------------


def steps_of(contender: str, job: str, folder: Path) -> Iterator[Any]:
    """What it does each time it is asked."""
    work, batch = parts(job)
    if contender == "ours":  # the check is of a whole batch at once, which a training never holds
        subprocess.run([sys.executable, __file__, job, "--child", CHECK, "--folder", str(folder)], check=True)
        return serving(work, batch) if batch else our_training(work)
    if contender == "one-thread":
        return our_training(work, threads=1)
    import rivals

    if contender == "onnxruntime":
        return rivals.onnx_serving(work, folder, str(os.getpid()), batch)
    if contender == "jax":
        return rivals.jax_training(work, folder, "")
    variant = "compile sparse" if contender == "compile" and work.rivals == ("sparse",) else contender
    return rivals.torch_serving(work, folder, variant, batch) if batch else rivals.torch_training(work, folder, variant)


def child(contender: str, job: str, folder: Path) -> None:
    """Warm up and say so; then answer every line on standard input: "round" with seconds a step, else with facts.

    A round begins with a pause, in which the threads of the one before fall asleep, and with as long a time of steps
    that do not count: whoever comes out of a wait has all threads on one processor at first.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to standard error
    work, batch = parts(job)
    if contender == CHECK:
        first_step(work, folder)
        return
    if contender not in ("ours", "one-thread"):
        import rivals

        rivals.load(contender)
    work.data()
    imported = resident()
    steps = steps_of(contender, job, folder)
    began = perf_counter()
    for _ in range(5):
        next(steps)
    count = max(1, round(5 * TURN / (perf_counter() - began))) if batch else work.steps
    print("ready", file=answers)
    for line in sys.stdin:
        if line.strip() == "round":
            sleep(PAUSE)
            warm = perf_counter() + PAUSE
            while perf_counter() < warm:
                next(steps)
            began = perf_counter()
            for _ in range(count):
                next(steps)
            print((perf_counter() - began) / count, file=answers)
        else:
            facts: Row = {"peak": max(0, peak() - imported)}
            if contender == "ours":
                facts["allocated"] = allocated(steps)
                if not batch:
                    facts |= shares(work)
            print(json.dumps(facts), file=answers)


# --- what the parent does -------------------------------------------------------------------------------------------


class Contender:
    """A child process that runs rounds when told to."""

    def __init__(self, kind: str, job: str, folder: Path, tuned: bool) -> None:
        self.kind, self.tuned = kind, tuned
        environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"} | (TUNED if tuned else {})
        self.errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, __file__, job, "--child", kind, "--folder", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )
        self.times: list[float] = []

    def answer(self, question: str = "") -> str:
        """What it says, to a question where there is one. Raises ChildProcessError where it says nothing more."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            if question:
                self.process.stdin.write(question + "\n")
                self.process.stdin.flush()
            said = self.process.stdout.readline()
        except BrokenPipeError:
            said = ""
        if not said:
            self.process.wait()
            self.errors.seek(0)
            lines = [line for line in self.errors.read().splitlines() if line.strip()]
            raise ChildProcessError(lines[-1] if lines else f"exit status {self.process.returncode}")
        return said

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def measure(job: str, against: list[str], rounds: int) -> Row:
    """One job's medians: {"job", "times": {contender: [seconds, seconds with the allocator tuned]}, "peaks": likewise,
    "failed": {contender: why}, and facts about ours}"""
    row: Row = {"job": job, "times": {}, "peaks": {}, "failed": {}}
    with tempfile.TemporaryDirectory() as folder:
        running = [Contender("ours", job, Path(folder), False)]
        try:
            running[0].answer()  # it leaves the first step for the others to compare
            running += [
                Contender(kind, job, Path(folder), tuned)
                for kind in contenders(job, against)
                for tuned in (False, True)
                if tuned or kind != "ours"
            ]
            for each in running[1:]:
                try:
                    each.answer()
                except ChildProcessError as error:
                    row["failed"][each.kind] = str(error)
            running = [each for each in running if each.kind not in row["failed"]]
            for turn in range(rounds + 1):
                for each in running:
                    seconds = float(each.answer("round"))
                    if turn:  # the first one warms up
                        each.times.append(seconds)
            for each in running:
                facts = json.loads(each.answer("facts"))
                pair = row["peaks"].setdefault(each.kind, [None, None])
                pair[each.tuned] = facts.pop("peak")
                row["times"].setdefault(each.kind, [None, None])[each.tuned] = statistics.median(each.times)
                if not each.tuned:
                    row |= facts
        finally:
            for each in running:
                each.close()
    return row


def best(row: Row, wanted: Callable[[str], bool]) -> float | None:
    """The least time of some contenders, whatever the allocator."""
    return min((min(pair) for kind, pair in row["times"].items() if wanted(kind)), default=None)


def ratio(row: Row, rival: str) -> float | None:
    """The time of a rival, in its best variant, over ours with its better allocator setting."""
    theirs, ours = best(row, lambda kind: kind.split()[0] in rival.split()), best(row, lambda kind: kind == "ours")
    return theirs / ours if theirs and ours else None


# --- tables ---------------------------------------------------------------------------------------------------------


def machine() -> Row:
    """What the figures belong to. BLAS is timed with the kernel that it picks by itself."""
    import numpy as np
    from threadpoolctl import threadpool_info

    versions = {"python": sys.version.split()[0], "numpy": np.__version__}
    for name in ("torch", "jax", "onnxruntime"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    blas: Row = next((pool for pool in threadpool_info() if pool["user_api"] == "blas"), {})
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": model[1] if model else "",
        "cores": len(os.sched_getaffinity(0)),
        "blas": f"{blas.get('internal_api')} {blas.get('version')}, {blas.get('architecture')} kernels",
        "blas_threads": blas.get("num_threads"),
        "gemm_peak": gemm_peak(),
        "versions": versions,
    }


def tables(rows: list[Row], about: Row) -> str:
    """The figures of docs/benchmarks.md."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"Measured on {about['cores']} cores of {about['processor']}; {versions}; BLAS: {about['blas']}, "
        f"{about['blas_threads']} threads at most, {about['gemm_peak'] / 1e9:.0f} GFLOP/s in a product of 1024 × 1024.",
        "",
        "A training step, in milliseconds (allocator as it comes / tuned); the ratio is that to PyTorch's best.",
        "",
        "| workload | ours | PyTorch eager | torch.compile | JAX | PyTorch / ours | of the peak |",
        "|---|---|---|---|---|---|---|",
    ]
    trained = [row for row in rows if "-forward" not in row["job"]]
    for row in trained:
        share = row["flops"] / min(row["times"]["ours"]) / about["gemm_peak"]
        cells = [_milliseconds(row, each) for each in ("ours", "torch", "compile", "jax")]
        lines.append(f"| `{row['job']}` | {' | '.join(cells)} | {_ratio(row, 'torch compile')} | {share:.0%} |")
    lines += [
        "",
        "What such a step of ours spends on one thread, what it allocates when warm, and the most memory that the",
        "process holds above what it held with its imports and data (ours; the least of PyTorch's). The shares",
        "are measured apart, and overlap.",
        "",
        "| workload | products | copies | calls and update | allocates | memory | PyTorch's |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in trained:
        theirs = [min(filter(None, pair)) for kind, pair in row["peaks"].items() if kind.startswith("torch")]
        figures = f"{row['products']:.0%} | {row['copies']:.0%} | {min(1.0, row['calls']):.0%}"
        memory = f"{min(row['peaks']['ours']) / 2**20:.0f} MiB | {min(theirs) / 2**20:.0f} MiB" if theirs else " | "
        lines.append(f"| `{row['job']}` | {figures} | {row['allocated'] / 2**10:.0f} KiB | {memory} |")
    lines += [
        "",
        "Predictions, in milliseconds a batch (allocator as it comes / tuned).",
        "",
        "| workload | ours | PyTorch eager | onnxruntime | PyTorch / ours | onnxruntime / ours |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "-forward" in row["job"]:
            cells = [_milliseconds(row, each) for each in ("ours", "torch", "onnxruntime")]
            ratios = f"{_ratio(row, 'torch')} | {_ratio(row, 'onnxruntime')}"
            lines.append(f"| `{row['job']}` | {' | '.join(cells)} | {ratios} |")
    return "\n".join(lines)


def _milliseconds(row: Row, rival: str) -> str:
    pairs = [pair for kind, pair in row["times"].items() if kind.split()[0] == rival]
    if not pairs:
        return "–"
    return " / ".join(f"{min(pair[i] for pair in pairs) * 1e3:.3g}" for i in range(2))


def _ratio(row: Row, rival: str) -> str:
    found = ratio(row, rival)
    return "–" if found is None else f"{found:.2f}"


def write(text: str, whole: bool) -> None:
    """Put the tables into docs/benchmarks.md, between its two marks; of some workloads alone, their rows."""
    page = PAGE.read_text("utf-8")
    begin, end = "<!-- figures -->\n", "<!-- end of figures -->"
    before, _, rest = page.partition(begin)
    old, _, after = rest.partition(end)
    new = f"\n{text}\n\n" if whole else with_rows(old, text)
    PAGE.write_text(f"{before}{begin}{new}{end}{after}", "utf-8")


def with_rows(old: str, new: str) -> str:
    """The old tables, each row of which that the new ones have as well replaced: by its name, the n-th for the n-th"""
    rows: dict[str, list[str]] = {}
    for line in new.splitlines():
        if line.startswith("| `"):
            rows.setdefault(line.split("`")[1], []).append(line)
    lines = []
    for line in old.split("\n"):
        found = rows.get(line.split("`")[1], []) if line.startswith("| `") else []
        lines.append(found.pop(0) if found else line)
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0] + ".")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"{', '.join(JOBS)} (default: all)")
    parser.add_argument("--against", nargs="+", default=[], metavar="RIVAL", help=f"any of {', '.join(RIVALS)}, or all")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="how often they take turns (default: 7)")
    parser.add_argument("--json", action="store_true", help="print one JSON value on standard output")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write the tables of docs/benchmarks.md, or the rows of those workloads that are named",
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    against = list(RIVALS) if arguments.against == ["all"] else arguments.against
    for given, known, what in ((arguments.workloads, JOBS, "workload"), (against, RIVALS, "rival")):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"there is no {what} {unknown[0]!r}: choose from {', '.join(known)}")
    if arguments.child:
        child(arguments.child, arguments.workloads[0], arguments.folder)
        return 0
    os.environ.pop("OPENBLAS_CORETYPE", None)
    about, rows = machine(), []
    for job in arguments.workloads or JOBS:
        row = measure(job, against, max(1, arguments.rounds))
        rows.append(row)
        pieces = [f"{who} {_milliseconds(row, who)} ms" for who in dict.fromkeys(k.split()[0] for k in row["times"])]
        pieces += [f"{who} failed ({why})" for who, why in row["failed"].items()]
        found = ratio(row, "torch compile onnxruntime jax")
        tail = f"   {found:.2f} × as fast as the best of them" if found else ""
        if alone := ratio(row, "one-thread"):
            tail += f"   {alone:.2f} × as fast as on one thread"
        print(f"{job:<18} {'   '.join(pieces)}{tail}", file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps(about | {"rows": rows}, indent=1))
    if arguments.write:
        write(tables(rows, about), whole=not arguments.workloads)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
