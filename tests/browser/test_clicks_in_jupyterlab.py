"""In JupyterLab a board is clicked while a cell trains: no row of the training is lost."""

import pytest
from playwright.sync_api import expect

EPOCHS, CLICKS = 60, 200
BOARD = """import time
from pathlib import Path
import torch, torch.nn.functional as F, dg_explorer as dg
from torch.utils.data import TensorDataset
torch.set_num_threads(1)
x, y = torch.randn(60, 5), torch.arange(60) % 3
train = dg.with_ids(TensorDataset(x, y))
labels = {"label": y.numpy()}
run = dg.Run.create("clicked", name="clicked", train_examples=labels, test_examples=labels)
model = torch.nn.Linear(5, 3)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
recorder = dg.Recorder(run, model, optimizer, train=train, test=TensorDataset(x, y))
def train_to(last):
    for epoch in range(recorder._calls, last):
        logits = model(x)
        optimizer.zero_grad()
        F.cross_entropy(logits, y).backward()
        recorder.batch(logits, y, torch.arange(60))
        optimizer.step()
        recorder.epoch(epoch)
        time.sleep(0.1)
train_to(3)
selected = []
ex = dg.explore(run)
ex.selection.observe(lambda change: selected.append(run["metrics"].load().sizes["epoch"]), "test")
ex"""
# A cell that trains on until the clicks are over.
TRAIN = f"""() => {{ window.trained = false;
  jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({{code:
    'while not Path("go").exists() and recorder._calls < {EPOCHS - 1}: train_to(recorder._calls + 1)\\n'
    + 'end = time.time() + 240\\nwhile not Path("go").exists() and time.time() < end: time.sleep(.1)\\n'
    + 'train_to({EPOCHS})\\nrecorder.close()'
  }}).done.then(() => {{ window.trained = true; }}); }}"""


@pytest.mark.second_ring(sample=0)
def test_two_hundred_clicks_beside_a_training_cell_lose_no_row(open_cells, lab):
    notebook = open_cells(BOARD).run_all()
    page = notebook.page
    board = page.get_by_test_id("dg-board")
    examples = board.locator("[data-testid=dg-test]")
    expect(examples.first).to_be_visible()
    page.evaluate(TRAIN)
    for click in range(CLICKS):
        examples.nth(click % 6).click()
    (lab.folder / "go").touch()
    page.wait_for_function("window.trained", timeout=120_000)
    rows = {
        group: f"dg.Run.open('clicked').epochs('{group}').tolist()"
        for group in ("metrics", "dynamics/train", "dynamics/test", "gradients", "checkpoints")
    }
    for group, expression in rows.items():
        assert notebook.python(expression) == list(range(EPOCHS)), group
    seen = notebook.python("selected")
    assert len(seen) >= CLICKS // 2  # clicks that Python heard, most of them while the cell ran
    assert min(seen) < EPOCHS
    expect(board.get_by_test_id("dg-errors")).to_be_empty()
