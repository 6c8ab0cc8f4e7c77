"""The harness itself: a widget renders, a click reaches Python and comes back, nothing leaves."""

import pytest
from board_acts import close
from guarded import guarded_page
from lab_pages import Notebook, write_cells
from playwright.sync_api import expect

PROBE = '''
import anywidget, traitlets

class Probe(anywidget.AnyWidget):
    _esm = """
    export default { render({model, el}) {
      const button = document.createElement('button'), out = document.createElement('span');
      button.dataset.testid = 'probe-button'; out.dataset.testid = 'probe-out';
      const show = () => out.textContent = model.get('count') + ' ' + model.get('label');
      button.onclick = () => { model.set('count', model.get('count') + 1); model.save_changes(); };
      model.on('change', show); show(); el.append(button, out); } }
    """
    count = traitlets.Int(0).tag(sync=True)
    label = traitlets.Unicode("-").tag(sync=True)

    @traitlets.observe("count")
    def _seen(self, change):
        self.label = f"python saw {change.new}"

probe = Probe()
probe
'''


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """One in JupyterLab's full page; `BoardActs` are in its single-document page and Notebook 7."""
    page = guarded_page(browser, allowed=rf"127\.0\.0\.1:{lab.port}/")
    notebook = Notebook(page, lab, write_cells(lab, "harness", PROBE, "1 / two"), "lab")
    notebook.execute("two = 2")
    yield notebook.run_all()
    close(notebook, lab)


def test_a_click_reaches_python_and_its_answer_the_page(notebook):
    out = notebook.page.get_by_test_id("probe-out")
    expect(out).to_have_text("0 -")
    notebook.page.get_by_test_id("probe-button").click()
    expect(out).to_have_text("1 python saw 1")
    assert notebook.python("[probe.count, probe.label]") == [1, "python saw 1"]


def test_a_failing_cell_fails_the_test_with_its_error(notebook):
    notebook.execute("two = 0")
    with pytest.raises(AssertionError, match=r"ZeroDivisionError: division by zero"):
        notebook.run_all()


def test_a_request_that_leaves_the_machine_is_refused_and_counted(notebook):
    notebook.page.expected.append("net::ERR_FAILED")
    refused = notebook.page.evaluate(
        "fetch('https://example.org/').then(() => 'answered', () => 'refused')"
    )
    assert refused == "refused"
    assert notebook.page.outside == ["https://example.org/"]
    notebook.page.outside.clear()


def test_an_exported_page_is_opened_without_a_network(open_offline, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(
        "<!doctype html><body><script>document.body.textContent = navigator.onLine</script>"
    )
    expect(open_offline(path).locator("body")).to_have_text("false")
