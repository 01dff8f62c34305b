"""A small ChartQA folder in the authors' layout."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

TEST = {"human": 4, "augmented": 3}
TRAIN = {"human": 3, "augmented": 3}


def write(root: Path) -> Path:
    """Pictures of one colour each; in every split, two questions about the first picture of each kind."""
    for split, counts in (("test", TEST), ("train", TRAIN)):
        png = root / "ChartQA Dataset" / split / "png"
        png.mkdir(parents=True)
        for kind, count in counts.items():
            rows: list[dict[str, str]] = []
            for number in range(count):
                name = f"{kind}-{max(0, number - 1)}.png"
                colour = (40 * number, 255 if split == "test" else 0, 200 if kind == "human" else 90)
                if not (png / name).exists():
                    Image.new("RGB", (24, 18), colour).save(png / name)
                rows.append({"imgname": name, "query": f"how much is {number}?", "label": str(number)})
            (png.parent / f"{split}_{kind}.json").write_text(json.dumps(rows))
    return root
