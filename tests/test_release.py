"""What a release uploads: built with the standard command, accepted by twine, works unpacked."""

import email
import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder `python -m build` leaves: an sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_twine_accepts_both(dist):
    files = sorted(map(str, dist.iterdir()))
    assert len(files) == 2
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_source_distribution_holds_what_is_tracked_and_nothing_else(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    tracked = set(subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines())
    assert {"README.md", "LICENSE", "frontend/package.json"} <= held
    # stored records, which have names that are ignored elsewhere
    assert {name for name in tracked if name.startswith("tests/records/")} <= held
    untracked = subprocess.check_output(
        ["git", "ls-files", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    # work in progress may be there; what git ignores may not
    assert held - tracked - set(untracked.splitlines()) <= {"PKG-INFO"}


def test_a_board_is_written_by_the_unpacked_wheel_alone(dist, tmp_path):
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(tmp_path / "site")
    # `demo --html` in small: the command, without the minute of training
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "site")!r})
import dg_explorer
from dg_explorer.cli import main
from dg_explorer.testing import tiny_run
assert dg_explorer.__file__.startswith({str(tmp_path)!r}), dg_explorer.__file__
tiny_run(path="run")
sys.exit(main(["export", "run", "board.html"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "<!doctype html>" in (tmp_path / "board.html").read_text()[:200].lower()


def test_the_page_on_pypi_links_to_nothing_that_is_only_in_the_repository(dist):
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        page = email.message_from_bytes(wheel.read(name)).get_payload()
    targets = re.findall(r"\]\(([^)]+)\)|(?:src|srcset)=\"([^\"]+)\"", page)
    assert len(targets) > 20
    for target in targets:
        assert "".join(target).startswith(("https://", "#")), target


def test_links_are_those_of_the_readme_at_the_tag():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    home = "https://github.com/dg-explorer/dg_explorer/blob/v1.0"
    raw = "https://raw.githubusercontent.com/dg-explorer/dg_explorer/v1.0"
    for given, wanted in {
        "[a](notebooks/a.ipynb)": f"[a]({home}/notebooks/a.ipynb)",
        "[p](docs/images/p.png)": f"[p]({raw}/docs/images/p.png)",
        '<img src="docs/images/p.png">': f'<img src="{raw}/docs/images/p.png">',
        "[out](https://a.b/c)": "[out](https://a.b/c)",
        "[here](#evidence)": "[here](#evidence)",
    }.items():
        assert hook.with_whole_links(given, "1.0") == wanted


def test_only_the_step_that_uploads_may_ask_for_an_identity_and_no_password_is_named():
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    flow = yaml.safe_load(text)
    assert flow[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as true
    assert flow["permissions"] == {}
    asks = {name: job["permissions"] for name, job in flow["jobs"].items()}
    assert asks == {"build": {"contents": "read"}, "publish": {"id-token": "write"}}
    assert flow["jobs"]["publish"]["needs"] == "build"
    assert not re.search(r"secrets\.|password|token:(?! write)", text)


@pytest.mark.parametrize(("tag", "passes"), [("v{}", True), ("v9.9.9", False), ("{}", False)])
def test_a_tag_that_is_not_the_version_stops_the_release(tag, passes):
    import dg_explorer

    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    steps = {step.get("name"): step for step in flow["jobs"]["build"]["steps"]}
    check = steps["The tag is the version"]["run"]
    names = {"GITHUB_REF_NAME": tag.format(dg_explorer.__version__), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", check], cwd=ROOT, env=names)
    assert (done.returncode == 0) is passes


def test_the_release_notes_begin_with_the_command_for_pypi():
    notes = (ROOT / ".github" / "RELEASE_NOTES.md").read_text()
    first = re.search(r"```sh\n(.+)\n```", notes).group(1)
    clone = re.search(r"```sh\n(.+)\n```", (ROOT / "README.md").read_text()).group(1)
    assert clone.replace("-c constraints.txt .", "dg_explorer==VERSION", 1) == first
