"""Models at a URL that fsspec knows (s3://BUCKET/FOLDER, gs://BUCKET/FOLDER): their files, kept on this machine.

They lie in the cache that the hub's library keeps for others (`HF_ASSETS_CACHE`), beside a list of what was fetched, with
sizes and versions. Files come whole or not at all, so a fetch that was stopped goes on with the next file. Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flamingo_lab.errors import BadCheckpoint, BadSetting, LabError, MissingModel, MissingPackage

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from tqdm import tqdm

NEVER_FETCHED = ("*.msgpack", "*.h5", "*.onnx", "*.gguf", "*.py", "*.ot")
"""What is left where it is: other frameworks' copies, and code."""

AT_ONCE = 4
"""Files that are fetched side by side."""

PACKAGES = {"s3": "pip install 'flamingo-lab[s3]'", "gs": "pip install gcsfs"}

VERSION = ("ETag", "etag", "md5Hash", "LastModified", "mtime", "updated", "created")
"""How file systems name what tells two contents of a file apart."""

Files = dict[str, list[Any]]
"""Size and version by a file's path in its folder."""


def is_url(name: str) -> bool:
    """Whether a model's name is an address."""
    return "://" in name


def fetched(url: str, *, download: bool) -> Path:
    """The folder on this machine with the files of a model at a URL; with `download` it is brought up to date first.

    Raises `MissingModel` for what is not here or cannot be fetched, `MissingPackage`, `BadCheckpoint` for an empty place.
    """
    from huggingface_hub.constants import HF_ASSETS_CACHE

    kind, _, path = url.partition("://")
    path = path.rstrip("/")
    url, called = f"{kind}://{path}", path.rpartition("/")[2]
    if not called or called in (".", ".."):
        raise BadSetting(f"{url} names no folder of a model; write KIND://BUCKET/FOLDER")
    home = Path(HF_ASSETS_CACHE) / "flamingo-lab" / hashlib.sha256(url.encode()).hexdigest()[:16]
    if download:
        with _told(url, home):
            _bring(url, home, called)
    elif not _list(home).get("is_whole"):
        raise MissingModel(f"{url} is not on this machine; fetch it with --download (it is kept in {home})")
    return home / called


def _bring(url: str, home: Path, called: str) -> None:
    from filelock import FileLock

    files, root = _opened(url)
    there = _there(files, root)
    if not there:
        raise BadCheckpoint(f"{url}: no files there")
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "lock"):
        folder = home / called
        before: Files = _list(home).get("files", {})
        held = {
            name: facts for name, facts in before.items() if facts == there.get(name) and _is_here(folder / name, facts)
        }
        if held == before == there and _list(home)["is_whole"]:
            return
        wanted = {name: facts for name, facts in there.items() if name not in held}
        _check_room(url, home, sum(size for size, _ in wanted.values()))
        _write(home, url, held, is_whole=False)
        for name in before.keys() - there.keys():
            (folder / name).unlink(missing_ok=True)
        with _bar(called, there, held) as bar, ThreadPoolExecutor(AT_ONCE) as pool:
            coming = {
                pool.submit(_get, files, f"{root}/{name}", folder / name, facts[0], bar): name
                for name, facts in wanted.items()
            }
            try:
                for one in as_completed(coming):
                    one.result()
                    held[coming[one]] = wanted[coming[one]]
                    _write(home, url, held, is_whole=False)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        _write(home, url, held, is_whole=True)


def _is_here(file: Path, facts: list[Any]) -> bool:
    return file.is_file() and file.stat().st_size == facts[0]


def _there(files: AbstractFileSystem, root: str) -> Files:
    """What is at the URL and wanted."""
    files.invalidate_cache()
    listed: dict[str, dict[str, Any]] = files.find(root, detail=True)  # pyright: ignore[reportAssignmentType] - by `detail`
    found: Files = {}
    for key, facts in sorted(listed.items()):
        name = key.removeprefix(f"{root}/")
        if name.startswith("/") or ".." in Path(name).parts:
            raise BadCheckpoint(f"{key}: leads out of the folder")
        if not any(fnmatch(name, form) for form in NEVER_FETCHED):
            version = next((str(facts[one]) for one in VERSION if facts.get(one)), "")
            found[name] = [int(facts["size"] or 0), version]
    return found


def _get(files: AbstractFileSystem, key: str, file: Path, size: int, bar: tqdm[Any]) -> None:
    """One file, whole or not at all."""
    from fsspec.callbacks import NoOpCallback

    class Counting(NoOpCallback):
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            bar.update(inc)

    counting = Counting()
    part = file.with_name(f"{file.name}.part")
    file.parent.mkdir(parents=True, exist_ok=True)
    files.get_file(key, str(part), callback=counting)
    if part.stat().st_size != size:
        raise OSError(f"{file.name} has {part.stat().st_size} bytes of {size}")
    part.replace(file)
    bar.update(size - counting.value)


def _opened(url: str) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs

    kind = url.partition("://")[0]
    try:
        files, root = url_to_fs(url)
    except ImportError:
        how = PACKAGES.get(kind, f"install a file system of fsspec for {kind}://")
        raise MissingPackage(f"{url}: addresses of this kind need another package: {how}") from None
    except ValueError as error:
        raise BadSetting(f"{url}: {error}") from None
    return files, root.rstrip("/")


def _list(home: Path) -> dict[str, Any]:
    try:
        return json.loads((home / "files.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # nothing was fetched, or its list is damaged: all is fetched again
        return {}


def _write(home: Path, url: str, files: Files, *, is_whole: bool) -> None:
    part = home / "files.json.part"
    part.write_text(json.dumps({"url": url, "is_whole": is_whole, "files": files}, indent=1), encoding="utf-8")
    part.replace(home / "files.json")


def _check_room(url: str, home: Path, nbytes: int) -> None:
    free = shutil.disk_usage(home).free
    if nbytes > free:
        raise MissingModel(
            f"{url}: {nbytes / 1e9:.1f} GB are to be fetched, {home} has {free / 1e9:.1f} GB free; point HF_ASSETS_CACHE "
            "to a larger disk"
        )


@contextmanager
def _bar(called: str, there: Mapping[str, list[Any]], held: Mapping[str, list[Any]]) -> Generator[tqdm[Any]]:
    """A progress bar on stderr, where that is a terminal."""
    from tqdm import tqdm

    total, done = (sum(size for size, _ in some.values()) for some in (there, held))
    with tqdm(desc=called, total=total, initial=done, unit="B", unit_scale=True, disable=None) as bar:
        yield bar


@contextmanager
def _told(url: str, home: Path) -> Generator[None]:
    """Turn what storages and networks raise, which has no common root, into one line about the URL."""
    try:
        yield
    except LabError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        here = "; what is here is used without --download" if _list(home).get("is_whole") else ""
        raise MissingModel(f"{url}: cannot be fetched ({said[:200]}); the same command goes on{here}") from error
