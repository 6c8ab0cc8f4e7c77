// Every view of the board, in the order of their slots.
import type { ViewKind } from "../view";
import { bias } from "./bias/bias";
import { comparison } from "./comparison/comparison";
import { evolution } from "./evolution/evolution";
import { gallery } from "./gallery/gallery";
import { gradients } from "./gradients/gradients";
import { head } from "./head";
import { influencers } from "./influencers/influencers";
import { dynamicsMap } from "./map/map";
import { timeline } from "./timeline/timeline";
import { transition } from "./transition/transition";
import { validity } from "./validity/validity";

export const KINDS: readonly ViewKind[] = [
  head,
  timeline,
  gallery,
  influencers,
  evolution,
  transition,
  dynamicsMap,
  gradients,
  bias,
  validity,
  comparison,
];
