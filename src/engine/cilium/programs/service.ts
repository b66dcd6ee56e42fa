/**
 * Service translation, packet by packet (bpf/lib/lb.h): the frontend that the destination names, the backend that the
 * connection was given or is given now, and the way back by `reverse_nat`. The connection of a frontend is a conntrack
 * entry of its own, so that it stays with its backend. Backends are drawn at random (`bpf-lb-algorithm`), or by the
 * client's address where the Service has session affinity.
 */
import { r0, r1, r2, r3, r4, r8, r9, r10 } from "../../../filter/bpf/index.ts";
import {
  affinityKeyBytes,
  affinityValueBytes,
  backendFields,
  connectionBytes,
  connectionFields,
  revNatBytes,
  ServiceFlag,
  ServiceFlag2,
  ServiceScope,
  serviceFields,
  serviceKeyOffsets,
  TupleFlag,
} from "../layouts.ts";
import { emitAsk, emitConnectionMap } from "./conntrack.ts";
import { type FamilyEmission, Frame, Helper } from "./emission.ts";
import { Reason } from "./reasons.ts";
import { emitRewrite } from "./rewrite.ts";

/** A frontend's connection without packets: as any other that is not TCP (CT_SERVICE_LIFETIME_NONTCP). */
const lifetimeS = 60;

/**
 * r8 = the Service of the packet's destination; goes to the label without one. `fromInside`: asked by a pod or the node
 * itself, for whom a frontend may have another set of backends.
 */
export function emitServiceLookup(e: FamilyEmission, fromInside: boolean, noService: string): void {
  const { b } = e;
  const key = serviceKeyOffsets(e.family);
  const found = e.fresh("service");
  e.clear(Frame.key, key.bytes);
  e.copyAddress(r10, Frame.key, r10, e.tupleAt("daddr"), r1);
  b.load("h", r1, r10, e.tupleAt("sport"))
    .store("h", r10, Frame.key + key.port, r1)
    .load("b", r1, r10, e.tupleAt("protocol"))
    .store("b", r10, Frame.key + key.protocol, r1);
  e.lookup(e.place("services4", "services6"), Frame.key);
  b.jump("jeq", r0, 0, noService);
  if (fromInside) {
    b.load("b", r1, r0, serviceFields.flags2)
      .alu("and", r1, ServiceFlag2.twoScopes)
      .jump("jeq", r1, 0, found)
      .store("b", r10, Frame.key + key.scope, ServiceScope.internal);
    e.lookup(e.place("services4", "services6"), Frame.key);
    b.jump("jeq", r0, 0, noService).label(found);
  }
  b.mov(r8, r0);
}

/**
 * The backend of the connection to the Service that r8 names: its address and port into the frame; goes to the label
 * without one. Overwrites r8 and r9; the key of the Service stands in the frame still.
 */
export function emitBackend(e: FamilyEmission, noBackend: string): void {
  const { b } = e;
  const [select, chosen, known] = [e.at("select backend"), e.at("backend chosen"), e.at("backend known")];
  b.load("h", r1, r8, serviceFields.count)
    .jump("jeq", r1, 0, noBackend)
    .load("h", r1, r8, serviceFields.revNat)
    .store("w", r10, Frame.revNat, r1);
  emitConnectionMap(e);
  b.load("b", r1, r10, e.tupleAt("flags"))
    .alu("or", r1, TupleFlag.service)
    .store("b", r10, e.tupleAt("flags"), r1);
  emitAsk(e);
  b.jump("jeq", r0, 0, select)
    .load("h", r1, r0, connectionFields.revNat)
    .load("w", r2, r10, Frame.revNat)
    .jump("jne", r1, r2, select) // the frontend is another Service's now
    .load("w", r1, r10, Frame.now)
    .alu("add", r1, lifetimeS)
    .store("w", r0, connectionFields.lifetime, r1)
    .load("w", r1, r0, connectionFields.backend)
    .store("w", r10, Frame.backend, r1);
  e.lookup(e.place("backends4", "backends6"), Frame.backend);
  b.jump("jne", r0, 0, known).label(select);
  emitSelect(e, noBackend);
  b.label(chosen);
  emitServiceEntry(e);
  e.lookup(e.place("backends4", "backends6"), Frame.backend);
  b.jump("jeq", r0, 0, noBackend).label(known);
  const at = backendFields(e.family);
  e.copyAddress(r10, Frame.address, r0, at.address, r1);
  b.load("h", r1, r0, at.port)
    .store("w", r10, Frame.port, r1)
    .load("b", r1, r10, e.tupleAt("flags"))
    .alu("and", r1, 0xff ^ TupleFlag.service)
    .store("b", r10, e.tupleAt("flags"), r1);
}

/** A backend of the Service that r8 names: the client's, or any. */
function emitSelect(e: FamilyEmission, noBackend: string): void {
  const { b } = e;
  const [random, done, remember] = [e.at("draw"), e.at("selected"), e.at("remember")];
  const affinity = Frame.value; // key, behind it the value
  b.load("b", r1, r8, serviceFields.flags).alu("and", r1, ServiceFlag.affinity).jump("jeq", r1, 0, random);
  emitAffinityKey(e, affinity);
  e.lookup(e.place("affinity4", "affinity6"), affinity);
  b.jump("jeq", r0, 0, random)
    .load("w", r1, r0, 0)
    .load("w", r2, r8, serviceFields.backend) // of a frontend: the affinity's timeout
    .alu("add", r1, r2)
    .load("w", r2, r10, Frame.now)
    .jump("jle", r1, r2, random)
    .load("w", r1, r0, 8)
    .store("w", r10, Frame.backend, r1);
  e.lookup(e.place("backends4", "backends6"), Frame.backend);
  b.jump("jne", r0, 0, remember).label(random);
  const key = serviceKeyOffsets(e.family);
  b.callHelper(Helper.random)
    .load("h", r1, r8, serviceFields.count)
    .alu32("mod", r0, r1)
    .alu("add", r0, 1)
    .store("h", r10, Frame.key + key.slot, r0);
  e.lookup(e.place("services4", "services6"), Frame.key);
  b.jump("jeq", r0, 0, noBackend)
    .load("w", r1, r0, serviceFields.backend)
    .store("w", r10, Frame.backend, r1)
    .label(remember)
    .load("b", r1, r8, serviceFields.flags)
    .alu("and", r1, ServiceFlag.affinity)
    .jump("jeq", r1, 0, done);
  emitAffinityKey(e, affinity);
  const value = affinity + 24;
  e.clear(value, affinityValueBytes);
  b.load("w", r1, r10, Frame.now)
    .store("w", r10, value, r1)
    .load("w", r1, r10, Frame.backend)
    .store("w", r10, value + 8, r1)
    .loadMap(r1, e.place("affinity4", "affinity6"))
    .mov(r2, r10)
    .alu("add", r2, affinity)
    .mov(r3, r10)
    .alu("add", r3, value)
    .mov(r4, 0)
    .callHelper(Helper.update)
    .label(done);
}

function emitAffinityKey(e: FamilyEmission, at: number): void {
  e.clear(at, affinityKeyBytes(e.family));
  e.copyAddress(r10, at, r10, e.tupleAt("saddr"), r1);
  e.b.load("w", r1, r10, Frame.revNat).store("h", r10, at + e.addressBytes, r1);
}

/** The frontend's connection, by the key that has the service flag; r9 names its map. */
function emitServiceEntry(e: FamilyEmission): void {
  const { b } = e;
  e.clear(Frame.value, connectionBytes);
  b.load("w", r1, r10, Frame.backend)
    .store("w", r10, Frame.value + connectionFields.backend, r1)
    .load("w", r1, r10, Frame.revNat)
    .store("h", r10, Frame.value + connectionFields.revNat, r1)
    .load("w", r1, r10, Frame.now)
    .alu("add", r1, lifetimeS)
    .store("w", r10, Frame.value + connectionFields.lifetime, r1)
    .mov(r1, r9)
    .mov(r2, r10)
    .alu("add", r2, Frame.tuple)
    .mov(r3, r10)
    .alu("add", r3, Frame.value)
    .mov(r4, 0)
    .callHelper(Helper.update)
    .jump("jne", r0, 0, e.drop(Reason.connectionNotCreated));
}

/** Gives a reply the address that its client knows, by `Frame.revNat`; a Service that is gone changes nothing. */
export function emitReverseNat(e: FamilyEmission): void {
  const { b } = e;
  const done = e.fresh("reverse translated");
  b.load("w", r1, r10, Frame.revNat).store("w", r10, Frame.key, r1);
  e.lookup(e.place("reverseNat4", "reverseNat6"), Frame.key);
  b.jump("jeq", r0, 0, done);
  e.copyAddress(r10, Frame.address, r0, 0, r1);
  b.load("h", r1, r0, revNatBytes(e.family) - 2).store("w", r10, Frame.port, r1);
  emitRewrite(e, "source");
  b.label(done);
}
