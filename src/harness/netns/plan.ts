/**
 * What a real node has to be shown, and what must come out of it: a scenario's run seen from one node. Every packet that
 * enters the node is sent once; what leaves it (the packet, or what its hooks sent back) is expected where its interface
 * is. Left out and counted: what the node itself sends and takes, whatever comes after the cluster or the engine was
 * changed or after a wait that outlives connections (a real node's tables and clock do not follow the scenario), and what
 * follows the first packet of a connection whose source the node rewrote, since the kernel draws another port.
 */
import { formatIp } from "../../addr/index.ts";
import { InputError, usageError } from "../../base/index.ts";
import { kubenetBridge, type Pod, podInterfaceName } from "../../k8s/index.ts";
import type { Scenario } from "../../scenario/index.ts";
import type { TapEvent } from "../../sim/index.ts";
import { readIp } from "../../sim/index.ts";
import { readU16 } from "../../wire/index.ts";
import { runScenario, scenarioCluster } from "../run.ts";
import type { ProductSelection } from "../selection.ts";
import { type LivePlace, uplinkEnd } from "./place.ts";

/** A packet that comes out of the node at a place. */
export interface ExpectedPacket {
  readonly place: number;
  readonly bytes: Uint8Array;
  /** The node rewrote its source: which port the kernel takes is its own choice. */
  readonly isMasqueraded: boolean;
}

export interface PlannedSend {
  readonly place: number;
  readonly bytes: Uint8Array;
  readonly expected: readonly ExpectedPacket[];
}

export interface LivePlan {
  readonly node: string;
  readonly sends: readonly PlannedSend[];
  /** Packets of the scenario that are not sent, by reason. */
  readonly leftOut: LeftOut;
}

export interface LeftOut {
  /** Sent by the node itself, or taken by it. */
  readonly nodesOwn: number;
  /** Entering or leaving where no place is named. */
  readonly noPlace: number;
  /** After the cluster, the engine or the time changed, and what is on its way at the end. */
  readonly later: number;
  /** After the first packet of a connection whose source is rewritten. */
  readonly masqueraded: number;
}

/** Shorter than any time-out of connection tracking (net/netfilter/nf_conntrack_proto_*.c: SCTP's closed state apart). */
const gapNsMax = 9e9;

/** @throws InputError when the places do not fit the scenario. */
export function planLive(
  scenario: Scenario,
  named: ProductSelection,
  seed: number,
  places: readonly LivePlace[],
): LivePlan {
  const { state, selection } = scenarioCluster(scenario, named);
  const podOf = (end: string): Pod => {
    const pod = state.pods.get(end);
    if (pod === undefined || pod.hostNetwork)
      throw usageError(`--live: ${scenario.name} begins without a pod ${end} with an interface of its own`);
    return pod;
  };
  const pods = places.flatMap(({ ends }) => ends.filter((end) => end !== uplinkEnd).map(podOf));
  const node = nodeUnderTest(pods, [...state.nodes.keys()]);
  const interfaceOf = (end: string): string =>
    end === uplinkEnd
      ? "eth0"
      : state.options.networkPlugin === "kubenet"
        ? kubenetBridge
        : podInterfaceName(state, podOf(end));
  const byInterface = new Map<string, number>();
  places.forEach(({ ends }, place) => {
    for (const name of ends.map(interfaceOf)) {
      if (byInterface.has(name)) throw usageError(`--live: two places for what passes ${name} of ${node}`);
      byInterface.set(name, place);
    }
  });
  const rest = places.findIndex(({ ends }) => ends.length === 0);
  const placeOf = (event: TapEvent): number => byInterface.get(event.interface.name) ?? rest;
  const run = watchRun(scenario, selection, seed);
  const events = run.events.filter((event) => event.node === node && event.interface.link !== "loopback");
  const local = new Set(state.nodes.get(node)?.addresses.map(formatIp));
  const planned = plan({ ...run, events }, placeOf, local);
  if (planned.sends.length === 0)
    throw usageError(
      `--live: no packet of ${scenario.name} goes into ${node} and comes out of it at the places named`,
    );
  return { node, ...planned };
}

function nodeUnderTest(pods: readonly Pod[], nodes: readonly string[]): string {
  const named = [...new Set(pods.map(({ nodeName }) => nodeName))];
  const [only, ...others] = named.length > 0 ? named : nodes;
  if (only === undefined) throw new InputError([{ code: "invalid", path: "", message: "there is no node" }]);
  if (others.length > 0)
    throw usageError(
      named.length > 0
        ? `--live: one node at a time, and these pods are on ${named.join(" and ")}`
        : "--live: the cluster has several nodes; say which by naming one of its pods: NETNS:INTERFACE=namespace/pod",
    );
  return only;
}

interface WatchedRun {
  readonly events: readonly TapEvent[];
  /** Packets that are no longer on their way when the scenario ends. */
  readonly ended: ReadonlySet<number>;
  readonly later: number;
}

/** Everything that crossed an interface before the cluster, the engine or the time moved on. */
function watchRun(scenario: Scenario, selection: ProductSelection, seed: number): WatchedRun {
  const events: TapEvent[] = [];
  const ended = new Set<number>();
  let [isOver, later, lastNs] = [false, 0, 0];
  runScenario(scenario, selection, {
    seed,
    network: {
      fate: ({ packet }) => ended.add(packet),
      tap: (event) => {
        if (events.length > 0 && event.atNs - lastNs > gapNsMax) isOver = true;
        lastNs = event.atNs;
        if (!isOver) events.push(event);
        else if (event.direction === "in") later++;
      },
    },
    onChange: () => {
      isOver ||= events.length > 0;
    },
  });
  return { events, ended, later };
}

function plan(
  { events, ended, later }: WatchedRun,
  placeOf: (event: TapEvent) => number,
  local: ReadonlySet<string>,
): Pick<LivePlan, "sends" | "leftOut"> {
  const entered = new Set(events.filter(({ direction }) => direction === "in").map(({ packet }) => packet));
  /** What came out because of a packet, with its index in `events`. */
  const leaving = new Map<number, { readonly index: number; readonly event: TapEvent }[]>();
  let own = 0;
  events.forEach((event, index) => {
    if (event.direction !== "out") return;
    const cause = entered.has(event.packet) ? event.packet : event.answers;
    if (cause === undefined || !entered.has(cause)) own++;
    else leaving.set(cause, [...(leaving.get(cause) ?? []), { index, event }]);
  });
  const counts = { nodesOwn: own, noPlace: 0, later, masqueraded: 0 };
  const sends: PlannedSend[] = [];
  const masquerade = new Masquerades(local);
  for (const [index, event] of events.entries()) {
    if (event.direction !== "in") continue;
    // a packet may pass a node twice, by way of another node's Service port
    const again = events.findIndex(
      (one, i) => i > index && one.direction === "in" && one.packet === event.packet,
    );
    const out = (leaving.get(event.packet) ?? [])
      .filter((one) => one.index > index && (again < 0 || one.index < again))
      .map((one) => one.event);
    const place = placeOf(event);
    const [src, dst] = [endText(event.bytes, "src"), endText(event.bytes, "dst")];
    if (out.length === 0 && !ended.has(event.packet)) counts.later++;
    else if (out.length === 0 && local.has(dst.ip)) counts.nodesOwn++;
    else if (place < 0 || out.some((one) => placeOf(one) < 0)) counts.noPlace++;
    else if (masquerade.follows(src, dst)) counts.masqueraded++;
    else {
      const expected = out.map(
        (one): ExpectedPacket => ({
          place: placeOf(one),
          bytes: one.bytes,
          isMasqueraded: masquerade.note(src, dst, endText(one.bytes, "src")),
        }),
      );
      sends.push({ place, bytes: event.bytes, expected });
    }
  }
  return { sends, leftOut: counts };
}

interface End {
  readonly ip: string;
  /** With protocol and port. */
  readonly key: string;
}

/** Connections whose source the node rewrote to an address of its own. */
class Masquerades {
  readonly #local: ReadonlySet<string>;
  readonly #flows = new Set<string>();

  constructor(local: ReadonlySet<string>) {
    this.#local = local;
  }

  /** Is the connection one of these: is this a later packet of it, or an answer to what it became? */
  follows(src: End, dst: End): boolean {
    return this.#flows.has(`${src.key} ${dst.key}`) || this.#flows.has(dst.key);
  }

  note(src: End, dst: End, out: End): boolean {
    if (out.ip === src.ip || !this.#local.has(out.ip)) return false;
    this.#flows.add(`${src.key} ${dst.key}`);
    this.#flows.add(out.key);
    return true;
  }
}

function endText(bytes: Uint8Array, side: "src" | "dst"): End {
  const ip = readIp(bytes);
  if (ip === undefined) return { ip: "", key: "" };
  const address = formatIp(ip[side]);
  const port = ip.payload.length >= 4 ? readU16(ip.payload, side === "src" ? 0 : 2) : 0;
  return { ip: address, key: `${ip.protocol} ${address} ${port}` };
}
