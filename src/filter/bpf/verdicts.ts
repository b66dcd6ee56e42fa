/**
 * What return codes mean at each attach point (include/uapi/linux/{pkt_cls,bpf}.h, net/sched/cls_bpf.c
 * and net/core/dev.c). A tc filter in direct-action mode and a tcx program know few codes and pass on for all others; an
 * XDP program's unknown codes abort.
 */
import type { AttachKind } from "./tables.ts";

/** What becomes of the packet: `next` asks the next program of the hook. */
export type Outcome = "pass" | "drop" | "redirect" | "stolen" | "next";

export const outcomeOrder: readonly Outcome[] = ["pass", "drop", "redirect", "stolen", "next"];

const tcCodes: ReadonlyMap<number, Outcome> = new Map([
  [0, "pass"],
  [2, "drop"],
  [4, "stolen"],
  [7, "redirect"],
  [8, "stolen"],
]);
const tcxCodes: ReadonlyMap<number, Outcome> = new Map([
  [0, "pass"],
  [2, "drop"],
  [7, "redirect"],
]);
/** XDP_TX sends the packet back where it came from: it never reaches the stack. */
const xdpCodes: ReadonlyMap<number, Outcome> = new Map([
  [2, "pass"],
  [3, "stolen"],
  [4, "redirect"],
]);

/** `code`: r0's low word, signed. */
export function outcomeOf(kind: AttachKind, code: number): Outcome {
  switch (kind) {
    case "tc":
      return tcCodes.get(code) ?? "next";
    case "tcx":
      return tcxCodes.get(code) ?? "next";
    case "xdp":
      return xdpCodes.get(code) ?? "drop";
    case "match":
      return code === 0 ? "drop" : "pass";
  }
}

const tcNames = ["TC_ACT_OK", "TC_ACT_SHOT", "TC_ACT_REDIRECT", "TC_ACT_STOLEN", "TC_ACT_UNSPEC"];
const matchNames = ["non-zero", "0", "", "", ""];
const xdpNames = ["XDP_PASS", "XDP_DROP", "XDP_REDIRECT", "XDP_TX", ""];

/** The UAPI's name for an outcome. */
export function outcomeName(kind: AttachKind, outcome: Outcome): string {
  const names = kind === "xdp" ? xdpNames : kind === "match" ? matchNames : tcNames;
  return names[outcomeOrder.indexOf(outcome)] ?? "";
}
