/** The node that a program runs on: its own addresses, and the ways by which a program sends a packet on itself. */
import { r1, r2, r3, r6, r10 } from "../../../filter/bpf/index.ts";
import { MapPlace } from "../maps.ts";
import { type FamilyEmission, Helper, Skb } from "./emission.ts";
import { Config, MarkMagic } from "./identity.ts";

/** The loopback interface of every network namespace (include/net/flow.h, LOOPBACK_IFINDEX). */
const loopbackIndex = 1;

/** Goes to the label unless one of the packet's addresses is the node's. */
export function emitUnlessNode(e: FamilyEmission, end: "saddr" | "daddr", label: string): void {
  e.b.loadMapValue(r3, MapPlace.config, e.family === 4 ? Config.node4 : Config.node6);
  e.unlessEqual([r10, e.tupleAt(end)], [r3, 0], [r1, r2], label);
}

/** Goes to the label if the packet crosses the interface that leads off the node; r1 is that interface's number. */
export function emitIfUplink({ b }: FamilyEmission, label: string): void {
  b.loadMapValue(r1, MapPlace.config, Config.uplink)
    .load("w", r1, r1, 0)
    .load("w", r2, r6, Skb.ifindex)
    .jump("jeq", r1, r2, label);
}

/** Sends the packet by the interface that r1 names, and ends. */
export function emitRedirect({ b }: FamilyEmission): void {
  b.mov(r2, 0).callHelper(Helper.redirect).exit();
}

/** Sends what has its last addresses off the node; the host firewall has no say in it (`ctx_snat_done`). */
export function emitToUplink(e: FamilyEmission): void {
  const { b } = e;
  if (e.variant.hostFirewall)
    b.load("w", r1, r6, Skb.mark)
      .alu("and", r1, ~MarkMagic.mask)
      .alu("or", r1, MarkMagic.translated)
      .store("w", r6, Skb.mark, r1);
  b.loadMapValue(r1, MapPlace.config, Config.uplink).load("w", r1, r1, 0);
  emitRedirect(e);
}

/**
 * Hands the packet to the node's own stack, past its routing: an answer may come from an address of the node's own, which
 * no other interface may bring.
 */
export function emitToNode({ b }: FamilyEmission): void {
  b.mov(r1, loopbackIndex)
    .mov(r2, 1) // BPF_F_INGRESS
    .callHelper(Helper.redirect)
    .exit();
}
