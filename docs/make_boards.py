"""Train the demo runs and export their boards for the gallery: ``python docs/make_boards.py``."""

import argparse
from pathlib import Path

# recipe -> the recorded epoch its board opens at
BOARDS = {
    "grokking": 300,
    "grokking-smooth": 300,
    "mislabeled-digits": 32,
    "spurious-digits": 10,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "build" / "boards")
    folder = parser.parse_args().out

    import dg_explorer as dg

    folder.mkdir(parents=True, exist_ok=True)
    for recipe, epoch in BOARDS.items():
        demo = dg.demos.make(recipe, progress=False)
        dg.complete(demo.run, demo.model(), demo.train, demo.test, progress=False)
        if recipe.startswith("grokking"):  # may their scores be believed? one may, one may not
            data = {"train": demo.train, "test": demo.test}
            training = dg.training_of_run(demo.run, demo.model(), **data)
            dg.metasmoothness(demo.run, training=training, directions=2)
        page = dg.explore(demo.run, epoch=epoch).to_html(folder / f"{recipe}.html")
        print(f"{page}: {page.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
