"""A JupyterLab server for tests, and notebooks open in it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import nbformat

from dg_explorer.lab.serving import LabServer

SETTINGS = {
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/notebook-extension:tracker": {
        "windowingMode": "none",  # every output is in the page, scrolled into view or not
        "autoStartDefaultKernel": True,
    },
}


def start_lab(folder: Path, state: Path, *, environment=None, options=()) -> LabServer:
    """A JupyterLab that shares nothing with the user's own."""
    own = {
        name: str(state / name.lower())
        for name in (
            "JUPYTER_CONFIG_DIR",
            "JUPYTER_DATA_DIR",
            "IPYTHONDIR",
            "JUPYTERLAB_SETTINGS_DIR",
        )
    }
    for path in own.values():
        Path(path).mkdir(parents=True)
    server = LabServer(
        folder,
        state=state,
        token="test",
        settings=SETTINGS,
        environment={**own, "OMP_NUM_THREADS": "1", **(environment or {})},
        options=[
            *options,
            "--LabApp.expose_app_in_browser=True",
            "--JupyterNotebookApp.expose_app_in_browser=True",
        ],
    )
    server.user_settings = Path(own["JUPYTERLAB_SETTINGS_DIR"])
    return server.start(timeout=120)


class Notebook:
    """A notebook open in JupyterLab or Notebook 7, driven through the application object."""

    def __init__(self, page, lab, path: str, app: str):
        self.page, self.path = page, path
        page.goto(lab.address(path, app=app))
        page.wait_for_function(
            "() => window.jupyterapp && window.jupyterapp.shell.currentWidget?.sessionContext",
            timeout=60_000,
        )
        page.evaluate(
            """async () => { const panel = jupyterapp.shell.currentWidget;
                await panel.context.ready; await panel.revealed; await panel.sessionContext.ready;
                await panel.sessionContext.session?.kernel?.info; }"""
        )

    def run_all(self, timeout: float = 120) -> Notebook:
        """Run every cell; fails with the cell's error, or when they take longer than `timeout`."""
        return self._run("jupyterapp.commands.execute('notebook:run-all-cells')", timeout)

    def run_cell(self, code: str, timeout: float = 120) -> Notebook:
        """Add a cell at the end and run it."""
        self.page.evaluate(
            """(source) => { const { content } = jupyterapp.shell.currentWidget;
                const at = content.widgets.length;
                content.model.sharedModel.insertCell(at, {cell_type: 'code', source});
                content.activeCellIndex = at; }""",
            code,
        )
        return self._run("jupyterapp.commands.execute('notebook:run-cell')", timeout)

    def run_to(self, text: str, timeout: float = 120) -> Notebook:
        """Run the cells up to the first whose code contains a text, that one included."""
        self.page.evaluate(
            """(text) => { const { content } = jupyterapp.shell.currentWidget;
                const at = content.widgets.findIndex((cell) => cell.model.type === 'code'
                  && cell.model.sharedModel.source.includes(text));
                if (at < 0 || at + 1 === content.widgets.length) throw new Error(`after ${text}?`);
                content.activeCellIndex = at + 1; }""",
            text,
        )
        return self._run("jupyterapp.commands.execute('notebook:run-all-above')", timeout)

    def _run(self, command: str, timeout: float) -> Notebook:
        # The command resolves when the last cell is done; no polling, no sleeping.
        fine = self.page.evaluate(
            f"""(ms) => Promise.race([{command},
                new Promise((_, no) => setTimeout(() => no(new Error('cells still running')), ms))
            ])""",
            timeout * 1000,
        )
        errors = self.page.evaluate(
            """() => jupyterapp.shell.currentWidget.content.widgets
                .filter(cell => cell.model.type === 'code')
                .flatMap(cell => cell.model.outputs.toJSON())
                .filter(output => output.output_type === 'error')
                .map(output => output.ename + ': ' + output.evalue)"""
        )
        assert not errors, errors
        assert fine is not False, "a cell failed"
        return self

    def execute(self, code: str) -> None:
        """Run code in the notebook's kernel, in no cell."""
        self._request(code, "None")

    def python(self, expression: str):
        """The value of a Python expression in the notebook's kernel, through JSON."""
        return self._request("", expression)

    def _request(self, code: str, expression: str):
        reply = self.page.evaluate(
            """async ([code, expression]) => {
                const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({code, silent: false, store_history: false,
                    user_expressions: {value: `__import__('json').dumps(${expression})`}});
                const content = (await future.done).content;
                const value = content.user_expressions?.value;
                const bad = content.status === 'ok' ? (value.status === 'ok' ? null : value)
                                                    : content;
                return bad ? {error: bad.ename + ': ' + bad.evalue}
                           : {value: value.data['text/plain']}; }""",
            [code, expression],
        )
        assert "error" not in reply, reply["error"]
        return json.loads(ast.literal_eval(reply["value"]))

    def theme(self, name: str) -> None:
        """Switch JupyterLab to "light" or "dark"."""
        title = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[name]
        self.page.evaluate(
            "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", title
        )
        self.page.wait_for_function(
            "theme => document.body.dataset.jpThemeName === theme", arg=title
        )


def write_cells(lab, title: str, *code: str) -> str:
    """Write a notebook with the given code cells into the server's folder; its name."""
    name = re.sub(r"\W+", "-", title).strip("-") + ".ipynb"
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in code],
        metadata={
            "kernelspec": {
                "name": "python3",
                "display_name": "Python 3 (ipykernel)",
                "language": "python",
            }
        },
    )
    nbformat.write(notebook, lab.folder / name)
    return name
