"""What K random examples a question cost where the training split is one large Parquet data set, as VQAv2's is.

    python benchmarks/shots_from_parquet.py [--rows 443757] [--questions 2000] [--shots 4] [--side 8]

Makes a data set of VQAv2's size and form in a temporary folder, in groups of 100 rows as `datasets` writes pictures, with
pictures of noise of so many pixels a side, and plans a run on it. Beside it the plain way: the same examples, looked at in the
order of the questions. Writes benchmarks/reports/shots_from_parquet.md.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from eval_tasks import parquet, shots, task  # noqa: E402
from eval_tasks import plan as plans  # noqa: E402
from eval_tasks.plan import Plan, Settings  # noqa: E402
from flamingo_lab.host import peak_bytes  # noqa: E402
from tests.doubles import Scripted  # noqa: E402

REPORT = Path(__file__).parent / "reports" / "shots_from_parquet.md"
GROUP = 100
FILE_ROWS = 20_000


def rows(start: int, end: int, side_px: int, noise: np.random.Generator) -> list[dict[str, Any]]:
    """Questions of VQAv2's form, three a photograph."""
    made: list[dict[str, Any]] = []
    for number in range(start, end):
        stream = io.BytesIO()
        Image.fromarray(noise.integers(0, 256, (side_px, side_px, 3), np.uint8)).save(stream, "PNG")
        answers = [{"answer": str(number % 97), "answer_confidence": "yes", "answer_id": n + 1} for n in range(10)]
        made.append(
            {
                "question_id": number,
                "image_id": number // 3,
                "question": f"how many things are on shelf {number}?",
                "question_type": "how many",
                "answer_type": "number",
                "answers": answers,
                "image": {"bytes": stream.getvalue(), "path": f"{number}.png"},
            }
        )
    return made


def data_set(folder: Path, name: str, count: int, side_px: int, seed: int) -> int:
    """A split in files of some thousand rows; its bytes on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed)
    for number, start in enumerate(range(0, count, FILE_ROWS)):
        table = pa.Table.from_pylist(rows(start, min(count, start + FILE_ROWS), side_px, noise))
        pq.write_table(table, folder / f"{name}-{number:05d}.parquet", row_group_size=GROUP)
    return sum(file.stat().st_size for file in folder.glob(f"{name}-*.parquet"))


def planned(data: Path, questions: int, count: int) -> tuple[Plan, float, int]:
    """A plan with so many examples a question, its seconds of processor, and the groups of pictures that were read."""
    parquet._group.cache_clear()  # pyright: ignore[reportPrivateUsage]
    began = time.process_time()
    made = plans.plan(Scripted(), task.get("vqav2"), Settings(data=data, num_fewshot=count, limit=questions))
    return made, time.process_time() - began, parquet._group.cache_info().misses  # pyright: ignore[reportPrivateUsage]


def plainly(run: Callable[[], tuple[Plan, float, int]]) -> tuple[Plan, float, int]:
    """The same where nothing is looked at ahead."""
    ahead = shots.Shots._look_ahead  # pyright: ignore[reportPrivateUsage]
    shots.Shots._look_ahead = lambda self, order, pool: None  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    try:
        return run()
    finally:
        shots.Shots._look_ahead = ahead  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


def main() -> None:
    """Measure, print and write."""
    parser = machine.options(__doc__)
    for name, usual in (("rows", 443_757), ("questions", 2_000), ("shots", 4), ("side", 8)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary)
        size = data_set(data / "data", "train", asked.rows, asked.side, 0)
        data_set(data / "data", "validation", asked.questions, asked.side, 1)
        began = time.process_time()
        pool = task.get("vqav2").samples("train", data)
        read_seconds = time.process_time() - began
        held = peak_bytes() / 2**30
        del pool

        def run() -> tuple[Plan, float, int]:
            return planned(data, asked.questions, asked.shots)

        ours, plain = run(), plainly(run)
    assert ours[0].run_id == plain[0].run_id
    text = [
        "# Examples from a large Parquet data set",
        "",
        f"{asked.rows:,} training rows ({size / 2**20:,.0f} MiB, groups of {GROUP}), {asked.questions:,} questions with "
        f"{asked.shots} random examples each. `{machine.command()}`, {machine.facts()}.",
        "",
        f"Reading all questions of the split, without pictures: {read_seconds:.1f} s of processor, {held:.2f} GiB at the peak.",
        "",
        "| way | seconds of processor for the plan | groups of pictures read |",
        "| --- | --- | --- |",
        f"| looked at ahead, in the order of the files | {ours[1]:.1f} | {ours[2]:,} |",
        f"| one question after the other | {plain[1]:.1f} | {plain[2]:,} |",
        "",
        "Both plans are the same run.",
        "",
    ]
    print("\n".join(text))
    REPORT.write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
