/**
 * How far Cilium carries on AKS. Documented: 5,000 nodes and 200,000 pods with an overlay, 65,535 identities (AKS,
 * Azure CNI powered by Cilium; large clusters); the sizes of its maps stand in the maps. What the agent's memory is made of
 * is inferred: it keeps the addresses and identities of all pods, selectors and the policies of its own endpoints. AKS
 * publishes no limit for it.
 */
import { contentOf } from "../../filter/bpf/index.ts";
import type { CapacityPlace, EngineCapacity, MemoryPart } from "../engine.ts";
import { firstPolicyPlace, MapPlace } from "./maps.ts";

const ciliumPage = "AKS: Azure CNI powered by Cilium, limitations";
const scalePage = "AKS: best practices for performance and scaling of large clusters";

const kib = 1024;
const mib = 1024 * kib;

const programBytes = 120 * mib;
const addressBytes = 1 * kib;
const identityBytes = 4 * kib;
const policyEntryBytes = 200;

/** Identities of pods; below are reserved ones, above those that a node gives to address ranges. */
const podIdentities = { first: 256, last: 65_535 };

export const ciliumCapacity: EngineCapacity = {
  limits: [
    {
      id: "nodes",
      what: "nodes of the cluster",
      max: 5000,
      evidence: "documented",
      source: scalePage,
      beyond: "not supported",
      used: ({ state }) => state.nodes.size,
    },
    {
      id: "pods",
      what: "pods of the cluster",
      max: 200_000,
      evidence: "documented",
      source: scalePage,
      beyond: "not supported (50,000 with addresses of a virtual network)",
      used: ({ state }) => state.pods.size,
    },
    {
      id: "identities",
      what: "security identities",
      max: 65_535,
      evidence: "documented",
      source: ciliumPage,
      beyond: "pods with further sets of labels get no identity, and stay as init",
      used: (place) => identityCount(place),
    },
  ],
  agentMemory,
  overflows: ["policy-map-overflow", "ipcache-full", "identities-exhausted"],
  stores: {
    cilium_policy: policyMapWords(),
    cilium_policy_v2: policyMapWords(),
    cilium_ipcache: {
      id: "ipcache",
      what: "addresses and prefixes in the ipcache",
      source: "cilium Documentation, eBPF maps; pkg/maps/ipcache",
      beyond: "addresses without a place are taken for the world",
    },
    cilium_lxc: {
      id: "endpoints",
      what: "addresses of endpoints on a node",
      source: "cilium Documentation, eBPF maps; pkg/maps/lxcmap",
      beyond: "further pods of the node are not reached",
    },
  },
};

function policyMapWords(): NonNullable<EngineCapacity["stores"]>[string] {
  return {
    id: "policy-map",
    what: "entries of an endpoint's policy map",
    source: "cilium bpf-policy-map-max (AKS: 16,384)",
    beyond: "an arbitrary part is not enforced: missing allows drop, missing denies let pass",
  };
}

const counted = new WeakMap<object, number>();

/** Of pods: distinct numbers among what the node's ipcache says of addresses. Its base is the same on all nodes. */
function identityCount({ tables }: CapacityPlace): number {
  const ipcache = tables.bpf?.maps[MapPlace.ipcache];
  if (ipcache === undefined) return 0;
  const key = ipcache.base ?? ipcache.entries;
  let count = counted.get(key);
  if (count === undefined) {
    const identities = new Set<number>();
    for (const { value } of contentOf(ipcache)) {
      const identity = new DataView(value.buffer, value.byteOffset).getUint32(0, true);
      if (identity >= podIdentities.first && identity <= podIdentities.last) identities.add(identity);
    }
    count = identities.size;
    counted.set(key, count);
  }
  return count;
}

function agentMemory(place: CapacityPlace): readonly MemoryPart[] {
  const maps = place.tables.bpf?.maps ?? [];
  const sizeOf = ({ base = [], entries }: (typeof maps)[number]): number => base.length + entries.length;
  const ipcache = maps[MapPlace.ipcache];
  const addresses = ipcache === undefined ? 0 : sizeOf(ipcache);
  const entries = maps.slice(firstPolicyPlace).reduce((sum, map) => sum + sizeOf(map), 0);
  const caches = addresses * addressBytes + identityCount(place) * identityBytes;
  const policies = entries * policyEntryBytes;
  const part = (what: string, bytes: number, source: string): MemoryPart => ({
    what,
    bytes,
    evidence: "inferred",
    source,
  });
  return [
    {
      ...part("program", programBytes, "a Go program with client-go and its compiled programs"),
      isFixed: true,
    },
    part("addresses and identities", caches, "1 KiB an address, 4 KiB an identity with its selectors"),
    part("policies of endpoints", policies, "200 bytes an entry, realized and desired"),
    part("garbage not yet collected", caches + policies, "GOGC=100: as much again as is in use"),
  ];
}
