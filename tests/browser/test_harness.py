"""The harness itself: a widget renders, a click reaches Python and comes back, nothing leaves."""

import pytest
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


@pytest.mark.parametrize("app", ["doc", "lab", "notebooks"])
def test_a_click_reaches_python_and_its_answer_the_page(open_cells, app):
    notebook = open_cells(PROBE, app=app).run_all()
    out = notebook.page.get_by_test_id("probe-out")
    expect(out).to_have_text("0 -")
    notebook.page.get_by_test_id("probe-button").click()
    expect(out).to_have_text("1 python saw 1")
    assert notebook.python("[probe.count, probe.label]") == [1, "python saw 1"]


def test_the_theme_can_be_switched(open_cells):
    notebook = open_cells("1 + 1").run_all()
    notebook.theme("dark")
    assert notebook.page.evaluate("document.body.dataset.jpThemeLight") == "false"
    notebook.theme("light")
    assert notebook.page.evaluate("document.body.dataset.jpThemeLight") == "true"


def test_a_failing_cell_fails_the_test_with_its_error(open_cells):
    with pytest.raises(AssertionError, match=r"ZeroDivisionError: division by zero"):
        open_cells("1 / 0").run_all()


def test_a_request_that_leaves_the_machine_is_refused_and_counted(open_cells):
    notebook = open_cells("1 + 1")
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
