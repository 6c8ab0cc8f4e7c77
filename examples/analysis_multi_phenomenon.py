"""Grokking, memorized labels and a shortcut side by side, on one normalised time axis.

python examples/analysis_multi_phenomenon.py --out results
"""

import argparse
from pathlib import Path

import dg_explorer as dg
from dg_explorer.analysis import add_cartography, compare_runs, comparison_table, plot_comparison

RECIPES = {
    "grokking": "grokking",
    "memorized labels": "mislabeled-digits",
    "shortcut": "spurious-digits",
}
COLUMNS = ["t_memorized", "t50", "delay_ratio", "peak_memorization", "final_test_accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    runs = {}
    for name, recipe in RECIPES.items():
        # runs are folders: made once, opened ever after
        path = options.out / recipe
        if path.exists():
            runs[name] = dg.Run.open(path)
        else:
            runs[name] = dg.demos.make(recipe, path, progress=False).run
        add_cartography(runs[name])
        print(f"{name}: {runs[name]!r}")
    comparison = compare_runs(runs)
    print(comparison_table(comparison)[COLUMNS].astype(float).round(2).to_string())
    plot_comparison(comparison, save_dir=options.out)
    print(f"picture: {options.out / 'comparison.html'}")


if __name__ == "__main__":
    main()
