// Every view of the board, in the order of their slots.
import type { ViewKind } from "../view";
import { gallery } from "./gallery/gallery";
import { head } from "./head";
import { influencers } from "./influencers/influencers";
import { timeline } from "./timeline/timeline";

export const KINDS: readonly ViewKind[] = [head, timeline, gallery, influencers];
