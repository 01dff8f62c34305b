"""Small tasks in lm-eval's own form: a YAML file beside its documents, one for each kind of output."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from PIL import Image

COLOURS = ("red", "blue", "green")

ROWS = [
    {"thing": thing, "gold": number % 3, "number": number}
    for number, thing in enumerate(["car", "dog", "tree", "sofa"])
]
SHOWN = [{"thing": thing, "gold": number % 3, "number": number + 10} for number, thing in enumerate(("cup", "hat"))]

CHOICE = """
task: toy-choice
output_type: multiple_choice
doc_to_text: "what colour is the {{thing}}?"
doc_to_target: "{{gold}}"
doc_to_choice: ["red", "blue", "green"]
metric_list:
  - metric: acc
  - metric: acc_norm
  - metric: exact_match
"""

WRITTEN = """
task: toy-written
output_type: generate_until
doc_to_text: "what colour is the {{thing}}?"
doc_to_target: "{{ ['red', 'blue', 'green'][gold] }}"
generation_kwargs: {until: ["the", "\\n\\n"], max_gen_toks: 7}
metric_list:
  - metric: exact_match
    ignore_case: true
filter_list:
  - name: whole
    filter: [{function: take_first}]
  - name: last-word
    filter: [{function: regex, regex_pattern: "(\\\\w+)\\\\W*$"}, {function: take_first}]
"""

NEXT = """
task: toy-next
output_type: loglikelihood
doc_to_text: "the colour of the {{thing}} is"
doc_to_target: " {{ ['red', 'blue', 'green'][gold] }}"
metric_list:
  - metric: acc
  - metric: perplexity
"""

WHOLE = """
task: toy-whole
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "the colour of the {{thing}} is nothing that anybody knows"
metric_list:
  - metric: word_perplexity
  - metric: bits_per_byte
"""

BLANK = """
task: toy-blank
output_type: multiple_choice
doc_to_text: "{{gold}}"
doc_to_target: " is what it is"
doc_to_choice: "{{ ['the red ' + thing, 'the blue ' + thing, 'the green ' + thing] }}"
metric_list: [{metric: acc}]
"""

MUTUAL = CHOICE.replace("toy-choice", "toy-mutual").replace(
    "- metric: acc\n", "- metric: acc\n  - metric: acc_mutual_info\n"
)

DRAWN = """
task: toy-drawn
output_type: generate_until
repeats: 3
doc_to_text: "what colour is the {{thing}}?"
doc_to_target: "red"
generation_kwargs: {until: [], max_gen_toks: 6, do_sample: true, temperature: 1.0, top_p: 0.9}
metric_list: [{metric: exact_match}]
filter_list:
  - name: first
    filter: [{function: take_first}]
  - name: most
    filter: [{function: majority_vote}, {function: take_first}]
"""

PICTURED = """
task: toy-pictured
output_type: generate_until
doc_to_text: "<image> and <image> which is {{thing}}?"
doc_to_image: [first, second]
doc_to_target: "{{gold}}"
generation_kwargs: {until: [], max_gen_toks: 4}
metric_list: [{metric: exact_match}]
"""

CHOSEN = """
task: toy-chosen
output_type: multiple_choice
doc_to_text: "the colour of this {{thing}} is"
doc_to_image: [first]
doc_to_target: "{{gold}}"
doc_to_choice: ["red", "blue", "green"]
metric_list: [{metric: acc}]
"""

TASKS = {
    "choice": CHOICE,
    "written": WRITTEN,
    "next": NEXT,
    "whole": WHOLE,
    "blank": BLANK,
    "mutual": MUTUAL,
    "drawn": DRAWN,
}
PICTURES = {"pictured": PICTURED, "chosen": CHOSEN}


def write(folder: Path, name: str, text: str | None = None, rows: Sequence[Any] = ROWS) -> Path:
    """A task's YAML file with its documents."""
    folder.mkdir(parents=True, exist_ok=True)
    text = text or (TASKS | PICTURES)[name]
    files = {"validation": list(rows), "train": SHOWN}
    if name in PICTURES:
        for split, held in files.items():
            features = datasets.Features(
                {**dict.fromkeys(("gold", "number"), datasets.Value("int64")), "thing": datasets.Value("string")}
                | dict.fromkeys(("first", "second"), datasets.Image())
            )
            table = datasets.Dataset.from_list([row | pictures(row["number"]) for row in held], features=features)
            table.to_parquet(str(folder / f"{name}-{split}.parquet"))
        paths = {split: str(folder / f"{name}-{split}.parquet") for split in files}
    else:
        for split, held in files.items():
            lines = "".join(json.dumps(row) + "\n" for row in held)
            (folder / f"{name}-{split}.jsonl").write_text(lines)
        paths = {split: str(folder / f"{name}-{split}.jsonl") for split in files}
    kind = "parquet" if name in PICTURES else "json"
    source = {"dataset_path": kind, "dataset_kwargs": {"data_files": paths}}
    splits = {"validation_split": "validation", "training_split": "train", "fewshot_split": "train"}
    (folder / f"{name}.yaml").write_text(
        text + "".join(f"{key}: {json.dumps(value)}\n" for key, value in (source | splits).items())
    )
    return folder / f"{name}.yaml"


def pictures(number: int) -> dict[str, Any]:
    """The two pictures of a row, as files hold them."""
    return {name: {"bytes": png(number, place), "path": None} for place, name in enumerate(("first", "second"))}


def png(number: int, place: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20 + place, 12), (25 * number % 256, 90 * place, 200)).save(stream, "PNG")
    return stream.getvalue()
