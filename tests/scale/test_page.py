"""The files that docs/scale.md gives to paste are whole, and agree with each other and with the code."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from flamingo_lab.replicas.cluster import HEALTH
from tests.docs.pages import Block, blocks
from tests.folders import ROOT

PAGE = ROOT / "docs" / "scale.md"


def of(language: str) -> list[Block]:
    return [block for block in blocks(PAGE) if block.language == language]


@pytest.mark.parametrize("block", of("bash"), ids=lambda block: block.text[:20])
def test_scripts_are_bash(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


def test_the_slurm_job_begins_where_slurm_reads_it() -> None:
    script = of("bash")[0].text
    first, *rest = script.splitlines()
    assert first == "#!/usr/bin/env bash"
    options = [line for line in rest if line.startswith("#SBATCH ")]
    assert options == rest[: len(options)], "Slurm reads no options behind the first command"
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+=\S+", line) for line in options)


def test_ray_knows_what_the_slurm_job_asks_of_it() -> None:
    command = [sys.executable, "-m", "ray.scripts.scripts", "symmetric-run", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--address" in shown and "--min-nodes" in shown


CONTAINER = {"name": str, "image": str, "env": list, "resources": dict, "volumeMounts": list}
POD = {"template": {"spec": {"containers": [CONTAINER], "volumes": list}}, "rayStartParams": dict}
RAY_CLUSTER = {
    "apiVersion": str,
    "kind": str,
    "metadata": {"name": str},
    "spec": {
        "rayVersion": str,
        "authOptions": {"mode": str},
        "headGroupSpec": POD,
        "workerGroupSpecs": [POD | {"groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int}],
    },
}
"""What of KubeRay's RayCluster (ray.io/v1) is used, with its types; no other key may stand there."""


def check(held: Any, wanted: Any, where: str = "") -> None:
    if isinstance(wanted, type):
        assert isinstance(held, wanted), where
    elif isinstance(wanted, list):
        assert isinstance(held, list) and held, where
        for number, one in enumerate(held):
            check(one, wanted[0], f"{where}[{number}]")
    else:
        assert held.keys() == wanted.keys(), where
        for name, one in wanted.items():
            check(held[name], one, f"{where}.{name}")


def test_the_cluster_for_kubernetes_is_one() -> None:
    (block,) = of("yaml")
    made = yaml.safe_load(block.text)
    check(made, RAY_CLUSTER)
    assert (made["apiVersion"], made["kind"]) == ("ray.io/v1", "RayCluster")
    groups = [made["spec"]["headGroupSpec"], *made["spec"]["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "KubeRay takes texts only"
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert all(one.keys() == {"name", "value"} and isinstance(one["value"], str) for one in container["env"])


def test_both_files_set_the_health_checks_that_the_code_means() -> None:
    wanted = {f"RAY_{name}": str(value) for name, value in HEALTH.items()}
    exported = dict(re.findall(r"^export (\w+)=(\w+)$", of("bash")[0].text, re.MULTILINE))
    assert wanted.items() <= exported.items()
    (block,) = of("yaml")
    head = yaml.safe_load(block.text)["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert wanted.items() <= {one["name"]: one["value"] for one in head["env"]}.items()


def test_both_files_keep_strangers_out() -> None:
    assert re.search(r"^export RAY_AUTH_MODE=token\nRAY_AUTH_TOKEN=\$\(", of("bash")[0].text, re.MULTILINE)
    (block,) = of("yaml")
    assert yaml.safe_load(block.text)["spec"]["authOptions"] == {"mode": "token"}


def test_a_silent_node_is_noticed_within_thirty_seconds() -> None:
    checks = HEALTH["health_check_failure_threshold"]
    assert checks * (HEALTH["health_check_period_ms"] + HEALTH["health_check_timeout_ms"]) < 30_000


def test_the_version_of_ray_is_the_one_that_is_tested() -> None:
    (tested,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    named = re.findall(r'rayVersion: "([\d.]+)"|rayproject/ray:([\d.]+)', PAGE.read_text())
    assert {one for pair in named for one in pair if one} == {tested}
