/** A small world for the oracle: pods and nodes by name, and questions like `x/a > y/b TCP 80`. */
import { type Family, parseIp } from "../../src/addr/index.ts";
import {
  buildCluster,
  type Cell,
  type CellEnd,
  type CellProtocol,
  type ClusterState,
  type ClusterWords,
  loadObjects,
} from "../../src/k8s/index.ts";
import { createOracle, type Oracle, type OracleAnswer, parseOracleReadings } from "../../src/oracle/index.ts";

export type RawObject = Readonly<Record<string, unknown>>;

export function policy(id: string, spec: RawObject): RawObject {
  const [namespace, name] = id.split("/");
  return { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: { namespace, name }, spec };
}

export interface PodTweaks {
  readonly labels?: RawObject;
  readonly node?: string;
  readonly hostNetwork?: boolean;
  readonly containers?: readonly RawObject[];
  readonly initContainers?: readonly RawObject[];
  readonly podIPs?: readonly string[];
}

export function pod(id: string, tweaks: PodTweaks = {}): RawObject {
  const {
    labels = {},
    node = "n1",
    hostNetwork = false,
    containers = [],
    initContainers = [],
    podIPs = [],
  } = tweaks;
  const [namespace, name] = id.split("/");
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace, name, labels },
    spec: { nodeName: node, hostNetwork, containers, initContainers },
    ...(podIPs.length > 0 ? { status: { podIP: podIPs[0], podIPs: podIPs.map((ip) => ({ ip })) } } : {}),
  };
}

export function namespace(name: string, labels: RawObject = {}): RawObject {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
}

export function node(name: string, ...addresses: readonly string[]): RawObject {
  const status = { addresses: addresses.map((address) => ({ type: "InternalIP", address })) };
  return { apiVersion: "v1", kind: "Node", metadata: { name }, status };
}

/** Two nodes: n1 is 10.224.0.4, n2 is 10.224.1.4. */
export const nodes: readonly RawObject[] = [node("n1", "10.224.0.4"), node("n2", "10.224.1.4")];

export interface World {
  readonly state: ClusterState;
  readonly oracle: Oracle;
  /** `x/a > node:n1 TCP 80`, `ip:203.0.113.7 > x/a ICMP 8`; `over` says which family, where ends have both. */
  ask(question: string, over?: Family): OracleAnswer["verdict"];
  answer(question: string): OracleAnswer;
  /** The explanation's lines. */
  why(question: string): readonly string[];
  cell(question: string, over?: Family): Cell;
}

export function world(
  objects: readonly RawObject[],
  readings: Readonly<Record<string, string>> = {},
  words: ClusterWords = {},
): World {
  const { state } = buildCluster(loadObjects("world", objects), words, { force: true });
  const oracle = createOracle(state, parseOracleReadings(readings));
  const end = (text: string): CellEnd => {
    const [kind = "", ...rest] = text.split(":");
    if (kind === "ip") {
      const ip = parseIp(rest.join(":"));
      if (ip === undefined) throw new Error(`no address: ${text}`);
      return { kind: "external", ip };
    }
    const found = kind === "node" ? state.nodes.get(rest[0] ?? "") : state.pods.get(text);
    if (found === undefined) throw new Error(`there is no ${text}`);
    return found.kind === "Node" ? { kind: "node", node: found } : { kind: "pod", pod: found };
  };
  const cell = (question: string, over: Family = 4): Cell => {
    const [from = "", , to = "", protocol = "", port = ""] = question.split(" ");
    return {
      from: end(from),
      to: end(to),
      protocol: protocol as CellProtocol,
      port: Number(port),
      family: over,
    };
  };
  return {
    state,
    oracle,
    cell,
    ask: (question, over) => oracle.judge(cell(question, over)).verdict,
    answer: (question) => oracle.judge(cell(question)),
    why: (question) => oracle.explain(cell(question)).map(({ text }) => text),
  };
}
