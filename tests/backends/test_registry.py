"""Backends are files in a folder, known by their prefixes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flamingo_lab import backends
from flamingo_lab.errors import BadSetting
from tests.folders import ROOT


def test_a_backend_is_found_by_its_prefix() -> None:
    assert {one.prefix for one in backends.all_backends()} == {"hf", "openai"}
    for prefix in ("hf", "openai"):
        found = backends.find(f"{prefix}:some/name:with-colon")
        assert found is not None and found.prefix == prefix
    for name in ("hf", "openai", "HF:a", "flamingo-tiny", "", ":a", "C:/model", "./hf:a"):
        assert backends.find(name) is None


def test_a_file_more_is_a_backend_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shouting.py").write_text(
        "from flamingo_lab.backends import Backend\n"
        "def shout(name, *, volume=1):\n    return name.upper() * volume\n"
        "BACKEND = Backend('shout', 'loud', shout)\n"
    )
    monkeypatch.setattr(backends, "__path__", [*backends.__path__, str(tmp_path)])
    backends.all_backends.cache_clear()
    try:
        found = backends.find("shout:ab")
        assert found is not None and found.knows == ("volume",)
        assert found.load("shout:ab", {"volume": 2}) == "ABAB"
        with pytest.raises(BadSetting, match="shout:ab takes no --base-url; it takes --volume: leave it away"):
            found.load("shout:ab", {"base_url": "x"})
    finally:
        backends.all_backends.cache_clear()
        sys.modules.pop("flamingo_lab.backends.shouting", None)


def test_backends_are_known_without_what_they_need() -> None:
    heavy = "print(*{'torch', 'transformers', 'httpx', 'tenacity'} & sys.modules.keys())"
    code = f"import sys; from flamingo_lab import backends; backends.all_backends(); {heavy}"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


@pytest.mark.parametrize(
    ("model", "package", "extra"),
    [("hf:.", "transformers", "hf"), ("openai:m", "httpx", "endpoint"), ("openai:m", "tenacity", "endpoint")],
)
def test_a_package_that_is_not_installed_is_one_line(model: str, package: str, extra: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from flamingo_lab.cli import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "ask", "--raw", "a", "--model", model]
    command += ["--base-url", "http://127.0.0.1:9/v1"] if model.startswith("openai") else []
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr == f"error: {model} needs {package}: pip install 'flamingo-lab[{extra}]'\n"
