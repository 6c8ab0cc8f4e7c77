"""The commands: what they refuse, what they leave behind, and that they end when told to."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import nbformat
import pytest

from dg_explorer.cli import commands as cli
from dg_explorer.lab.board_notebook import TutorialError, board_notebook, tutorial, write_beside
from dg_explorer.lab.serving import LabError, LabServer
from dg_explorer.testing import tiny_run


@pytest.fixture
def run_folder(tmp_path):
    tiny_run(0, tmp_path / "a run")
    return tmp_path / "a run"


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["open", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("dg-explorer: ")
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["board.pdf", "no/such/folder/board.html"])
def test_a_page_that_cannot_be_written_is_refused_before_any_work(file, capsys, run_folder):
    assert cli.main(["export", str(run_folder), file]) == 1
    assert cli.main(["demo", "--html", file]) == 1
    assert ".html" in capsys.readouterr().err


def test_an_unknown_recipe_is_refused_with_those_there_are(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", "--recipe", "croquet"])
    assert ended.value.code == 2
    assert "mislabeled-digits" in capsys.readouterr().err


def test_the_recipes_offered_are_those_there_are():
    from dg_explorer.demos import RECIPES

    assert set(cli.RECIPES) == set(RECIPES)


def test_a_port_in_use_is_refused_before_training(capsys, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert cli.main(["demo", "--port", port, "--out", str(tmp_path / "demo")]) == 1
    assert f"Port {port} on 127.0.0.1 is in use" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_an_output_folder_that_is_a_file_is_refused(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert cli.main(["demo", "--out", str(tmp_path / "file")]) == 1
    assert "cannot be made" in capsys.readouterr().err


def test_a_server_that_dies_at_once_says_why(tmp_path):
    server = LabServer(tmp_path, state=tmp_path / "state", options=["--no-such-option=1", "--help"])
    with pytest.raises(LabError, match="ended at once with code"):
        server.start()


def start_open(run_folder, cwd, *options):
    command = [sys.executable, "-m", "dg_explorer.cli", "open", run_folder, "--no-browser"]
    return subprocess.Popen(
        [*map(str, command), *options],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # a suite started in the background ignores Ctrl-C, and what it starts would too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def read_until_address(process):
    lines = []
    for line in process.stdout:
        lines.append(line)
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\S+", line)
        if found:
            return found.group(0), int(found.group(1))
    raise AssertionError("".join(lines))


def test_open_serves_a_notebook_with_the_board_and_ctrl_c_ends_it(run_folder, tmp_path):
    process = start_open(run_folder, tmp_path)
    try:
        address, port = read_until_address(process)
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.status == 200
        notebook = nbformat.read(tmp_path / "a run-board.ipynb", as_version=4)
        shown = {kind for output in notebook.cells[1].outputs for kind in output.data}
        # the board, and the still that stands in for it where no kernel answers
        assert {"application/vnd.jupyter.widget-view+json", "image/png"} <= shown
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped." in rest
    assert "Traceback" not in rest
    with socket.socket() as probe:  # nothing listens any more
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP])
def test_being_told_to_end_is_ctrl_c(by, capsys, monkeypatch):
    before = signal.getsignal(by)
    monkeypatch.setattr(cli, "doctor", lambda asked: os.kill(os.getpid(), by))
    assert cli.main(["doctor"]) == 130
    assert "Stopped." in capsys.readouterr().err
    assert signal.getsignal(by) == before


def test_the_readers_own_notebook_is_never_replaced(tmp_path):
    path = tmp_path / "look.ipynb"
    path.write_text("mine")
    written = write_beside(board_notebook("run", words="x"), path)
    assert written == tmp_path / "look-2.ipynb"
    assert path.read_text() == "mine"


def test_a_tutorial_that_is_not_there_is_said_so():
    with pytest.raises(TutorialError, match=r"99_none\.ipynb is not in"):
        tutorial("99_none.ipynb")
