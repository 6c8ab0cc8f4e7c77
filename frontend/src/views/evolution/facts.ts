// What the tip says of one point: its label and group, right or wrong and its loss, its score.
import { indexNearest } from "../../data/epochs";
import type { Projection } from "../../data/projection";
import type { Record } from "../../data/record";
import { clipped, rankName } from "../../ui/format";
import { wordsFor } from "../../ui/words";
import { lossOf } from "./colouring";
import type { Material } from "./material";

export function factsOf(
  row: number,
  moment: number,
  projection: Projection,
  material: Material,
  record: Record,
): string[] {
  const test = projection.split[row] === 1,
    place = projection.place[row]!,
    course = test ? material.test : material.train,
    label = record.classes[projection.label?.[row] ?? -1],
    group = record.groups[projection.group?.[row] ?? -1],
    lines = [`${test ? "test" : "train"} #${projection.id[row]!}`];
  if (label !== undefined) lines.push(clipped(label, 40));
  if (group !== undefined) lines.push(`group ${clipped(group, 40)}`);
  if (course) {
    const at = indexNearest(course.epochs, moment),
      margin = course.margin(at, place),
      loss = Number.isFinite(margin) ? `, loss ${Number(lossOf(margin).toPrecision(2))}` : "";
    lines.push(`${course.correct(at, place) ? "right" : "wrong"}${loss}`);
  }
  if (!test) lines.push(...rankOf(place, moment, material, record));
  return lines;
}

/** "3rd of those that helped most", where that is known: among the top ones. */
function rankOf(place: number, moment: number, { scores }: Material, record: Record): string[] {
  if (!scores?.epochs.length) return [];
  const epoch = indexNearest(scores.epochs, moment),
    column = scores.position.indexOf(place as never),
    words = wordsFor(record.light(moment, record.method(null)?.id ?? null));
  for (const side of [0, 1] as const) {
    const rank = scores.top(epoch, side).indexOf(column);
    if (column >= 0 && rank >= 0)
      return [`${rankName(rank + 1)}: ${(side ? words.least : words.most).toLowerCase()}`];
  }
  return [];
}
