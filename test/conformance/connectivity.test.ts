/**
 * Reviewed connection lists of np-guard's analyzer, held against the oracle. Conventions of that tool: pods of one
 * workload are merged and pairs within it left out; an ipBlock never matches pods; hostNetwork pods are policed like
 * others; phases are not looked at; External is every address that is no pod's; only TCP, UDP and SCTP exist.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { formatIp, type Ip, ipAdd, ipv4, parseIp } from "../../src/addr/index.ts";
import { tablePorts } from "../../src/harness/index.ts";
import {
  buildCluster,
  type Cell,
  type CellEnd,
  type ClusterState,
  loadManifests,
  type Pod,
} from "../../src/k8s/index.ts";
import { createOracle, parseOracleReadings } from "../../src/oracle/index.ts";

const root = join(process.env["PODWIRE_SHARED"] ?? "../shared", "truth/connectivity");
const cases = existsSync(root)
  ? readdirSync(root).filter((name) => existsSync(join(root, name, "connections.txt")))
  : [];

const protocols = ["TCP", "UDP", "SCTP"] as const;
type Protocol = (typeof protocols)[number];

interface Line {
  readonly from: string;
  readonly to: string;
  readonly allows: (protocol: Protocol, port: number) => boolean;
}

function parseLines(text: string): readonly Line[] {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const match = /^(.+?) => (.+?) : (.+)$/.exec(line.trim());
      if (match === null) throw new Error(`not a connection: ${line}`);
      const [, from = "", to = "", connections = ""] = match;
      return { from, to, allows: parseConnections(connections) };
    });
}

/** `All Connections`, `TCP 80`, `TCP 1-1000,8080,UDP 53`. */
function parseConnections(text: string): Line["allows"] {
  if (text === "All Connections") return () => true;
  const ranges: (readonly [Protocol, number, number])[] = [];
  let protocol: Protocol = "TCP";
  for (const part of text.split(",")) {
    const [first = "", second] = part.trim().split(" ");
    const named = protocols.find((one) => one === first);
    if (named !== undefined) protocol = named;
    const range = named === undefined ? first : (second ?? "1-65535");
    const [min = 0, max = min] = range.split("-").map(Number);
    if (Number.isNaN(min) || Number.isNaN(max)) throw new Error(`not a list of ports: ${text}`);
    ranges.push([protocol, min, max]);
  }
  return (asked, port) => ranges.some(([one, min, max]) => one === asked && port >= min && port <= max);
}

const externalPattern = /^(.+)\[External\]$/;

function rangeOf(name: string): readonly [number, number] | undefined {
  const text = externalPattern.exec(name)?.[1];
  if (text === undefined) return undefined;
  const [first = "", last = first] = text.split("-");
  const word = (address: string): number => parseIp(address)?.words[0] ?? Number.NaN;
  return [word(first), word(last)];
}

/** `namespace/name[Kind]` of the workload that a pod stands for; static pods stand for themselves. */
function workloadOf(pod: Pod): string {
  const { owner, namespace, name } = pod;
  return owner === undefined || owner.kind === "Node"
    ? `${namespace}/${name}[Pod]`
    : `${namespace}/${owner.name}[${owner.kind}]`;
}

function load(name: string): ClusterState {
  const folder = join(root, name, "manifests");
  const files = readdirSync(folder).sort();
  const inputs = files.map((file) => ({
    name: file,
    text: readFileSync(join(folder, file), "utf8").replaceAll(
      /("?phase"?: *"?)(Succeeded|Failed)/g,
      "$1Running",
    ),
  }));
  return buildCluster(loadManifests(inputs)).state;
}

/** Ports on both sides of every number that anything names. */
function interestingPorts(state: ClusterState, lines: readonly Line[]): readonly number[] {
  const ports = new Set([1, 53, 80, 65_535]);
  for (const { port } of tablePorts(state))
    for (const near of [port - 1, port, port + 1]) if (near >= 1 && near <= 65_535) ports.add(near);
  expect(lines.length).toBeGreaterThan(0);
  return [...ports];
}

/** An address on each side of every edge that a list or a policy names, none of them a pod's. */
function externalAddresses(state: ClusterState, lines: readonly Line[]): readonly Ip[] {
  const edges = new Set<number>([0x01000001, 0xdfffffff]);
  const add = (first: number, last: number): void => {
    for (const edge of [first - 1, first, last, last + 1])
      if (edge > 0 && edge <= 0xffffffff) edges.add(edge);
  };
  for (const line of lines)
    for (const end of [line.from, line.to]) {
      const range = rangeOf(end);
      if (range !== undefined) add(...range);
    }
  for (const policy of state.networkPolicies.values())
    for (const rule of [...policy.ingress, ...policy.egress])
      for (const { ipBlock } of rule.peers)
        for (const { words, prefix } of ipBlock === undefined ? [] : [ipBlock.cidr, ...ipBlock.except])
          add(words[0] ?? 0, (words[0] ?? 0) + 2 ** (32 - prefix) - 1);
  const owned = new Set([...state.pods.values()].flatMap((pod) => pod.ips.map(formatIp)));
  return [...edges].map((word) => {
    let ip = ipv4(word);
    while (owned.has(formatIp(ip))) ip = ipAdd(ip, 1);
    return ip;
  });
}

describe.skipIf(cases.length === 0)(
  "the oracle against reviewed connection lists (needs PODWIRE_SHARED/truth/connectivity)",
  () => {
    it.each(cases)("%s: every line holds and nothing else is allowed", (name) => {
      const state = load(name);
      const lines = parseLines(readFileSync(join(root, name, "connections.txt"), "utf8"));
      const oracle = createOracle(
        state,
        parseOracleReadings({ hostNetwork: "distinguished", ipBlockPods: "never" }),
      );
      const ports = interestingPorts(state, lines);
      const pods = [...state.pods.values()];
      const wrong: string[] = [];
      let compared = 0;
      const compare = (from: CellEnd, to: CellEnd, what: string, said: readonly Line[]): void => {
        for (const protocol of protocols)
          for (const port of ports) {
            const cell: Cell = { from, to, protocol, port, family: 4 };
            const expected = said.some((line) => line.allows(protocol, port)) ? "allow" : "deny";
            const { verdict } = oracle.judge(cell);
            compared++;
            if (verdict !== expected)
              wrong.push(`${what} ${port}/${protocol}: ${expected} by the list, ${verdict} by the oracle`);
          }
      };
      const byPair = groupLines(lines);
      for (const from of pods)
        for (const to of pods) {
          const [source, destination] = [workloadOf(from), workloadOf(to)];
          if (source === destination) continue;
          compare(
            { kind: "pod", pod: from },
            { kind: "pod", pod: to },
            `${source} => ${destination}`,
            byPair.get(`${source} ${destination}`) ?? [],
          );
        }
      for (const ip of externalAddresses(state, lines)) {
        const word = ip.words[0] ?? 0;
        const covers = (end: string): boolean => {
          const range = rangeOf(end);
          return range !== undefined && word >= range[0] && word <= range[1];
        };
        const external: CellEnd = { kind: "external", ip };
        for (const pod of pods) {
          const workload = workloadOf(pod);
          compare(
            { kind: "pod", pod },
            external,
            `${workload} => ${formatIp(ip)}`,
            lines.filter((line) => line.from === workload && covers(line.to)),
          );
          compare(
            external,
            { kind: "pod", pod },
            `${formatIp(ip)} => ${workload}`,
            lines.filter((line) => line.to === workload && covers(line.from)),
          );
        }
      }
      expect(wrong.slice(0, 10)).toEqual([]);
      expect(compared).toBeGreaterThan(1000);
      const known = new Set(pods.map(workloadOf));
      for (const line of lines)
        for (const end of [line.from, line.to])
          if (rangeOf(end) === undefined) expect(known, end).toContain(end);
    });
  },
);

function groupLines(lines: readonly Line[]): ReadonlyMap<string, readonly Line[]> {
  const groups = new Map<string, Line[]>();
  for (const line of lines) {
    const key = `${line.from} ${line.to}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [line]);
    else group.push(line);
  }
  return groups;
}
