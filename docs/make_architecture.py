"""Write docs/images/architecture.svg: how a batch, a score and a click travel through the rooms."""

from pathlib import Path

LANES = (
    (
        "A batch, while your model trains",
        [
            ("your loop", "recorder.batch(logits, y, ids)"),
            ("recording/", "keeps outputs by id; samples .grad"),
            ("data/", "Served: both sets, once, by id"),
            ("tasks/", "loss, margin, right or wrong"),
            ("training/", "is this the loss that was trained?"),
            ("record/", "one row, one commit"),
        ],
    ),
    (
        "A score, at every checkpoint",
        [
            ("dg.attribute", "run, model, train, test"),
            ("data/, tasks/", "same examples, labels and outputs?"),
            ("gradients/", "Plan: proved per-example gradients"),
            ("projections/, solve/", "kernel or sketch; damping"),
            ("methods/", "TRAK, influence, kNN, ..."),
            ("record/", "scores/<method>, with digests"),
        ],
    ),
    (
        "A click, on the board",
        [
            ("frontend/", "selection, in the browser"),
            ("data/source.ts", "a key: scores/trak/12"),
            ("widgets/answers/", "the blocks that answer it"),
            ("widgets/reading/", "tables, faces, lights"),
            ("record/", "a reader: never writes"),
            ("views/", "draw; a page without a kernel too"),
        ],
    ),
)
WIDTH, LANE, LEFT, BOX, GAP, TALL = 1210, 112, 20, 180, 18, 62

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1b1f24 }
  .lane { font-weight: 650; font-size: 15px }
  .room { font-weight: 650 }
  .what { font-size: 11px; fill: #57606a }
  rect { fill: #f6f8fa; stroke: #c8d1da }
  .page { fill: #fff; stroke: none }
  .record { fill: #e1f0fb; stroke: #0072b2 }
  path { stroke: #57606a; fill: none; stroke-width: 1.4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .what { fill: #9aa6b2 }
    rect { fill: #1c2229; stroke: #3d4752 } .record { fill: #12303f; stroke: #56b4e9 }
    path { stroke: #9aa6b2 } .page { fill: #0d1117 }
  }
"""


def lines(text: str, most: int = 26) -> list[str]:
    """The words of a text, in lines of at most so many characters."""
    out = [""]
    for word in text.split():
        if out[-1] and len(out[-1]) + len(word) >= most:
            out.append("")
        out[-1] = f"{out[-1]} {word}".strip()
    return out


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def drawing() -> str:
    parts = []
    for lane, (title, boxes) in enumerate(LANES):
        top = 34 + lane * LANE
        parts.append(f'<text class="lane" x="{LEFT}" y="{top - 10}">{escaped(title)}</text>')
        for at, (room, what) in enumerate(boxes):
            x = LEFT + at * (BOX + GAP)
            kind = ' class="record"' if room == "record/" else ""
            parts.append(
                f'<rect{kind} x="{x}" y="{top}" width="{BOX}" height="{TALL}" rx="7"/>'
                f'<text class="room" x="{x + 10}" y="{top + 21}">{escaped(room)}</text>'
            )
            parts += [
                f'<text class="what" x="{x + 10}" y="{top + 38 + 14 * n}">{escaped(line)}</text>'
                for n, line in enumerate(lines(what))
            ]
            if at:
                y = top + TALL / 2
                parts.append(f'<path d="M{x - GAP + 2} {y}h{GAP - 5}m-5 -4l5 4l-5 4"/>')
    height = 34 + len(LANES) * LANE - 26
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="How a batch, a score and a click travel"><style>{STYLE}</style>\n'
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    (Path(__file__).parent / "images" / "architecture.svg").write_text(drawing())
