/** The captures of all scenarios replay with the fate that every packet had when the scenario ran. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { createCaptureReader } from "../../../src/capture/index.ts";
import {
  captureOf,
  createOriginPlacer,
  engineNames,
  LiveCluster,
  NetworkTarget,
  type ProductSelection,
  parseSelections,
  Replayer,
  type ReplayPacketDocument,
  runScenario,
} from "../../../src/harness/index.ts";
import { scenarioCluster } from "../../../src/harness/run.ts";
import { loadScenario, type Scenario } from "../../../src/scenario/index.ts";
import type { PacketFate, TapEvent } from "../../../src/sim/index.ts";
import { printPacket } from "../../../src/wire/index.ts";
import { isSoak } from "../../runs.ts";

const root = join(import.meta.dirname, "../../../scenarios");
const files = readdirSync(root, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith(".yaml"))
  .map((entry) => join(entry.parentPath, entry.name))
  .sort();

function load(file: string): Scenario {
  const readManifests = (path: string): readonly { name: string; text: string }[] => {
    const name = join(dirname(file), path);
    return [{ name, text: readFileSync(name, "utf8") }];
  };
  return loadScenario(
    { name: file, text: readFileSync(file, "utf8") },
    { engineNames: engineNames(), readManifests },
  );
}

interface Change {
  /** Packets that taps had seen before it. */
  readonly after: number;
  readonly apply: (cluster: LiveCluster) => void;
}

interface Replayed {
  readonly packets: number;
  readonly differences: readonly string[];
}

/** Both ends of the packet, address and port. */
function endsOf(event: TapEvent | undefined): readonly string[] {
  const [, from = "", to = ""] =
    /^IP6? (\S+) > (\S+):/.exec(printPacket(event?.bytes ?? new Uint8Array())) ?? [];
  return [from, to];
}

/** Behind which a client that is its own server hides from itself, on Cilium. */
const hairpinAddress = "169.254.42.1.";

/**
 * The client's end of a connection: the one with an ephemeral port; NAT leaves it in one direction at least, but of a pod
 * that reaches itself, whose port alone stays.
 */
function clientsOf(event: TapEvent | undefined): readonly string[] {
  const clients = endsOf(event).filter((end) => Number(end.slice(end.lastIndexOf(".") + 1)) >= 32_768);
  return clients.map((end) => (end.startsWith(hairpinAddress) ? portOf(end) : end));
}

function portOf(end: string): string {
  return end.slice(end.lastIndexOf(".") + 1);
}

/** A truth table of any ends tries every way that chance might go, one after the other: no course that a capture shows. */
function withoutEveryWay(scenario: Scenario): Scenario {
  const isOneCourse = (step: Scenario["steps"][number]): boolean =>
    step.action !== "expectMatrix" || step.matrix.ends === undefined;
  return { ...scenario, steps: scenario.steps.filter(isOneCourse) };
}

function replayScenario(scenario: Scenario, selection: ProductSelection): Replayed {
  const events: TapEvent[] = [];
  const fates = new Map<number, PacketFate>();
  const changes: Change[] = [];
  /** Flows with a packet on its way when the cluster changed: the capture does not tell on which side of it it was. */
  const overtaken = new Set<string>();
  runScenario(scenario, selection, {
    seed: 1,
    network: { tap: (event) => events.push(event), fate: (fate) => fates.set(fate.packet, fate) },
    onChange(apply) {
      changes.push({ after: events.length, apply });
      for (const event of events)
        if (!fates.has(event.packet)) for (const end of clientsOf(event)) overtaken.add(end).add(portOf(end));
    },
  });
  if (events.length === 0) return { packets: 0, differences: [] };
  const { state, selection: chosen } = scenarioCluster(scenario, selection);
  const cluster = new LiveCluster(state, chosen, { seed: 1 });
  const replayer = new Replayer(
    new NetworkTarget(cluster.network, () => cluster.state),
    createOriginPlacer([]),
  );
  const documents: ReplayPacketDocument[] = [];
  const reader = createCaptureReader("scenario.pcapng", {
    packet(packet) {
      while ((changes[0]?.after ?? Number.POSITIVE_INFINITY) <= documents.length)
        changes.shift()?.apply(cluster);
      documents.push(replayer.replay(packet));
    },
  });
  for (const piece of captureOf(events)) reader.push(piece);
  reader.end();
  const differences: string[] = [];
  const judged = new Set<number>();
  const spoken = new Set<string>();
  for (const [i, { disposition, line, copyOf }] of documents.entries()) {
    const number = events[i]?.packet ?? -1;
    const clients = clientsOf(events[i]);
    const [source = ""] = endsOf(events[i]);
    spoken.add(source);
    if (clients.some((end) => overtaken.has(end))) continue;
    // what a node asks of itself by a Service's address is translated before there is a packet: answers alone are seen
    if (clients.length > 0 && !clients.includes(source) && !clients.some((end) => spoken.has(end))) continue;
    if (copyOf !== undefined) {
      // datagrams of equal bytes that are on their way at one time cannot be told apart
      if (events[copyOf]?.packet !== number && String(endsOf(events[copyOf])) !== String(endsOf(events[i])))
        differences.push(`${i}: ${line}: a copy of another packet, ${copyOf}`);
      continue;
    }
    // a program may turn a packet into the answer to it
    const isAnswer = / ICMP6?[ ,].*unreachable/.test(line);
    if (judged.has(number) && !isAnswer) differences.push(`${i}: ${line}: judged twice`);
    judged.add(number);
    const fate = fates.get(number)?.disposition ?? "in flight";
    if (fate !== disposition && fate !== "in flight")
      differences.push(`${i}: ${line}: was ${fate}, now ${disposition}`);
  }
  return { packets: judged.size, differences };
}

/** Changes that reach nodes late, in virtual time, are not replayed at their instants. */
function isBeyondReplay({ label }: ProductSelection): boolean {
  return label.includes("+delays");
}

/** One of a scenario's engines, another for the next scenario; the soak takes all of each. */
function turnOf(number: number, { engines }: Scenario): readonly ProductSelection[] {
  const selections = parseSelections(engines.join(",")).filter(
    (one): one is ProductSelection => one.kind === "product" && !isBeyondReplay(one),
  );
  return isSoak ? selections : selections.filter((_, i) => i === number % selections.length);
}

describe("law: a scenario's own capture replays with the fate that every packet had", () => {
  let packets = 0;
  it.each(files.map((file, i) => [file.slice(root.length + 1), file, i] as const))(
    "%s",
    (_, file, number) => {
      const scenario = withoutEveryWay(load(file));
      for (const selection of turnOf(number, scenario)) {
        const replayed = replayScenario(scenario, selection);
        expect(replayed.differences, selection.label).toEqual([]);
        packets += replayed.packets;
      }
    },
  );
  it("over packets enough to mean something", () => expect(packets).toBeGreaterThan(1000));
});
