"""Grokking, memorized labels and a shortcut side by side, on one normalised time axis.

python examples/analysis_multi_phenomenon.py --out results
"""

import argparse
import shutil
from pathlib import Path

from command_line import run_script

import dg_explorer as dg
from dg_explorer.analysis import add_cartography, compare_runs, comparison_table, plot_comparison
from dg_explorer.errors import NotARunError

RECIPES = {
    "grokking": "grokking",
    "memorized labels": "mislabeled-digits",
    "shortcut": "spurious-digits",
}
COLUMNS = ["t_memorized", "t50", "delay_ratio", "peak_memorization", "final_test_accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"), help="runs and picture")
    options = parser.parse_args()
    runs = {}
    for name, recipe in RECIPES.items():
        # runs are folders: made once, opened ever after; one broken off is made again
        path = options.out / recipe
        if not path.exists():
            print(f"{name}: training ...", flush=True)
            unfinished = path.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            dg.demos.make(recipe, unfinished, progress=False)
            unfinished.rename(path)
        try:
            runs[name] = dg.Run.open(path)
        except NotARunError as error:
            raise SystemExit(f"{error} Move it away, or name another --out.") from error
        add_cartography(runs[name])
        print(f"{name}: {runs[name]!r}")
    comparison = compare_runs(runs)
    print(comparison_table(comparison)[COLUMNS].astype(float).round(2).to_string())
    plot_comparison(comparison, save_dir=options.out)
    print(f"picture: {options.out / 'comparison.html'}")


if __name__ == "__main__":
    run_script(main)
