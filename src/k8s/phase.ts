/** Pods that have ended are still objects, but have no network any more. */
import type { Pod } from "./types.ts";

export function isEnded(pod: Pick<Pod, "phase">): boolean {
  return pod.phase === "Succeeded" || pod.phase === "Failed";
}
