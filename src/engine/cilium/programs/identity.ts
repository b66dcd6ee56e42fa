/**
 * Who the ends of a packet are (bpf/lib/identity.h, bpf/lib/eps.h): endpoints of the node by address, identities by the
 * longest prefix of the ipcache, and what the mark says of packets that have crossed the node's stack.
 */
import { r0, r1, r2, r6, r8, r10 } from "../../../filter/bpf/index.ts";
import { lxcKeyBytes } from "../layouts.ts";
import { MapPlace } from "../maps.ts";
import { type FamilyEmission, Frame, Skb } from "./emission.ts";

/** Identities that the datapath knows by number. */
export const Identity = {
  host: 1,
  world: 2,
  remoteNode: 6,
  kubeApiserver: 7,
  world4: 9,
  world6: 10,
} as const;

/** What the node's stack carries in a mark (bpf/lib/common.h, MARK_MAGIC_*). */
export const MarkMagic = {
  mask: 0x0f00,
  /** Its addresses are the last that it gets on this node (MARK_MAGIC_SNAT_DONE). */
  translated: 0x0300,
  proxyIngress: 0x0a00,
  proxyEgress: 0x0b00,
  host: 0x0c00,
  identity: 0x0f00,
} as const;

/** Offsets in the configuration. */
export const Config = {
  uplink: 0,
  world4: 4,
  world6: 8,
  node4: 12,
  loopback4: 16,
  node6: 20,
  loopback6: 36,
  hostEndpoint: 52,
} as const;

const info = { ifindex: 0, endpoint: 6, identity: 32 } as const;

/** r0 = the endpoint of an address in the frame, or 0. */
export function emitEndpointLookup(e: FamilyEmission, addressAt: number): void {
  const { b } = e;
  e.clear(Frame.key, lxcKeyBytes);
  b.store("b", r10, Frame.key + 16, e.family === 4 ? 1 : 2);
  e.copyAddress(r10, Frame.key, r10, addressAt, r1);
  e.lookup(MapPlace.lxc, Frame.key);
}

/** The endpoint that r0 names speaks from here on: its id, and its identity as one end's. */
export function emitTakeEndpoint(e: FamilyEmission, identityAt: number): void {
  e.b
    .load("h", r1, r0, info.endpoint)
    .store("w", r10, Frame.endpoint, r1)
    .load("w", r1, r0, info.identity)
    .store("w", r10, identityAt, r1);
}

/** Drops what an endpoint sends from an interface that is not its own; r0 names it. */
export function emitOwnInterface(e: FamilyEmission, otherwise: string): void {
  e.b.load("w", r1, r0, info.ifindex).load("w", r2, r6, Skb.ifindex).jump("jne", r1, r2, otherwise);
}

/** r0 = the ipcache's value for an address in the frame, or 0. */
function emitIpcacheLookup(e: FamilyEmission, addressAt: number): void {
  const { b } = e;
  e.clear(Frame.key, 24);
  b.store("w", r10, Frame.key, 32 + e.addressBytes * 8).store(
    "b",
    r10,
    Frame.key + 7,
    e.family === 4 ? 1 : 2,
  );
  e.copyAddress(r10, Frame.key + 8, r10, addressAt, r1);
  e.lookup(MapPlace.ipcache, Frame.key);
}

/** The identity of an address into the frame; the world's where no prefix is known. */
export function emitIdentityOf(e: FamilyEmission, addressAt: number, identityAt: number): void {
  const { b } = e;
  const [known, found] = [e.fresh("known"), e.fresh("identity")];
  emitIpcacheLookup(e, addressAt);
  b.jump("jne", r0, 0, known)
    .loadMapValue(r1, MapPlace.config, e.family === 4 ? Config.world4 : Config.world6)
    .load("w", r1, r1, 0)
    .goto(found)
    .label(known)
    .load("w", r1, r0, 0)
    .label(found)
    .store("w", r10, identityAt, r1);
}

/**
 * The source's identity at the destination: the mark's where a pod of this node or the node itself put it, else the
 * ipcache's for the source address. An address of the node alone makes nobody the host: the mark must say so.
 */
export function emitSourceIdentity(e: FamilyEmission, addressAt: number): void {
  const { b } = e;
  const [done, look, ofIdentity, store] = [
    e.fresh("source"),
    e.fresh("look up"),
    e.fresh("marked"),
    e.fresh("set"),
  ];
  b.load("w", r1, r6, Skb.mark)
    .mov(r2, r1)
    .alu("and", r2, MarkMagic.mask)
    .jump("jeq", r2, MarkMagic.identity, ofIdentity)
    .jump("jeq", r2, MarkMagic.proxyIngress, ofIdentity)
    .jump("jeq", r2, MarkMagic.proxyEgress, ofIdentity)
    .mov(r8, Identity.host)
    .jump("jeq", r2, MarkMagic.host, look)
    .loadMapValue(r8, MapPlace.config, e.family === 4 ? Config.world4 : Config.world6)
    .load("w", r8, r8, 0)
    .goto(look)
    .label(ofIdentity)
    .mov(r8, r1)
    .alu32("rsh", r8, 16)
    .alu("and", r1, 0xff)
    .alu("lsh", r1, 16)
    .alu("or", r8, r1)
    .jump("jlt", r8, 3, look) // nobody, the host, the world
    .jump("jeq", r8, Identity.remoteNode, look)
    .jump("jeq", r8, Identity.kubeApiserver, look)
    .goto(store)
    .label(look);
  emitIpcacheLookup(e, addressAt);
  b.jump("jeq", r0, 0, store)
    .load("w", r1, r0, 0)
    .jump("jeq", r1, 0, store)
    .jump("jeq", r1, Identity.host, store)
    .mov(r8, r1)
    .label(store)
    .store("w", r10, Frame.sourceIdentity, r8)
    .label(done);
}

/** Goes to the label unless the packet is a process's of the node. */
export function emitMarkIsHost(e: FamilyEmission, otherwise: string): void {
  e.b.load("w", r1, r6, Skb.mark).alu("and", r1, MarkMagic.mask).jump("jne", r1, MarkMagic.host, otherwise);
}

/** The mark by which the node's stack carries the source's identity to the next program. */
export function emitIdentityMark(e: FamilyEmission): void {
  e.b
    .load("w", r1, r10, Frame.sourceIdentity)
    .mov(r2, r1)
    .alu("rsh", r2, 16)
    .alu("and", r2, 0xff)
    .alu("lsh", r1, 16)
    .alu("or", r1, r2)
    .alu("or", r1, MarkMagic.identity)
    .store("w", r6, Skb.mark, r1);
}
