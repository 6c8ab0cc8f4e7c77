"""In JupyterLab: pick examples, ask what if they were gone, retrain to see, read the verdict."""

import numpy as np
import pytest
import xarray as xr
from at_rest import until
from playwright.sync_api import expect

import dg_explorer as dg
from dg_explorer.testing import tiny_run

BOARD = """import dg_explorer as dg
from dg_explorer.demos import grokking
from dg_explorer.evaluation.jobs import running
running.cores = lambda: 2  # also where the machine has one
recipe = grokking.Recipe(p=7, width=16, fraction=.6, lr=1e-2, weight_decay=.7, eps=1e-3,
    steps=60, double=True, record_every=20)
run = grokking.make("asked", recipe=recipe, progress=False).run
train, test = grokking.datasets(recipe)
training = dg.training_of_run(run, grokking.model(recipe), train=train, test=test)
dg.attribute(run, grokking.model(recipe), train, test, method="gradient_dot", epochs=[20, 40, 60])
ex = dg.explore(run, training=training, epoch=60)
ex"""
PATIENCE = 180_000  # ms: a process that trains imports torch first


@pytest.mark.second_ring(sample=1)
def test_pick_ask_retrain_and_read_the_verdict(open_cells, screenshots):
    notebook = open_cells(BOARD).run_all()
    page = notebook.page
    board = page.get_by_test_id("dg-board")
    expect(board.get_by_test_id("dg-influencer").first).to_be_visible()
    before = notebook.python("run.groups()")

    board.get_by_test_id("dg-mark").click()
    for rank in (0, 1, 2):
        board.get_by_test_id("dg-helped").get_by_role("option").nth(rank).click()
    expect(board.get_by_test_id("dg-which")).to_have_value("selected")
    board.get_by_test_id("dg-whatif-ask").click()
    words = board.get_by_test_id("dg-whatif-words")
    expect(words).to_contain_text("Without 3 training examples")
    assert notebook.python("run.groups()") == before  # looking changes nothing
    page.screenshot(path=screenshots / "what-if-asked.png")

    board.get_by_test_id("dg-retrain").click()
    expect(board.get_by_test_id("dg-job")).to_be_visible()
    expect(words).to_contain_text("trained again without them", timeout=PATIENCE)
    expect(words).to_contain_text("of 12 moments", timeout=PATIENCE)  # beside as many at random
    expect(board.get_by_test_id("dg-retrain")).to_be_hidden()
    expect(board.locator(".dg-whatif-plot .dg-whatif-true")).to_have_count(1)
    expect(board.get_by_test_id("dg-checked")).to_contain_text("checked by")
    page.screenshot(path=screenshots / "what-if-true.png")
    removed = notebook.python("ex.selection.selected")
    kept = "[answer.train.tolist() for answer in dg.what_ifs(run)]"
    until(lambda: notebook.python(kept) == [removed])
    expect(board.get_by_test_id("dg-errors")).to_be_empty()

    # another test example: the same question goes along
    first = notebook.python("ex.selection.test")
    board.get_by_test_id("dg-test").nth(1).click()
    expect(words).to_contain_text("trained again without them")
    until(lambda: notebook.python(f"ex._asked[0]['test'] == ex.selection.test != {first}"))


def test_a_page_without_a_kernel_says_which_line_to_write(open_offline, tmp_path):
    page = open_offline(dg.explore(tiny_run()).to_html(tmp_path / "board.html"))
    page.get_by_test_id("dg-which").select_option("helped:4")
    page.get_by_test_id("dg-whatif-ask").focus()
    page.keyboard.press("Enter")
    code = page.get_by_test_id("dg-whatif-code")
    expect(code).to_contain_text("what_if(run, train=[")
    expect(code).to_contain_text("test=10")
    page.get_by_test_id("dg-whatif-close").click()
    expect(code).to_be_hidden()
    expect(page.get_by_test_id("dg-whatif-ask")).to_be_focused()


HELPED = """() => {
  const canvas = document.querySelector('.dg-right .dg-overlay');
  const probe = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  probe.fillStyle = getComputedStyle(canvas).getPropertyValue('--dg-helped');
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let n = 0;
  for (let i = 0; i < data.length; i += 4)
    if (data[i + 3] > 60 && Math.abs(data[i] - r) + Math.abs(data[i + 1] - g)
        + Math.abs(data[i + 2] - b) < 24) n++;
  return n;
}"""


def test_what_a_question_rests_on_is_ringed_and_what_if_says_why_it_waits(open_offline, tmp_path):
    run = tiny_run()
    train = run["train_examples"]["train"].values
    names = {"query": np.array(["all"], dtype=object)}
    told = np.array(["mean output"], dtype=object)
    run.add(
        "queries/held out",
        xr.Dataset({"asked": ("query", told), "unit": ("query", told)}, names),
    )
    scores = np.random.default_rng(3).normal(size=(2, 1, len(train)))
    coords = {"epoch": [0, 50], **names, "train": train}
    values = {
        "score": (("epoch", "query", "train"), scores),
        "value": (("epoch", "query"), [[1.0], [2.0]]),
    }
    run.add("queries/held out/influence", xr.Dataset(values, coords))
    page = open_offline(dg.explore(run, query="held out/all").to_html(tmp_path / "board.html"))
    why = page.get_by_test_id("dg-whatif-why")
    expect(why).to_have_text("What if asks about a test example, not about held out/all")
    expect(page.get_by_test_id("dg-whatif-ask")).to_be_hidden()
    page.wait_for_function(f"() => ({HELPED})() > 100")
    page.get_by_test_id("dg-test").first.click()
    expect(why).to_be_hidden()
    expect(page.get_by_test_id("dg-whatif-ask")).to_be_enabled()
