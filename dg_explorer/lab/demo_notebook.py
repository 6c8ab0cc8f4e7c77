"""The demo's notebook: one run, its board, and the same questions in numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    before, settings : as for `board_notebook`
    more : markdown and code of further cells, in turn
    """

    title: str
    about: str
    look: str
    question: str
    code: str
    before: str = ""
    settings: str = ""
    more: tuple[str, ...] = ()


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

_CHECKED = replace(
    _SUMS,
    about=_SUMS.about + " Its optimizer, AdamW, has eps = 1e-3, **chosen so that influence can be "
    "believed**: a small change of the data then has a small effect. With the default, 1e-8, it "
    "has not, and the tool says so: that board is further down.",
    look=_SUMS.look + " The board checks itself meanwhile, in a process of its own, and its header "
    "says how far it is: does a small change have a small effect (its light is grey until that is "
    "known), what happens without random pairs, and at last the exact scores, which then stand in "
    "the menu beside TRAK's. Pick some pairs and ask *What if these were gone?*",
    before="from dg_explorer.demos import grokking\n\n"
    "# the training that was recorded, as a function again: the board may retrain with it\n"
    'recipe, seed = grokking.SMOOTH, int(run.attrs["seed"])\n'
    "train, test = grokking.datasets(recipe, seed)\n"
    "training = dg.training_of_run(run, grokking.model(recipe, seed), train=train, test=test)\n",
    settings=', training=training, check="exact"',
    more=(
        "## The same network with the default eps: do not believe this\n\nTrained with AdamW's own "
        "eps, 1e-8, it groks as well. Look at the light of its board: small changes of its data do "
        "not have small effects, so no score can say what removing an example would do. This takes "
        "some twenty seconds.",
        """usual = dg.demos.make("grokking", progress=False)
dg.complete(usual.run, usual.model(), usual.train, usual.test, moments=9, progress=False)
again = dg.training_of_run(usual.run, usual.model(), train=usual.train, test=usual.test)
found = dg.metasmoothness(usual.run, training=again, directions=2).metasmoothness
print("metasmoothness, where 1 is smooth and 0 is noise:")
print(found.to_series().iloc[4::8].round(2).to_string())
dg.explore(usual.run)""",
        "## Exact scores\n\nThe board opens with the scores of TRAK, an approximation. The "
        "derivative of this very training by the weight of every pair, for all test pairs and "
        "moments, takes one core some six minutes, and is the last part of the board's check. Then "
        "choose *Unrolled (exact)* in the menu of its header. In a cell of your own:\n\n```python\n"
        "dg.add_unrolled_scores(run, training, windows=None, progress=True)\n```",
    ),
)

_TRANSFORMER = replace(
    _SUMS,
    title="When does a transformer stop looking a sum up and begin to add?",
    about="A transformer of one layer learned to add modulo {n_classes} from {n_train} pairs of "
    "numbers; {n_test} others test it. It had all training pairs right by step {t_memorized}, and "
    "95 % of the test pairs only by step {t95}. About half of the test pairs a + b have their "
    "*twin* b + a in training.",
    look="Search for `twin in training`: early on the twin is the best helper by far.",
    question="For what share of them is the twin the top helper?",
    code="""test, scores = run["test_examples"].load(), run["scores/trak"].score
asked = test.test.values[test.twin.values == "twin in training"]
twins = test.b.sel(test=asked).values * 59 + test.a.sel(test=asked).values
for step in scores.epoch.values[::4]:
    here = scores.sel(epoch=step, test=asked)
    top = here.train.values[here.values.argmax(axis=1)]
    print(f"step {step:5d}: {(top == twins).mean():.0%}")""",
)

STORIES = {
    "transformer": _TRANSFORMER,
    "grokking": _SUMS,
    "grokking-smooth": _CHECKED,
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
        title="Which digits taught the network the shortcut?",
        about="A small network learned {n_train} handwritten digits with a patch in the corner "
        "that nearly always spells the label; on the {n_test} test digits the patch is random.",
        look="Click a test digit with a patch that disagrees. Those that hurt it are mostly digits "
        "with a patch that agreed: they taught the network to read the patch.",
        question="How often is it right where the patch agrees, and where it disagrees?",
        code="""accuracy = dg.add_bias(run).group_accuracy
accuracy.to_pandas().iloc[::6].round(2)""",
    ),
}

_RANKS = """test = explorer.selection.test
explorer.top_influencers(test, k=5)"""

_SINCE = """from dg_explorer.attribution import attribution_evolution

best = explorer.top_influencers(test, k=1).train[0]
scores = attribution_evolution(run, test).score  # without 1 - p, so that moments compare
ranks = scores.to_pandas().rank(axis=1, ascending=False)
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
    notebook = board_notebook("run", words=words, before=story.before, settings=story.settings)
    notebook.cells += [
        new_markdown_cell("## The selected example in numbers\n\nClick another, and run it again."),
        new_code_cell(_RANKS),
        new_markdown_cell("Since when is its best helper among the best?"),
        new_code_cell(_SINCE),
        new_markdown_cell(f"## {story.question}"),
        new_code_cell(story.code),
        *(
            (new_code_cell if number % 2 else new_markdown_cell)(cell)
            for number, cell in enumerate(story.more)
        ),
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
