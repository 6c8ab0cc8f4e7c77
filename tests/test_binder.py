"""The Binder image is built from what this repository is tested with."""

import re
import subprocess
import tomllib
from pathlib import Path

from check_binder import build_pack

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"
README = (ROOT / "README.md").read_text()


def pinned() -> dict[str, str]:
    """Package -> version of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def names(lines) -> set[str]:
    return {
        re.split(r"[=<>~\[ ]", line)[0].lower()
        for line in lines
        if line.strip() and line[0] not in "#-"
    }


def asked_for() -> set[str]:
    """What the package declares, and constraints.txt must pin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return names(project["dependencies"])


def test_every_declared_dependency_is_pinned():
    assert asked_for() <= set(pinned())


def test_binder_installs_all_the_package_needs_and_pins_torch_as_tested():
    lines = (BINDER / "requirements.txt").read_text().splitlines()
    assert asked_for() <= names(lines)
    assert f"torch=={pinned()['torch']}" in lines
    assert "-c ../constraints.txt" in lines


def test_post_build_is_a_valid_script_that_may_run():
    script = BINDER / "postBuild"
    assert script.stat().st_mode & 0o111
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_python_of_binder_is_one_the_package_supports():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = tuple(map(int, project["requires-python"].removeprefix(">=").split(".")))
    there = (BINDER / "runtime.txt").read_text().strip().removeprefix("python-")
    assert tuple(map(int, there.split("."))) >= wanted


def test_repo2docker_reads_the_configuration_as_meant():
    pack = build_pack(ROOT)
    assert type(pack).__name__ == "PythonBuildPack"
    assert pack.python == "3.11"
    # requirements name ../constraints.txt, so they must wait for the whole repository
    install, after = pack.steps
    assert install.endswith('pip install --no-cache-dir -r "binder/requirements.txt"')
    assert after == "binder/postBuild"


def test_the_badge_opens_the_notebook_that_post_build_makes():
    badge = re.search(r"https://mybinder\.org/v2/gh/(\S+?)/HEAD\?labpath=(\S+?)\)", README)
    assert badge, "the README has no link to Binder"
    repository, notebook = badge.groups()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["urls"]["Repository"].endswith(repository)
    assert notebook.replace("%2F", "/") in (BINDER / "postBuild").read_text()
