"""The doctor sees what is wrong, says what to do, and its exit code tells."""

import http.server
import importlib.metadata
import json
import stat
import sys
import threading

import pytest

from dg_explorer.cli import doctor
from dg_explorer.cli.doctor import Finding, findings, report
from dg_explorer.widgets.export.browsers import find_browser


def states(look):
    return [finding.state for finding in look()]


def test_the_exit_code_is_one_only_where_something_is_bad():
    good, note, bad = (Finding(state, "x", "y") for state in ("good", "note", "bad"))
    quiet = {"write": lambda line: None}
    assert report(iter([good, note]), **quiet) == 0
    assert report(iter([good, bad, note]), **quiet) == 1


def test_the_report_counts_what_is_bad():
    lines = []
    report(iter([Finding("bad", "x", "y")] * 2), write=lines.append)
    assert lines[0] == "BAD   x                y"
    assert lines[-1].strip().startswith("2 things will not work")


def test_a_look_that_fails_is_a_finding_and_the_others_go_on():
    def broken():
        raise OSError("no such thing")
        yield

    found = list(findings([broken, doctor.loopback]))
    assert [f.state for f in found] == ["bad", "good"]
    assert "OSError: no such thing" in found[0].sentence


def test_a_library_that_is_too_old_or_missing_is_bad_and_says_what_to_run(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "zarr":
            return "2.18.0"
        if name == "tqdm":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    bad = {f.about: f.sentence for f in doctor.python_and_libraries() if f.state == "bad"}
    assert set(bad) == {"zarr", "tqdm"}
    assert "pip install -U 'zarr>=" in bad["zarr"]
    assert "pip install 'tqdm'" in bad["tqdm"]


@pytest.mark.parametrize(
    ("kernel", "server", "fits"),
    [("0.11.0", "0.11.3", True), ("0.11.0", "0.9.21", False), ("0.9.21", "0.11.0", False)],
)
def test_widget_versions_must_agree_in_major_and_minor(kernel, server, fits):
    assert doctor.same_widget_version(kernel, server) is fits


def lab_with(tmp_path, version):
    manifest = tmp_path / "share/jupyter/labextensions/anywidget/package.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"version": version}))


def test_a_lab_with_another_anywidget_is_bad(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    lab_with(tmp_path, "0.9.21")
    (finding,) = doctor.widget_in_labs()
    assert finding.state == "bad"
    assert "0.9.21" in finding.sentence
    assert f"anywidget~={importlib.metadata.version('anywidget')}" in finding.sentence


def test_a_lab_without_the_extension_is_bad(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert states(doctor.widget_in_labs) == ["bad"]


def test_the_lab_that_a_shell_would_start_is_looked_at_too(monkeypatch, tmp_path):
    lab_with(tmp_path, "0.9.21")
    program = tmp_path / "bin/jupyter-lab"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    assert sorted(states(doctor.widget_in_labs)) == ["bad", "good"]


@pytest.fixture
def running_server(monkeypatch):
    """A server that answers like JupyterLab, with an anywidget of a chosen version."""
    answers = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path == "/lab/extensions/anywidget/package.json?token=secret"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answers).encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = {"url": f"http://127.0.0.1:{server.server_port}/", "token": "secret"}
    monkeypatch.setattr("jupyter_server.serverapp.list_running_servers", lambda: iter([address]))
    yield answers
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("version", "state"),
    [(importlib.metadata.version("anywidget"), "good"), ("0.1.0", "bad"), (None, "note")],
)
def test_a_running_server_is_asked_for_its_anywidget(running_server, version, state):
    if version:
        running_server["version"] = version
    assert states(doctor.widget_in_running_servers) == [state]


def test_a_folder_that_cannot_be_written_is_bad(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    monkeypatch.setattr(doctor.Path, "cwd", classmethod(lambda cls: gone))
    found = {finding.about: finding for finding in doctor.write_access()}
    assert found["this folder"].state == "bad"
    assert "go to another folder" in found["this folder"].sentence
    assert found["temporary files"].state == "good"


def test_the_named_browser_is_used_before_any_on_the_path(monkeypatch, tmp_path):
    for name in ("mine", "chromium"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CHROMIUM", "mine")
    assert find_browser() == str(tmp_path / "mine")
    monkeypatch.delenv("CHROMIUM")
    assert find_browser() == str(tmp_path / "chromium")


def test_without_one_on_the_path_playwrights_own_newest_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    assert find_browser() is None
    for build in ("1200", "1255"):
        program = tmp_path / f"chromium-{build}/chrome-linux64/chrome"
        program.parent.mkdir(parents=True)
        program.touch()
    assert "chromium-1255" in find_browser()


def test_a_named_browser_that_is_not_there_is_said_so(monkeypatch):
    monkeypatch.setenv("CHROMIUM", "no-such-browser")
    (finding,) = doctor.browser()
    assert finding.state == "note"
    assert "no-such-browser, which is not there" in finding.sentence
