/** One node with two pods and hand-made maps, to run packets through the datapath's programs alone. */
import { hostEndpointId } from "../../../src/engine/cilium/endpoints.ts";
import {
  configEntry,
  ipcacheEntry,
  lxcEntry,
  policyMapEntry,
  writeAddress,
} from "../../../src/engine/cilium/entries.ts";
import { serviceFields, serviceKeyOffsets } from "../../../src/engine/cilium/layouts.ts";
import { datapathMaps, firstPolicyPlace, MapPlace, policyMapShape } from "../../../src/engine/cilium/maps.ts";
import { datapathPrograms, type ProgramVariant } from "../../../src/engine/cilium/programs/index.ts";
import { type BpfDatapath, type BpfTables, linkBpf, type MapEntry } from "../../../src/filter/bpf/index.ts";
import { createHookResults, Hook, Verdict } from "../../../src/filter/index.ts";
import { append, createBatch, decodeRow, rowBytes } from "../../../src/packet/index.ts";
import { type Clock, ip, linkContext, nodeAddress } from "../../filter/node.ts";

export const podA = "10.0.0.5";
export const podB = "10.0.0.6";
export const identityA = 1000;
export const identityB = 2000;

export const variants: Readonly<Record<"G1" | "G2" | "G3", ProgramVariant>> = {
  G1: { version: "1.16", generation: "G1", sctp: false, hostFirewall: false },
  G2: { version: "1.18", generation: "G2", sctp: false, hostFirewall: false },
  G3: { version: "1.19", generation: "G3", sctp: false, hostFirewall: false },
};

/** Each generation without and with the host firewall, by name. */
export const everyVariant: ReadonlyMap<string, ProgramVariant> = new Map(
  Object.entries(variants).flatMap(([name, variant]) => [
    [name, variant],
    [`${name} with host firewall`, { ...variant, hostFirewall: true }],
  ]),
);

export interface RawPolicy {
  readonly identity: number;
  readonly egress?: boolean;
  /** 0: any. */
  readonly protocol?: number;
  /** Base and bits; absent: any. */
  readonly port?: number;
  readonly portBits?: number;
  readonly deny?: boolean;
  readonly proxyPort?: number;
}

/** An entry of a policy map as the datapath reads it, byte by byte. */
export function rawPolicy(generation: "G1" | "G2" | "G3", entry: RawPolicy): MapEntry {
  const { identity, egress = false, protocol = 0, port, portBits = 16, deny = false, proxyPort = 0 } = entry;
  const prefix = port !== undefined ? 8 + portBits : protocol !== 0 ? 8 : 0;
  const [key, value] = [new Uint8Array(12), new Uint8Array(generation === "G1" ? 24 : 12)];
  const [keyView, view] = [new DataView(key.buffer), new DataView(value.buffer)];
  keyView.setUint32(0, 40 + prefix, true);
  keyView.setUint32(4, identity, true);
  key[8] = egress ? 1 : 0;
  key[9] = protocol;
  keyView.setUint16(10, port ?? 0);
  view.setUint16(0, proxyPort);
  if (generation === "G1")
    value[2] = (deny ? 1 : 0) | (protocol === 0 ? 2 : 0) | (port === undefined ? 4 : 0);
  else value[2] = (deny ? 1 : 0) | (prefix << 3);
  if (generation === "G2" && proxyPort > 0) value[4] = 128;
  if (generation === "G3")
    view.setUint32(4, deny ? 0xffff_ffff : proxyPort > 0 ? 0xffff_ff01 : 0xffff_ff00, true);
  return { key, value };
}

export interface LoneNodeOptions {
  readonly variant?: ProgramVariant;
  readonly policyA?: readonly RawPolicy[];
  readonly policyB?: readonly RawPolicy[];
  /** Of the node itself, in variants with host firewall. */
  readonly policyOfHost?: readonly RawPolicy[];
  /** More entries of fixed maps. */
  readonly entries?: Readonly<Partial<Record<number, readonly MapEntry[]>>>;
  readonly prefixes?: readonly (readonly [string, number, number])[];
  /** A last change of the tables. */
  readonly adjust?: (tables: BpfTables) => BpfTables;
  /** Runs before a program is compiled; default: the runner's own. */
  readonly compileAfter?: number;
}

/** A Service of IPv6 that has no backend, in the map of those. */
export function emptyService6(address: string, port: number): MapEntry {
  const at = serviceKeyOffsets(6);
  const key = new Uint8Array(at.bytes);
  const view = new DataView(key.buffer);
  writeAddress(view, at.address, ip(address));
  view.setUint16(at.port, port);
  key[at.protocol] = 6;
  return { key, value: new Uint8Array(serviceFields.bytes) };
}

const open: readonly RawPolicy[] = [{ identity: 0 }, { identity: 0, egress: true }];

export function loneTables(options: LoneNodeOptions = {}): BpfTables {
  const variant = options.variant ?? variants.G2;
  const sized = { ...variant, policyMapMax: 1024 };
  const entries: Record<number, readonly MapEntry[]> = {
    ...options.entries,
    [MapPlace.config]: [
      configEntry({
        uplink: "eth0",
        addresses: [ip(nodeAddress), ip("2001:db8::1")],
        world4: 9,
        world6: 10,
        ...(variant.hostFirewall ? { hostEndpoint: hostEndpointId } : {}),
      }),
    ],
    [MapPlace.lxc]: [
      lxcEntry({ ip: ip(podA), id: 5, identity: identityA, interface: "azv1" }),
      lxcEntry({ ip: ip("fd00::5"), id: 5, identity: identityA, interface: "azv1" }),
      lxcEntry({ ip: ip(podB), id: 6, identity: identityB, interface: "azv22" }),
      lxcEntry({ ip: ip("fd00::6"), id: 6, identity: identityB, interface: "azv22" }),
    ],
    [MapPlace.ipcache]: [
      ipcacheEntry({ ...ip(podA), prefix: 32 }, identityA),
      ipcacheEntry({ ...ip("fd00::5"), prefix: 128 }, identityA),
      ipcacheEntry({ ...ip(podB), prefix: 32 }, identityB),
      ipcacheEntry({ ...ip("fd00::6"), prefix: 128 }, identityB),
      ipcacheEntry({ ...ip(nodeAddress), prefix: 32 }, 1),
      ipcacheEntry({ ...ip("2001:db8::1"), prefix: 128 }, 1),
      ...(options.prefixes ?? []).map(([net, prefix, identity]) =>
        ipcacheEntry({ ...ip(net), prefix }, identity),
      ),
    ],
    [MapPlace.policies]: [
      policyMapEntry(5, firstPolicyPlace),
      policyMapEntry(6, firstPolicyPlace + 1),
      ...(variant.hostFirewall ? [policyMapEntry(hostEndpointId, firstPolicyPlace + 2)] : []),
    ],
  };
  const { programs, attachments } = datapathPrograms(variant);
  const policies = [options.policyA ?? open, options.policyB ?? open, options.policyOfHost ?? open].map(
    (list, i) => ({
      ...policyMapShape(sized, `cilium_policy_${i}`),
      entries: list.map((one) => rawPolicy(variant.generation, one)),
    }),
  );
  return {
    maps: [
      ...datapathMaps(sized).map((shape, place) => ({ ...shape, entries: entries[place] ?? [] })),
      ...policies,
    ],
    programs,
    attachments: attachments.map((one) => ({ ...one, interface: one.interface.replace("lxc", "azv") })),
  };
}

/** What a program did: the verdict, the packet it left, its mark and the events it sent. */
export interface Passage {
  readonly verdict: "accept" | "drop" | "redirect";
  readonly bytes: Uint8Array;
  readonly mark: number;
  readonly oif: number;
  /** Reason of the drop event, if there is one. */
  readonly reason: number | undefined;
  /** Of the last policy verdict event. */
  readonly matchType: number | undefined;
  readonly proxyPort: number | undefined;
}

export class LoneNode {
  readonly clock: Clock = { ns: 1e9 };
  readonly datapath: BpfDatapath;

  constructor(options: LoneNodeOptions = {}) {
    const tables = loneTables(options);
    this.datapath = linkBpf(
      options.adjust?.(tables) ?? tables,
      linkContext(this.clock),
      options.compileAfter === undefined ? {} : { compileAfter: options.compileAfter },
    );
  }

  from(pod: "A" | "B", bytes: Uint8Array): Passage {
    return this.pass(Hook.tcIngress, pod === "A" ? 3 : 4, bytes, 0);
  }

  to(pod: "A" | "B", bytes: Uint8Array, mark = 0): Passage {
    return this.pass(Hook.tcEgress, pod === "A" ? 3 : 4, bytes, mark);
  }

  pass(hook: number, index: number, bytes: Uint8Array, mark: number): Passage {
    const batch = createBatch(1, 4096);
    append(batch, bytes);
    decodeRow(batch, 0);
    batch.state[hook === Hook.tcEgress ? "oif" : "iif"][0] = index;
    batch.state.mark[0] = mark;
    const out = createHookResults(1);
    this.datapath.run(hook, batch, 0, 1, out);
    const events = this.datapath.sent.map(({ bytes: event }) => event);
    const drop = events.find(([type]) => type === 1);
    const judged = events.filter(([type]) => type === 5).at(-1);
    const view = judged === undefined ? undefined : new DataView(judged.buffer);
    const verdict = out.verdict[0];
    return {
      verdict: verdict === Verdict.accept ? "accept" : verdict === Verdict.redirect ? "redirect" : "drop",
      bytes: rowBytes(batch, 0).slice(),
      mark: batch.state.mark[0] ?? 0,
      oif: out.detail[0] ?? 0,
      reason: drop?.[1],
      matchType: view === undefined ? undefined : (view.getUint8(27) >> 3) & 7,
      proxyPort: view === undefined ? undefined : view.getInt32(20, true),
    };
  }
}
