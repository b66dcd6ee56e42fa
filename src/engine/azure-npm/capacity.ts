/**
 * How far Azure NPM carries on Linux nodes. Documented: 250 nodes and 20,000 pods, past which its agents run out of
 * memory (AKS, use network policies), and the memory limit of the agent's container (azure-container-networking,
 * npm/azure-npm.yaml). What its memory is made of is inferred: each agent watches all pods, namespaces and policies, and
 * keeps every member of every set. The size of a pod in its caches is what makes the two documented figures meet.
 */
import { npmNodesMax, npmPodsMax } from "../../k8s/index.ts";
import type { CapacityPlace, EngineCapacity, MemoryPart } from "../engine.ts";

const aksPage = "AKS: secure pod traffic with network policies, limitations";

const kib = 1024;
const mib = 1024 * kib;

const programBytes = 40 * mib;
/** As client-go's informer keeps the object, whole, and NPM's own record of it. */
const podBytes = 5.5 * kib;
const namespaceBytes = 2 * kib;
const policyBytes = 4 * kib;
const setBytes = 600;
/** Two strings' headers in a Go map, with its buckets' slack, and their text. */
const memberBytes = 100;

export const npmCapacity: EngineCapacity = {
  limits: [
    {
      id: "nodes",
      what: "nodes of the cluster",
      max: npmNodesMax,
      evidence: "documented",
      source: aksPage,
      beyond: "not supported: agents run out of memory",
      used: ({ state }) => state.nodes.size,
    },
    {
      id: "pods",
      what: "pods of the cluster",
      max: npmPodsMax,
      evidence: "documented",
      source: aksPage,
      beyond: "not supported: agents run out of memory",
      used: ({ state }) => state.pods.size,
    },
  ],
  agentMemory,
  agentMemoryMax: {
    bytes: 300 * mib,
    evidence: "documented",
    source: "azure-container-networking npm/azure-npm.yaml (memory limit 300Mi)",
    beyond:
      "the kernel ends the agent (OOM); while it restarts, the node's rules are deleted and written again",
  },
};

function agentMemory({ state, tables }: CapacityPlace): readonly MemoryPart[] {
  const sets = [...(tables.iptables?.sets.values() ?? [])];
  const members = sets.reduce((sum, set) => sum + set.entries.length, 0);
  const part = (what: string, bytes: number, source: string): MemoryPart => ({
    what,
    bytes,
    evidence: "inferred",
    source,
  });
  const objects =
    state.pods.size * podBytes +
    state.namespaces.size * namespaceBytes +
    state.networkPolicies.size * policyBytes;
  const caches = sets.length * setBytes + members * memberBytes;
  return [
    { ...part("program", programBytes, "a Go program with client-go"), isFixed: true },
    part(
      "objects watched",
      objects,
      "5.5 KiB a pod, 2 KiB a namespace, 4 KiB a policy; so that 20,000 pods meet 300Mi",
    ),
    part("sets and members kept", caches, "600 bytes a set, 100 bytes a member (Go maps of strings)"),
    part("garbage not yet collected", objects + caches, "GOGC=100: as much again as is in use"),
  ];
}
