/**
 * Classes of ends that every cell treats alike, for truth tables too large to list. Two pods are alike if nothing that a
 * policy, a Service or the platform can tell pods apart by differs: labels under the keys that selectors name (of the pod
 * and of its namespace), the namespace where a policy is in it or names it, named ports, membership of every block, the
 * Services behind which they stand, node system, families. Where they stand is kept apart: pairs on one node and on two are
 * judged each, and stand as two cells where the answers differ. Other ends are classes of their own.
 */
import { cidrContains, formatIp } from "../addr/index.ts";
import { type ClusterState, type Labels, mentionsOf, type Pod } from "../k8s/index.ts";
import { type CellTable, isAsked, type TableCell } from "./cell-table.ts";
import type { CellDocument, ClassDocument } from "./documents.ts";
import { describeEnd, isSource, type SourceEnd, type TableEnd } from "./ends.ts";
import type { CellAnswer, CellJudge } from "./matrix.ts";

export interface EndClass {
  /** The end's own id where it is alone. */
  readonly id: string;
  readonly members: readonly [TableEnd, ...TableEnd[]];
}

/** `areAlike` false: what decides is not known, and every end is a class of its own. */
export function endClasses(
  state: ClusterState,
  ends: readonly TableEnd[],
  areAlike: boolean,
): readonly EndClass[] {
  const keyOf = areAlike ? podKeys(state) : undefined;
  const byKey = new Map<string, [TableEnd, ...TableEnd[]]>();
  for (const end of ends) {
    const key = end.end.kind === "pod" && keyOf !== undefined ? keyOf(end.end.pod) : end.id;
    const members = byKey.get(key);
    if (members === undefined) byKey.set(key, [end]);
    else members.push(end);
  }
  let number = 0;
  return [...byKey.values()].map((members) => ({
    id: members.length === 1 ? members[0].id : `class:${++number}`,
    members,
  }));
}

export function describeClass({ id, members }: EndClass): ClassDocument {
  const { kind } = describeEnd(members[0]);
  return { id, kind, count: members.length, members: members.map((member) => member.id) };
}

type PodKey = (pod: Pod) => string;

function podKeys(state: ClusterState): PodKey {
  const { podCidrs, serviceCidrs, nodeSubnets } = state.options;
  const mentions = mentionsOf(state);
  const namespaces = new Set(mentions.namespaces);
  const blocks = [...podCidrs, ...serviceCidrs, ...nodeSubnets, ...mentions.blocks];
  const shared = new Set<string>();
  const seen = new Set<string>();
  for (const ip of [...state.pods.values()].flatMap((pod) => pod.ips.map(formatIp)))
    (seen.has(ip) ? shared : seen).add(ip);
  const backends = servicesByAddress(state);
  const telling = nodesOfBackends(state);
  return (pod) => {
    const { namespace, labels, ips, ports, nodeName } = pod;
    if (ips.some((ip) => shared.has(formatIp(ip)))) return `${namespace}/${pod.name}`;
    const named = namespaces.has(namespace) ? namespace : "";
    return JSON.stringify([
      named,
      valuesOf(labels, mentions.podKeys),
      valuesOf(state.namespaces.get(namespace)?.labels ?? {}, mentions.namespaceKeys),
      blocks.map((block) => ips.some((ip) => cidrContains(block, ip))),
      ports.map(({ name, protocol, containerPort }) => [name, protocol, containerPort]),
      ips.map((ip) => [ip.family, backends.get(formatIp(ip)) ?? []]),
      [
        pod.hostNetwork,
        pod.phase,
        state.nodes.get(nodeName)?.os,
        pod.hostNetwork || telling.has(nodeName) ? nodeName : "",
      ],
    ]);
  };
}

function valuesOf(labels: Labels, keys: readonly string[]): readonly (string | null)[] {
  return keys.map((key) => labels[key] ?? null);
}

/** Which Services an address stands behind. */
function servicesByAddress(state: ClusterState): ReadonlyMap<string, readonly string[]> {
  const names = new Map<string, string[]>();
  for (const { namespace, serviceName, endpoints } of state.endpointSlices.values())
    for (const { ips, ready, serving } of endpoints)
      for (const ip of ips) {
        const name = `${namespace}/${serviceName} ${ready} ${serving}`;
        const text = formatIp(ip);
        const list = names.get(text);
        if (list === undefined) names.set(text, [name]);
        else list.push(name);
      }
  return names;
}

/**
 * Nodes from which a Service is not what it is from others: those of its backends where a traffic policy prefers them, where
 * the client's node stands for the client (load balancers' and external addresses), and where a backend is the node itself.
 */
function nodesOfBackends({ services, endpointSlices, nodes }: ClusterState): ReadonlySet<string> {
  const own = new Set([...nodes.values()].flatMap(({ addresses }) => addresses.map(formatIp)));
  const telling = new Set<string>();
  for (const { namespace, serviceName, endpoints } of endpointSlices.values()) {
    const service = services.get(`${namespace}/${serviceName}`);
    const isOfNodes =
      service?.internalTrafficPolicy === "Local" ||
      service?.externalTrafficPolicy === "Local" ||
      [...(service?.loadBalancerIPs ?? []), ...(service?.externalIPs ?? [])].length > 0;
    for (const { nodeName, ips } of endpoints)
      if (nodeName !== undefined && (isOfNodes || ips.some((ip) => own.has(formatIp(ip)))))
        telling.add(nodeName);
  }
  return telling;
}

export interface ClassCell {
  readonly cell: TableCell;
  readonly answer: CellAnswer;
  readonly place: CellDocument["place"];
}

/** How many cells there are between classes, but for those that stand twice. */
export function classCellCount(classes: readonly EndClass[], table: CellTable): number {
  const ends = classes.map(({ members }) => members[0]);
  return table.countBetween(ends.filter(isSource), ends);
}

/** Cells of every ordered pair of classes, by members that stand for all others. */
export function* classCells(
  classes: readonly EndClass[],
  table: CellTable,
  judge: CellJudge,
): Iterable<{ readonly from: EndClass; readonly to: EndClass; readonly cells: readonly ClassCell[] }> {
  const byNode = new Map(classes.map((one) => [one, membersByNode(one)]));
  for (const from of classes) {
    const [source] = from.members;
    if (!isSource(source)) continue;
    for (const to of classes) {
      if (!isAsked(source.end.kind, to.members[0])) continue;
      const pairs = representatives(byNode.get(from) ?? new Map(), byNode.get(to) ?? new Map());
      const [near, far] = [pairs.same ?? pairs.self, pairs.other];
      yield { from, to, cells: joined(table, judge, near, far) };
    }
  }
}

type Pair = readonly [SourceEnd, TableEnd];

/** Of the same cell near and far one answer, or two with their places. */
function joined(
  table: CellTable,
  judge: CellJudge,
  near: Pair | undefined,
  far: Pair | undefined,
): readonly ClassCell[] {
  const answers = [near, far].map((pair) =>
    pair === undefined ? [] : [...table.pair(...pair)].map((cell) => ({ cell, answer: judge(cell) })),
  );
  const [close = [], remote = []] = answers;
  const longer = close.length >= remote.length ? close : remote;
  return longer.flatMap((one, i): readonly ClassCell[] => {
    const [first, second] = [close[i], remote[i]];
    if (first === undefined || second === undefined || sameAnswer(first.answer, second.answer))
      return [{ ...one, place: undefined }];
    return [
      { ...first, place: "same-node" },
      { ...second, place: "other-node" },
    ];
  });
}

function sameAnswer(a: CellAnswer, b: CellAnswer): boolean {
  return a.verdict === b.verdict && a.by === b.by;
}

type ByNode = ReadonlyMap<string, readonly TableEnd[]>;

/** At most two members a node are kept: enough to find two that differ. */
function membersByNode({ members }: EndClass): ByNode {
  const nodes = new Map<string, TableEnd[]>();
  for (const member of members) {
    const node = nodeOf(member);
    const list = nodes.get(node);
    if (list === undefined) nodes.set(node, [member]);
    else if (list.length < 2) list.push(member);
  }
  return nodes;
}

function nodeOf({ end }: TableEnd): string {
  if (end.kind === "pod") return end.pod.nodeName;
  return end.kind === "node" ? end.node.name : "";
}

interface Representatives {
  /** Two different ends on one node. */
  readonly same: Pair | undefined;
  readonly other: Pair | undefined;
  /** An end with itself, where there is no other pair. */
  readonly self: Pair | undefined;
}

function representatives(from: ByNode, to: ByNode): Representatives {
  let same: Pair | undefined;
  let other: Pair | undefined;
  let self: Pair | undefined;
  for (const [node, sources] of from) {
    for (const [target, destinations] of to) {
      if (node !== target) other ??= pairOf(sources[0], destinations[0]);
      else
        for (const source of sources)
          for (const destination of destinations)
            if (source.id === destination.id) self ??= pairOf(source, destination);
            else same ??= pairOf(source, destination);
      if (same !== undefined && other !== undefined) return { same, other, self: undefined };
    }
  }
  return { same, other, self: same === undefined && other === undefined ? self : undefined };
}

function pairOf(from: TableEnd | undefined, to: TableEnd | undefined): Pair | undefined {
  return from !== undefined && to !== undefined && isSource(from) ? [from, to] : undefined;
}
