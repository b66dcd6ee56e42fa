export {
  Conntrack,
  type ConntrackOptions,
  type CtEntry,
  CtStatus,
  conntrackDefaults,
  describeEntryState,
  rowDirection,
} from "./conntrack.ts";
export { applyNat, type NatChoice, setupNat } from "./nat.ts";
export { SctpState } from "./sctp-state.ts";
export { TcpState } from "./tcp-window.ts";
export type { Tuple } from "./tuples.ts";
