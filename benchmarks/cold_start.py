"""A hundred charts, from an empty process to the score: `flab eval`, a plain transformers loop, and lm-eval, turn by turn.

    python benchmarks/cold_start.py [--charts 100] [--repeats 3] [--sides flab,transformers,lm-eval]

A random LLaVA of 1.6 million parameters in llava-hf's layout answers the first questions of real ChartQA (`FLAB_DATA`), 16
new tokens each, greedily. Every turn of every side is a process of its own, start-up included; no side finds kept
features. Writes `reports/cold_start.md` and `.json`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine
import torch
from arithmetic import floor_operations, matmul_rate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import flamingo_lab as fl  # noqa: E402
from eval_tasks import task  # noqa: E402
from eval_tasks.plan import Settings, plan  # noqa: E402
from flamingo_lab.engine.plan import job  # noqa: E402
from tests.families import tiny_llava  # noqa: E402 - the makers of checkpoints stand with the tests
from tests.folders import DATA  # noqa: E402

REPORTS = Path(__file__).parent / "reports"

NEW_TOKENS = 16
BATCH = 8
AT_LEAST = 2.0

DECODER: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
}
TOWER: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 96,
}
TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %} {% endfor %}ASSISTANT:"
)

PLAIN = """
import json, sys
from pathlib import Path
import torch, transformers
from PIL import Image
folder, data, charts, batch, new = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])
torch.set_num_threads(2)
words = str(folder / "tokenizer.json")
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=words, padding_side="left", pad_token="<unk>")
images = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
model = transformers.LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
places = (model.config.vision_config.image_size // model.config.vision_config.patch_size) ** 2
rows = [row for part in ("human", "augmented") for row in json.loads((data / "test" / f"test_{part}.json").read_text())][:charts]
said = []
for first in range(0, len(rows), batch):
    part = rows[first : first + batch]
    texts = ["USER: " + "<image>" * places + "\\n" + row["query"] + " ASSISTANT:" for row in part]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    inputs.pop("token_type_ids", None)
    pixels = images([Image.open(data / "test" / "png" / row["imgname"]).convert("RGB") for row in part], return_tensors="pt")
    with torch.inference_mode():
        out = model.generate(**inputs, **pixels, max_new_tokens=new, min_new_tokens=new, do_sample=False)
    said += tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
assert len(said) == charts
print(sum(one.strip() == row["label"] for one, row in zip(said, rows)))
"""

LM_EVAL = """
import sys
from pathlib import Path
import lm_eval
from eval_tasks import task
from eval_tasks.lm_eval.export import exported
folder, data, charts, batch, new = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
found = lm_eval.simple_evaluate(
    model="hf-multimodal", model_args={"pretrained": folder, "dtype": "float32", "convert_img_format": True, "max_length": 4096},
    tasks=[exported(task.get("chartqa"), data)], batch_size=batch, device="cpu", limit=charts, apply_chat_template=True,
    gen_kwargs={"max_new_tokens": new, "min_new_tokens": new, "do_sample": False},
)
print(found["results"])
"""


def write_model(folder: Path) -> int:
    """The checkpoint with what each side needs beside the weights; gives its number of parameters."""
    import transformers

    model = tiny_llava.write_converted(folder, DECODER, TOWER, seed=1)
    side = TOWER["image_size"]
    images = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
        "do_convert_rgb": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens({"pad_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"})
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    processor = {
        "processor_class": "LlavaProcessor",
        "patch_size": TOWER["patch_size"],
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "image_token": "<image>",
    }
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return sum(parameter.numel() for parameter in model.parameters())


def commands(folder: Path, data: Path, charts: int, results: Path) -> dict[str, list[str]]:
    """What each side's process is given."""
    python = sys.executable
    told = [str(folder), str(data), str(charts), str(BATCH), str(NEW_TOKENS)]
    ours = ["eval", "--model", str(folder), "--tasks", "chartqa", "--data", str(data), "--limit", str(charts)]
    ours += ["--max-new-tokens", str(NEW_TOKENS), "--dtype", "float32", "--results", str(results)]
    return {
        "flab": [python, "-m", "flamingo_lab.cli", *ours],
        "transformers": [python, "-c", PLAIN, *told],
        "lm-eval": [python, "-c", LM_EVAL, *told],
    }


def operations(folder: Path, data: Path, charts: int) -> int:
    """The arithmetic that no side can avoid."""
    model = fl.load(folder, dtype="float32", device="cpu")
    assert isinstance(model, fl.LoadedModel)  # a folder of one model is one
    settings = Settings(data=data, limit=charts, max_new_tokens=NEW_TOKENS)
    asked = plan(model, task.get("chartqa"), settings).asked
    return floor_operations(model, [job(model, one.request) for one in asked], NEW_TOKENS)


def seconds(command: list[str]) -> float:
    """Of the whole process. Ends this one with what it said, if it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{command[:4]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return took


def main() -> int:
    """Measure every side in turn, write the report, and fail where less is reached than is asked for."""
    parser = machine.options(__doc__)
    parser.add_argument("--charts", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sides", default="flab,transformers,lm-eval")
    parser.add_argument("--out", type=Path, default=REPORTS)
    told = parser.parse_args()
    data = DATA / "chartqa"
    sides = told.sides.split(",")
    took: dict[str, list[float]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        parameters = write_model(folder)
        unavoidable = operations(folder, data, told.charts)
        torch.set_num_threads(2)
        rate = matmul_rate(torch.float32)
        for turn in range(told.repeats):
            for side in sides:
                took[side].append(seconds(commands(folder, data, told.charts, Path(scratch) / f"results-{turn}")[side]))
                print(f"{side}: {took[side][-1]:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    medians = {side: statistics.median(held) for side, held in took.items()}
    others = [side for side in sides if side != "flab"]
    ratio = statistics.median(
        min(took[side][turn] for side in others) / took["flab"][turn] for turn in range(told.repeats)
    )
    floor = unavoidable / rate / medians["flab"]
    title = "A hundred charts from a cold start" if told.charts == 100 else f"{told.charts} charts from a cold start"
    lines = [
        f"# {title}",
        "",
        f"`{machine.command()}`, {datetime.now(UTC):%Y-%m-%d}, {machine.facts()}; load {os.getloadavg()[0]:.1f}.",
        "",
        f"LLaVA of {parameters / 1e6:.1f} M parameters in llava-hf's layout, {NEW_TOKENS} new tokens, whole processes, "
        f"median of {told.repeats} turns. The faster other side takes {ratio:.2f} x our time (asked for {AT_LEAST:g} x).",
        f"The arithmetic that cannot be avoided would take {100 * floor:.0f} % of our time at the measured rate of a product.",
        "",
        "| side | seconds |",
        "| --- | ---: |",
        *(f"| {side} | {spent:.1f} |" for side, spent in medians.items()),
    ]
    (told.out / "cold_start.md").write_text("\n".join(lines) + "\n")
    measured = f"{datetime.now(UTC):%Y-%m-%d}, {machine.facts()}"
    row = {"title": title, "seconds": took, "ratio": ratio, "at_least": AT_LEAST, "floor": floor, "machine": measured}
    (told.out / "cold_start.json").write_text(json.dumps([row], indent=1) + "\n")
    if ratio < AT_LEAST:
        print(f"the faster other side takes {ratio:.2f} x our time, {AT_LEAST:g} x asked for", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
