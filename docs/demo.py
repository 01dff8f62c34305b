"""Makes the results that `flab dashboard --demo` shows: the bundled model and one of a shorter training, really asked.

    python docs/demo.py --training DIR

DIR is the --out of a finished `flab train flamingo-tiny`: its language model and its tower are taken, and only the last
stage is done again, in a fraction of the steps. Without it everything is trained.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from dashboard.kept import keep
from dashboard.pictures import Sources
from flamingo_lab.train import stages
from flamingo_lab.train.tiny import NAME, TINY, train

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "dashboard" / "demo"

SHORT = "flamingo-tiny-short"
SHORT_STEPS = 50
"""Steps of the shorter training's last stage, where flamingo-tiny takes 2,000."""

QUESTIONS = 200
ASKED = (
    *(("easy-vqa", shots, 0) for shots in (0, 4, 8)),
    *(("shapes-binding", shots, 0) for shots in (2, 4, 8)),
    *(("easy-vqa", 4, seed) for seed in (1, 2)),
)
"""Task, shots, and seed of what each model is asked."""


def main() -> None:
    """Train the second model, ask both, keep what the dashboard reads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training", type=Path, help="the --out of a finished flab train flamingo-tiny")
    parser.add_argument(
        "--short", type=Path, help="the folder of the shorter training's model, where there is one already"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        short = given.short or shorter(given.training, work / "training")
        shutil.copytree(short, work / SHORT)  # a run is named by its model's folder
        for model in (NAME, SHORT):
            for task, shots, seed in ASKED:
                ask(work, model, task, shots, seed)
        ship(work / "results")
    size = sum(file.stat().st_size for file in DEMO.rglob("*") if file.is_file())
    print(f"{DEMO.relative_to(ROOT)}: {size / 1e6:.1f} MB")


def shorter(training: Path | None, out: Path) -> Path:
    """The folder of the model of the shorter training."""
    out.mkdir()
    if training is not None:
        for stage in (stages.LANGUAGE, stages.TOWER):
            shutil.copy(training / f"{stage}.pt", out)
    recipe = replace(TINY.join_recipe, steps=SHORT_STEPS)

    def say(stage: str, step: int, loss: float) -> None:
        if step % 50 == 0:
            print(f"{stage}: step {step}, loss {loss:.3f}", file=sys.stderr)

    return train(out, seed=0, progress=say, tiny=replace(TINY, join_recipe=recipe))


def ask(work: Path, model: str, task: str, shots: int, seed: int) -> None:
    """One run, by the command that its record will show."""
    command = f"eval --model {model} --tasks {task} --num-fewshot {shots} --seed {seed} --limit {QUESTIONS}"
    subprocess.run(
        [sys.executable, "-m", "flamingo_lab.cli", *command.split()],
        cwd=work,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def ship(results: Path) -> None:
    """Put records, samples and pictures where the package carries them; journals and locks have served."""
    shutil.rmtree(DEMO, ignore_errors=True)
    for record in sorted(results.glob("runs/*/run.json")):
        folder = DEMO / "runs" / record.parent.name
        folder.mkdir(parents=True)
        shutil.copy(record, folder)
        table = pq.read_table(record.parent / "samples.parquet")
        pq.write_table(table, folder / "samples.parquet", compression="zstd", compression_level=19)
    package = importlib.util.find_spec("easy_vqa")
    assert package is not None and package.origin is not None
    roots = (Path(package.origin).parent / "data", ROOT / "eval_tasks" / "data" / "shapes_binding" / "pictures.zip")
    kept = keep(DEMO, Sources(DEMO, roots))
    print(f"{kept} pictures kept", file=sys.stderr)


if __name__ == "__main__":
    main()
