/** Which stages a connection meets, by what its ends are, of which kinds of nodes, and whether these are one. */
import type { Way } from "../base/index.ts";
import type { Chain } from "./chains.ts";
import type { StatedNode } from "./cluster.ts";
import type { Stage, StageBuilder } from "./stages.ts";

/** A stage as one node asks it: that node's own address is known as such. */
export interface Step {
  readonly stage: Stage;
  readonly sourceIsOwn: boolean;
  readonly destinationIsOwn: boolean;
}

export interface Plan {
  /** Number 0 is for the walk; so is every other `undefined`. */
  readonly programs: readonly (readonly Step[] | undefined)[];
  readonly programOf: Uint16Array;
  /** How many kinds of ends: outside, then pods and nodes by kind of node. */
  readonly kinds: number;
}

type EndPart = "outside" | "pod" | "node";

/** One node that a connection passes. */
interface Passage {
  readonly kind: number;
  readonly way: Way;
  readonly sourceIsOwn: boolean;
  readonly destinationIsOwn: boolean;
}

/** `isStated`: by number of the node, whether its statement can be used; `nodeOf`: on which node a class's addresses are. */
export function planWays(
  nodes: readonly StatedNode[],
  isStated: readonly boolean[],
  builder: StageBuilder,
  nodeKinds: number,
  nodeOf: (one: number) => StatedNode | undefined,
): Plan {
  const kinds = 1 + 2 * nodeKinds;
  const firstOfKind = Array.from({ length: nodeKinds }, (_, kind) =>
    nodes.findIndex((node) => node.kind === kind),
  );
  const isUsable = firstOfKind.map(
    (_, kind) => !nodes.some((node, number) => node.kind === kind && !isStated[number]),
  );
  const stagesOf = memo((kind: number, way: Way): readonly Stage[] | undefined => {
    const chains = nodes[firstOfKind[kind] ?? -1]?.ways[way];
    if (chains === undefined || !isUsable[kind]) return undefined;
    return builder.stagesOf({
      name: `${kind} ${way}`,
      chains,
      isLocal: (end) => isAtHome(way, end),
      chainsOf: (one): readonly Chain[] | undefined => {
        const node = nodeOf(one);
        return node?.kind === kind ? node.ways[way] : undefined;
      },
    });
  });
  const programs: (readonly Step[] | undefined)[] = [undefined];
  const programOf = new Uint16Array(2 * kinds * kinds);
  const numbers = new Map<string, number>();
  for (const isNear of [false, true])
    for (let from = 0; from < kinds; from++)
      for (let to = 0; to < kinds; to++) {
        const steps = stepsOf(
          passages(endOfKind(from, nodeKinds), endOfKind(to, nodeKinds), isNear),
          stagesOf,
        );
        if (steps === undefined) continue;
        const text = steps
          .map(({ stage, sourceIsOwn, destinationIsOwn }) => `${stage.id} ${sourceIsOwn} ${destinationIsOwn}`)
          .join();
        let number = numbers.get(text);
        if (number === undefined) {
          number = programs.push(steps) - 1;
          numbers.set(text, number);
        }
        programOf[((isNear ? kinds : 0) + from) * kinds + to] = number;
      }
  return { programs, programOf, kinds };
}

/** The node's own side of the way is the one that is not the wire. */
function isAtHome(way: Way, end: "source" | "destination"): boolean {
  const [from, to] = way.split("-");
  return (end === "source" ? from : to) !== "wire";
}

function endOfKind(kind: number, nodeKinds: number): { readonly part: EndPart; readonly node: number } {
  if (kind === 0) return { part: "outside", node: -1 };
  return { part: kind <= nodeKinds ? "pod" : "node", node: (kind - 1) % nodeKinds };
}

/** `undefined`: for the walk. */
function passages(
  from: { readonly part: EndPart; readonly node: number },
  to: { readonly part: EndPart; readonly node: number },
  isNear: boolean,
): readonly Passage[] | undefined {
  const [source, destination] = [from.part, to.part];
  if (source !== "pod" && destination !== "pod") return undefined;
  if (source === "outside" || destination === "outside") {
    if (isNear) return undefined;
    const way: Way = source === "outside" ? "wire-pod" : "pod-wire";
    const kind = source === "outside" ? to.node : from.node;
    return [{ kind, way, sourceIsOwn: false, destinationIsOwn: false }];
  }
  const [sourceIsOwn, destinationIsOwn] = [source === "node", destination === "node"];
  if (isNear) {
    if (from.node !== to.node) return undefined;
    return [{ kind: from.node, way: `${source}-${destination}` as Way, sourceIsOwn, destinationIsOwn }];
  }
  return [
    { kind: from.node, way: `${source}-wire`, sourceIsOwn, destinationIsOwn: false },
    { kind: to.node, way: `wire-${destination}`, sourceIsOwn: false, destinationIsOwn },
  ];
}

function stepsOf(
  list: readonly Passage[] | undefined,
  stagesOf: (kind: number, way: Way) => readonly Stage[] | undefined,
): readonly Step[] | undefined {
  if (list === undefined) return undefined;
  const steps: Step[] = [];
  for (const { kind, way, sourceIsOwn, destinationIsOwn } of list) {
    const stages = stagesOf(kind, way);
    if (stages === undefined) return undefined;
    for (const stage of stages) {
      const isKnown = steps.some(
        (one) =>
          one.stage === stage && one.sourceIsOwn === sourceIsOwn && one.destinationIsOwn === destinationIsOwn,
      );
      if (!isKnown) steps.push({ stage, sourceIsOwn, destinationIsOwn });
    }
  }
  return steps;
}

function memo(make: (kind: number, way: Way) => readonly Stage[] | undefined): typeof make {
  const known = new Map<string, readonly Stage[] | undefined>();
  return (kind, way) => {
    const key = `${kind} ${way}`;
    if (!known.has(key)) known.set(key, make(kind, way));
    return known.get(key);
  };
}
