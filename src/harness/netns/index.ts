export {
  type LiveDifference,
  type LiveDocument,
  type LiveOptions,
  type LiveOutcome,
  runLive,
} from "./live-run.ts";
export { checkPlaces } from "./namespace.ts";
export { type LivePlace, parseLivePlace } from "./place.ts";
export { type LeftOut, type LivePlan, planLive } from "./plan.ts";
