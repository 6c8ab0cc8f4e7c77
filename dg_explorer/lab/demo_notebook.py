"""The demo's notebook: one run, its board, and the same questions in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .board_notebook import board_notebook

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from ..run import Run


@dataclass(frozen=True)
class Story:
    """What a recipe's notebook shows.

    Attributes
    ----------
    title, about : what the run is asked, and what it is
    look : what to look for on the board
    question, code : one more question to the same run, answered in a cell
    """

    title: str
    about: str
    look: str
    question: str
    code: str


_SUMS = Story(
    title="Which training pairs taught the network to add, and since when?",
    about="A small network learned to add modulo {n_classes} from {n_train} pairs of numbers; "
    "{n_test} other pairs test it. It had all training pairs right by step {t_memorized}, and 95 % "
    "of the test pairs only by step {t95}: it *grokked*.",
    look="Helpers often give the same answer. Early on, those that hurt are pairs that only look "
    "alike: they share a number with the test pair but not its answer.",
    question="How often do the sixteen best helpers of a test pair give the same answer?",
    code="""train, test = run["train_examples"].label.load(), run["test_examples"].label.load()
scores = run["scores/trak"].score
for step in scores.epoch.values[::6]:
    best = scores.sel(epoch=step).values.argsort(axis=1)[:, -16:]
    answers = train.sel(train=scores.train).values[best]
    same = (answers == test.sel(test=scores.test).values[:, None]).mean()
    print(f"step {step:5d}: {same:.0%}")
print(f"by chance:  {(train == test).mean().item():.0%}")""",
)

STORIES = {
    "grokking": _SUMS,
    "grokking-smooth": _SUMS,
    "mislabeled-digits": Story(
        title="Which labels should the network not have believed?",
        about="A small network learned {n_train} handwritten digits, one in ten of them with a "
        "wrong label. At the end it had {train_right} of them right *by their given label*: it "
        "memorized the wrong ones too. {n_test} digits test it.",
        look="Click a test digit that the network gets wrong. Are those that hurt it mislabelled?",
        question="Which training digits are suspected, and how many of them were really changed?",
        code="""suspects = dg.find_mislabeled(run).query("action != 'keep'")
changed = run["train_examples"].flipped.sel(train=suspects.index)
print(f"{len(suspects)} suspected, {changed.mean().item():.0%} of them changed")
suspects.head()""",
    ),
    "spurious-digits": Story(
        title="Who taught the network the shortcut?",
        about="A small network learned {n_train} handwritten digits with a patch in the corner "
        "that nearly always spells the label; on the {n_test} test digits the patch is random.",
        look="Click a test digit whose patch disagrees. Those that hurt it are mostly digits whose "
        "patch agreed: they taught the network to read the patch.",
        question="How often is it right where the patch agrees, and where it disagrees?",
        code="""accuracy = dg.add_bias(run).group_accuracy
accuracy.to_pandas().iloc[::6].round(2)""",
    ),
}

_RANKS = """test = explorer.selection.test
explorer.top_influencers(test, k=5)"""

_SINCE = """best = explorer.top_influencers(test, k=1).train[0]
ranks = run["scores/trak"].score.sel(test=test).to_pandas().rank(axis=1, ascending=False)
print(f"training example {best} among {ranks.shape[1]}, first is best:")
ranks[best].astype(int).iloc[::4]"""

_NEXT = """## Your own run

Record it with two lines in your loop, add what the board shows with one call, and look:

```python
dg.complete(run, model, train, test)
dg.explore(run)
```

`09_your_own_training_run.ipynb`, in this folder, does it from beginning to end."""


def demo_notebook(run: Run, recipe: str) -> NotebookNode:
    """A notebook about the run in the folder `run` beside it: its board first, then numbers."""
    from nbformat.v4 import new_code_cell, new_markdown_cell

    story = STORIES[recipe]
    words = (
        f"# {story.title}\n\n{story.about.format(**_figures(run))}\n\n"
        f"**Drag along the timeline; click a test example.** {story.look}"
    )
    notebook = board_notebook("run", words=words)
    notebook.cells += [
        new_markdown_cell("## The selected example in numbers\n\nClick another, and run it again."),
        new_code_cell(_RANKS),
        new_markdown_cell("Since when is its best helper among the best?"),
        new_code_cell(_SINCE),
        new_markdown_cell(f"## {story.question}"),
        new_code_cell(story.code),
        new_markdown_cell(_NEXT),
    ]
    return notebook


def _figures(run: Run) -> dict[str, object]:
    """What the words of a story name, read from the run."""
    train, test, when = run["train_examples"], run["test_examples"], run["transitions"]
    right = run["dynamics/train"]["correct"][-1].mean().item()
    return {
        "n_train": f"{train.sizes['train']:,}",
        "n_test": f"{test.sizes['test']:,}",
        "n_classes": len(set(train["label"].values.tolist())),
        "train_right": f"{right:.0%}",
        "t_memorized": _moment(when["t_memorized"].item()),
        "t95": _moment(when["t95"].item()),
    }


def _moment(epoch: float) -> str:
    return f"{epoch:,.0f}" if epoch == epoch else "(never)"  # NaN: not in this record
