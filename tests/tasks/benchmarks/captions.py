"""Captions and boxes: COCO, Flickr30k, nocaps, TextCaps, RefCOCO, RefCOCO+ and RefCOCOg."""

from __future__ import annotations

import pickle
from pathlib import Path

from tests.tasks.benchmarks import FILES, HUB, Tiny, builds, parquet, picture, stored, write

TWO = ["A cup on a table.", "There is a red cup."]


def karpathy(root: Path, name: str, **more: object) -> None:
    """A picture in each of Karpathy's splits."""
    rows = [
        {
            "filename": f"{9 + number}.jpg",
            "split": split,
            "sentences": [{"raw": text, "tokens": text.split()} for text in TWO],
            **more,
            **({"cocoid": 9 + number} if more else {}),
        }
        for number, split in enumerate(("test", "train", "test"))
    ]
    write(root / name, {"images": rows})


@builds("coco-caption", FILES)
def coco_caption(root: Path) -> Tiny:
    karpathy(root, "dataset_coco.json", filepath="val2014")
    for image in (9, 10, 11):
        picture(root / "val2014" / f"COCO_val2014_{image:012d}.jpg", image)
    return Tiny("test", ["9", "11"], "coco-9", shots=True)


def coco(root: Path, name: str, year: str) -> None:
    """COCO's own file of captions, of two photographs."""
    images = [{"id": image, "file_name": "x", "width": 640, "height": 480} for image in (9, 11)]
    captions = [{"id": n, "image_id": image, "caption": text} for image in (9, 11) for n, text in enumerate(TWO)]
    write(root / name, {"images": images, "annotations": captions})
    for image in (9, 11):
        picture(root / year / f"COCO_{year}_{image:012d}.jpg", image)


@builds("coco-caption", HUB)
def coco_caption_hub(root: Path) -> Tiny:
    row = {"question_id": "COCO_val2014_000000000009.jpg", "question": "?", "answer": TWO, "id": 9, "width": 640}
    parquet(root / "data" / "val-00000-of-00001.parquet", [row | {"height": 480, "image": stored(9)}])
    return Tiny("val2014", ["9"], "coco-9", {"picture size": "0.3 to 1 MP"})


@builds("flickr30k", FILES)
def flickr30k(root: Path) -> Tiny:
    karpathy(root, "dataset_flickr30k.json")
    for image in (9, 10, 11):
        picture(root / "flickr30k-images" / f"{image}.jpg", image)
    return Tiny("test", ["9", "11"], "9.jpg", shots=True)


@builds("flickr30k", HUB)
def flickr30k_hub(root: Path) -> Tiny:
    karpathy(root, "dataset_flickr30k.json")
    rows = [{"image": stored(n), "caption": TWO, "filename": f"{n}.jpg", "img_id": str(n)} for n in (9, 10, 11)]
    parquet(root / "data" / "test-00000-of-00001.parquet", rows)
    return Tiny("test", ["9", "11"], "9.jpg", shots=True)


@builds("nocaps", FILES)
def nocaps(root: Path) -> Tiny:
    images = [
        {
            "id": n,
            "file_name": f"{n}a.jpg",
            "open_images_id": f"{n}a",
            "width": 10,
            "height": 10,
            "domain": "near-domain",
        }
        for n in (0, 1)
    ]
    captions = [{"image_id": n, "id": n, "caption": text} for n in (0, 1) for text in TWO]
    write(root / "nocaps_val_4500_captions.json", {"images": images, "annotations": captions})
    for number in (0, 1):
        picture(root / "images" / f"{number}a.jpg", number)
    coco(root, "annotations/captions_train2014.json", "train2014")
    slices = {"domain": "near-domain", "picture size": "below 0.3 MP"}
    return Tiny("val", ["0", "1"], "0a.jpg", slices, shots=True)


@builds("nocaps", HUB)
def nocaps_hub(root: Path) -> Tiny:
    row = {"image": stored(0), "image_id": 0, "image_open_images_id": "0a", "annotations_captions": TWO}
    row |= {"image_width": 10, "image_height": 10}
    parquet(root / "data" / "validation-00000-of-00001.parquet", [row])
    return Tiny("val", ["0"], "0a", {"picture size": "below 0.3 MP"})


TEXTCAPS = {"image_id": "00a1", "image_classes": ["Sign"], "set_name": "val", "image_width": 1, "image_height": 1}


@builds("textcaps", FILES)
def textcaps(root: Path) -> Tiny:
    rows = [TEXTCAPS | {"caption_id": n, "caption_str": text, "reference_strs": TWO} for n, text in enumerate(TWO)]
    other = {"image_id": "00a2", "caption_id": 7, "caption_str": TWO[0], "reference_strs": TWO}
    write(root / "TextCaps_0.1_val.json", {"dataset_type": "val", "data": [*rows, TEXTCAPS | other]})
    for number, name in enumerate(("00a1", "00a2")):
        picture(root / "train_images" / f"{name}.jpg", number)
    return Tiny("val", ["00a1", "00a2"], "00a1", {"picture size": "below 0.3 MP"})


@builds("textcaps", HUB)
def textcaps_hub(root: Path) -> Tiny:
    parquet(root / "data" / "val-00000-of-00001.parquet", [TEXTCAPS | {"caption_str": TWO, "image": stored(0)}])
    return Tiny("val", ["00a1"], "00a1", {"picture size": "below 0.3 MP"})


def refer(root: Path, folder: str, refs: str) -> Tiny:
    """Two sentences about one dog of two, in a pickle as Python 2 writes it."""
    held = [
        {
            "ref_id": number,
            "ann_id": ann,
            "category_id": 1,
            "image_id": image,
            "file_name": f"COCO_train2014_{image:012d}_16.jpg",
            "split": split,
            "sent_ids": [2 * number, 2 * number + 1],
            "sentences": [
                {"tokens": text.split(), "raw": text, "sent_id": 2 * number + turn, "sent": text}
                for turn, text in enumerate(("left dog", "dog on the left"))
            ],
        }
        for number, (ann, image, split) in enumerate(
            ((17, 581857, "val"), *((19, 581858, other) for other in ("train", "testA", "testB", "test")))
        )
    ]
    file = root / folder / refs
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(held, protocol=2))
    things = [
        {"id": 17, "image_id": 581857, "category_id": 1, "bbox": [1.0, 2.0, 10.0, 5.0]},
        {"id": 18, "image_id": 581857, "category_id": 1, "bbox": [12.0, 2.0, 5.0, 5.0]},
        {"id": 19, "image_id": 581858, "category_id": 1, "bbox": [0.0, 0.0, 20.0, 12.0]},
    ]
    images = [{"id": image, "width": 21 + image % 2, "height": 12} for image in (581857, 581858)]
    write(root / folder / "instances.json", {"annotations": things, "images": images})
    for image in (581857, 581858):
        picture(root / "train2014" / f"COCO_train2014_{image:012d}.jpg", 1 + image % 2)
    return Tiny(
        "val", ["0", "1"], "coco-581857", {"things of its kind": "2", "picture size": "below 0.3 MP"}, shots=True
    )


def refer_hub(root: Path, split: str) -> Tiny:
    row = {
        "question_id": "0",
        "question": "?",
        "answer": ["left dog", "dog on the left"],
        "bbox": [1.0, 2.0, 10.0, 5.0],
    }
    row |= {"file_name": "COCO_train2014_000000581857_16.jpg", "image": stored(1)}
    parquet(root / "data" / f"{split}-00000-of-00001.parquet", [row])
    return Tiny(split, ["0-0", "0-1"], "coco-581857", {"picture size": "below 0.3 MP"})


@builds("refcoco", FILES)
def refcoco(root: Path) -> Tiny:
    return refer(root, "refcoco", "refs(unc).p")


@builds("refcoco+", FILES)
def refcoco_plus(root: Path) -> Tiny:
    return refer(root, "refcoco+", "refs(unc).p")


@builds("refcocog", FILES)
def refcocog(root: Path) -> Tiny:
    return refer(root, "refcocog", "refs(umd).p")


@builds("refcoco", HUB)
def refcoco_hub(root: Path) -> Tiny:
    return refer_hub(root, "testA")


@builds("refcoco+", HUB)
def refcoco_plus_hub(root: Path) -> Tiny:
    return refer_hub(root, "val")


@builds("refcocog", HUB)
def refcocog_hub(root: Path) -> Tiny:
    return refer_hub(root, "test")
