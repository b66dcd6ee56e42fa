/**
 * Source translation of what enters by a node port and has its backend on another node (bpf/lib/nat.h): the client's
 * address and port become the node's, and the answer finds its way back by the second entry of the pair. A port that the
 * client already has from the range is kept; else, and while another connection holds it, the next candidates follow from
 * the port itself, where Cilium draws them at random.
 */
import { r0, r1, r2, r3, r4, r9, r10 } from "../../../filter/bpf/index.ts";
import { natFields, natPortOffset, natValueBytes, TupleFlag } from "../layouts.ts";
import { MapPlace } from "../maps.ts";
import { type FamilyEmission, Frame, Helper } from "./emission.ts";
import { Config } from "./identity.ts";
import { Reason } from "./reasons.ts";
import { emitRewrite } from "./rewrite.ts";

const tries = 8;
/** Ports that are given out: from here to 65,535. */
const portMin = 0x8000;
/** Odd, so that repeated steps reach every port of the range. */
const portStep = 0x1d;

/**
 * Makes the node the packet's source; the key stands as the packet does. The mapping's key is the connection's as it
 * leaves.
 */
export function emitSnat(e: FamilyEmission): void {
  const { b } = e;
  const [known, made] = [e.at("snat known"), e.at("snat made")];
  const map = e.place("snat4", "snat6");
  emitKey(e, TupleFlag.out);
  e.lookup(map, Frame.key);
  b.jump("jne", r0, 0, known);
  emitAllocate(e, map, made);
  b.label(known).load("h", r1, r0, natPortOffset(e.family)).store("w", r10, Frame.port, r1).label(made);
  b.loadMapValue(r2, MapPlace.config, e.family === 4 ? Config.node4 : Config.node6);
  e.copyAddress(r10, Frame.address, r2, 0, r1);
  emitRewrite(e, "source");
}

/**
 * The packet's destination becomes the client again if it answers a translated connection; goes to the label if it does
 * not.
 */
export function emitReverseSnat(e: FamilyEmission, unknown: string): void {
  const { b } = e;
  emitKey(e, TupleFlag.in);
  e.lookup(e.place("snat4", "snat6"), Frame.key);
  b.jump("jeq", r0, 0, unknown);
  e.copyAddress(r10, Frame.address, r0, natFields.address, r1);
  b.load("h", r1, r0, natPortOffset(e.family)).store("w", r10, Frame.port, r1);
  emitRewrite(e, "destination");
}

type KeyField = Parameters<FamilyEmission["tupleAt"]>[0];

/** Where the fields of a translation's key stand in the frame. */
function keyOf(e: FamilyEmission): (field: KeyField) => number {
  return (field) => e.tupleAt(field) - Frame.tuple + Frame.key;
}

/** From the connection's key, whose ports stand turned, to the translation's. */
function emitKey(e: FamilyEmission, flags: number): void {
  const { b } = e;
  const key = keyOf(e);
  e.copyAddress(r10, key("daddr"), r10, e.tupleAt("daddr"), r1);
  e.copyAddress(r10, key("saddr"), r10, e.tupleAt("saddr"), r1);
  b.load("h", r1, r10, e.tupleAt("sport"))
    .store("h", r10, key("dport"), r1)
    .load("h", r1, r10, e.tupleAt("dport"))
    .store("h", r10, key("sport"), r1)
    .load("b", r1, r10, e.tupleAt("protocol"))
    .store("b", r10, key("protocol"), r1)
    .store("b", r10, key("flags"), flags);
}

/** A port that no other connection to the same backend has from this node, and both entries. */
function emitAllocate(e: FamilyEmission, map: number, made: string): void {
  const { b } = e;
  const value = (offset: number): number => Frame.value + offset;
  const key = keyOf(e);
  const [again, free] = [e.at("next port"), e.at("free port")];
  // the way back: from the backend to the node, to become the client
  e.clear(Frame.value, natValueBytes(e.family));
  e.copyAddress(r10, value(natFields.address), r10, e.tupleAt("saddr"), r1);
  b.load("h", r1, r10, e.tupleAt("dport"))
    .store("h", r10, value(natPortOffset(e.family)), r1)
    .load("w", r1, r10, Frame.now)
    .store("w", r10, value(natFields.created), r1)
    .loadMapValue(r2, MapPlace.config, e.family === 4 ? Config.node4 : Config.node6);
  e.copyAddress(r10, key("saddr"), r10, e.tupleAt("daddr"), r1);
  e.copyAddress(r10, key("daddr"), r2, 0, r1);
  b.load("h", r1, r10, e.tupleAt("sport"))
    .store("h", r10, key("sport"), r1)
    .store("b", r10, key("flags"), TupleFlag.in)
    .load("h", r1, r10, e.tupleAt("dport"))
    .bigEndian(r1, 16)
    .store("w", r10, Frame.proxyPort, r1) // the candidate, in the machine's order
    .mov(r9, tries)
    .label(again)
    .jump("jeq", r9, 0, e.drop(Reason.noMapping))
    .alu("sub", r9, 1)
    .load("w", r1, r10, Frame.proxyPort)
    .alu("or", r1, portMin)
    .alu("and", r1, 0xffff)
    .mov(r2, r1)
    .alu("add", r2, portStep)
    .store("w", r10, Frame.proxyPort, r2)
    .bigEndian(r1, 16)
    .store("w", r10, Frame.port, r1)
    .store("h", r10, key("dport"), r1);
  emitUpdate(e, map, 1);
  b.jump("jeq", r0, 0, free).goto(again).label(free);
  emitKey(e, TupleFlag.out);
  b.loadMapValue(r2, MapPlace.config, e.family === 4 ? Config.node4 : Config.node6);
  e.copyAddress(r10, value(natFields.address), r2, 0, r1);
  b.load("h", r1, r10, Frame.port).store("h", r10, value(natPortOffset(e.family)), r1);
  emitUpdate(e, map, 0);
  b.goto(made);
}

function emitUpdate({ b }: FamilyEmission, map: number, flags: number): void {
  b.loadMap(r1, map)
    .mov(r2, r10)
    .alu("add", r2, Frame.key)
    .mov(r3, r10)
    .alu("add", r3, Frame.value)
    .mov(r4, flags)
    .callHelper(Helper.update);
}
