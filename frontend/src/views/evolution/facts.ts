// What the tip says of one point: its label and group, right or wrong and its loss, its score.
import { indexNearest } from "../../data/epochs";
import type { Projection } from "../../data/projection";
import type { Record } from "../../data/record";
import { clipped, signed } from "../../ui/format";
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
  if (label !== undefined) lines.push(`label ${clipped(label, 40)}`);
  if (group !== undefined) lines.push(`group ${clipped(group, 40)}`);
  if (course) {
    const at = indexNearest(course.epochs, moment),
      margin = course.margin(at, place),
      loss = Number.isFinite(margin) ? `, loss ${Number(lossOf(margin).toPrecision(2))}` : "";
    lines.push(`${course.correct(at, place) ? "right" : "wrong"}${loss}`);
  }
  const score = test ? NaN : scoreOf(place, moment, material);
  if (Number.isFinite(score)) lines.push(`score ${signed(score)}`);
  return lines;
}

/** A training example's score where it is known to the last digit: among the top ones, or all rows are here. */
function scoreOf(place: number, moment: number, { scores, rows }: Material): number {
  if (!scores?.epochs.length) return NaN;
  const epoch = indexNearest(scores.epochs, moment);
  if (rows) return rows.values[epoch * rows.count + place]! * scores.scale(epoch);
  const column = scores.position.indexOf(place as never);
  return scores.top(epoch, 0).includes(column) || scores.top(epoch, 1).includes(column)
    ? scores.score(epoch, column)
    : NaN;
}
