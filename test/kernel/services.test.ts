/**
 * kube-proxy's rules and NPM's on top, held to the kernel: the text loads and is listed as it was written; and in every
 * scenario about Services each connection ends in the kernel's namespaces as it does in one of our outcomes, with the
 * addresses and ports that were translated, hop by hop.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { formatIp } from "../../src/addr/index.ts";
import { createExplorer, createPrng, type Explorer } from "../../src/base/index.ts";
import { saveRuleset } from "../../src/filter/iptables/index.ts";
import {
  compileCluster,
  connectionAttempt,
  type EmulatedCluster,
  emulate,
  type ProductSelection,
  parseSelection,
  tableCells,
} from "../../src/harness/index.ts";
import type { KernelBackend } from "../../src/harness/kernel/index.ts";
import {
  applyObjects,
  buildCluster,
  type ClusterState,
  type Connection,
  loadManifests,
  setLabels,
} from "../../src/k8s/index.ts";
import { loadScenario } from "../../src/scenario/index.ts";
import { judgeConnection, type PacketFate } from "../../src/sim/index.ts";
import { readIp } from "../../src/sim/judge.ts";
import { IpProtocol } from "../../src/wire/index.ts";
import { describeNeeding } from "../needs.ts";
import { type Arrival, KernelCluster } from "./kernel-cluster.ts";

const folder = join(import.meta.dirname, "../../scenarios/services");
const files = readdirSync(folder)
  .filter((name) => name.endsWith(".yaml"))
  .sort();
const backends: readonly KernelBackend[] = ["legacy", "nft"];

interface Stage {
  readonly title: string;
  readonly state: ClusterState;
}

/** The scenario's cluster before its first probe and after each later change. */
function stagesOf(file: string, selection: ProductSelection): readonly Stage[] {
  const text = readFileSync(join(folder, file), "utf8");
  const scenario = loadScenario({ name: file, text });
  let { state } = buildCluster(loadManifests(scenario.manifests), { ...selection.aks, ...scenario.cluster });
  const stages: Stage[] = [];
  let isChanged = true;
  for (const step of scenario.steps) {
    const before = state;
    if (step.action === "apply") state = applyObjects(state, loadManifests(step.manifests)).state;
    else if (step.action === "createPod") state = applyObjects(state, loadManifests([step.manifest])).state;
    else if (step.action === "label")
      state = setLabels(state, step.kind, step.namespace ?? "", step.name, step.labels).state;
    isChanged ||= state !== before;
    if (step.action !== "probe" || !isChanged) continue;
    stages.push({ title: `line ${step.place.line}`, state });
    isChanged = false;
  }
  return stages;
}

/** Every table cell, and every node port of every node. */
function connectionsOf(state: ClusterState, selection: ProductSelection): readonly Connection[] {
  const { cells, ends } = tableCells(state, [selection], {});
  const sources = ends.flatMap(({ end }) =>
    end.kind === "service" || end.kind === "node-port" ? [] : [end],
  );
  const nodePorts = [...state.services.values()].flatMap((service) =>
    service.ports.flatMap(({ nodePort, protocol }) =>
      nodePort === undefined
        ? []
        : [...state.nodes.values()].flatMap((node) =>
            sources.map(
              (from): Connection => ({
                from,
                to: { kind: "node-port", service, node, port: nodePort },
                protocol,
                port: nodePort,
                family: 4,
              }),
            ),
          ),
    ),
  );
  return [...[...cells].filter(({ isSelf }) => !isSelf).map(({ cell }) => cell), ...nodePorts];
}

/** A packet without what the kernel is free to choose: IP id, checksums, and the port of a rewritten source. */
function essence(bytes: Uint8Array, source: string): string {
  const ip = readIp(bytes);
  if (ip === undefined) return "unreadable";
  const payload = ip.payload.slice();
  const isRewritten = formatIp(ip.src) !== source;
  if (isRewritten) payload.fill(0, 0, 2);
  const checksum = { [IpProtocol.tcp]: [16, 18], [IpProtocol.udp]: [6, 8], [IpProtocol.sctp]: [8, 12] }[
    ip.protocol
  ];
  if (checksum !== undefined) payload.fill(0, checksum[0], checksum[1]);
  const ttl = bytes[8];
  return `${formatIp(ip.src)} > ${formatIp(ip.dst)} ttl ${ttl} ${Buffer.from(payload).toString("hex")}`;
}

function outcome(
  request: string | undefined,
  bytes: Uint8Array,
  source: string,
  reply: string | undefined,
): string {
  return request === undefined
    ? "stopped"
    : `${request}: ${essence(bytes, source)}; reply ${reply ?? "stopped"}`;
}

function ourOutcomes(
  cluster: EmulatedCluster,
  explorer: Explorer,
  connection: Connection,
  ports: { next: number },
): ReadonlySet<string> {
  const { outcomes } = explorer.explore(() => {
    cluster.network.forgetBalancing();
    for (const datapath of cluster.datapaths.values()) datapath.forgetClients();
    const attempt = connectionAttempt(cluster.network, connection, ports.next++, explorer.random);
    if (attempt === undefined) return "no address";
    const { request, reply } = judgeConnection(cluster.network, attempt);
    const answered = (fate: PacketFate | undefined): string | undefined => fate?.receiver;
    return outcome(answered(request), request.bytes, formatIp(attempt.src), answered(reply));
  });
  return new Set(outcomes.map(({ value }) => withoutPorts(value)));
}

async function kernelOutcome(
  kernel: KernelCluster,
  cluster: EmulatedCluster,
  connection: Connection,
  port: number,
  random: Explorer["random"],
): Promise<string> {
  const attempt = connectionAttempt(cluster.network, connection, port, random);
  if (attempt === undefined) return "no address";
  const { request, reply } = await kernel.connect(attempt);
  const end = (arrival: Arrival | undefined): string | undefined => arrival?.receiver;
  return withoutPorts(outcome(end(request), request.bytes, formatIp(attempt.src), end(reply)));
}

/** Each attempt has a source port of its own: all are alike. TCP sequence numbers and SCTP tags derive from it. */
function withoutPorts(text: string): string {
  return text.replace(/(ttl \d+ )[0-9a-f]{4}/, "$1....");
}

async function compare(stage: Stage, selection: ProductSelection, backend: KernelBackend): Promise<number> {
  const explorer = createExplorer(1, { branchesMax: 200, runsMax: 2000 });
  const cluster = emulate(stage.state, selection, { seed: 1, random: explorer.random });
  const kernel = await KernelCluster.start(cluster, backend, createPrng(7));
  const draws = createPrng(11);
  const ports = { next: 20_000 };
  const problems: string[] = [];
  let compared = 0;
  try {
    for (const connection of connectionsOf(stage.state, selection)) {
      if (connection.protocol === "SCTP") continue; // the INIT's tag is made from the source port
      const ours = ourOutcomes(cluster, explorer, connection, ports);
      for (let i = 0; i < (ours.size > 1 ? 4 : 1); i++) {
        const theirs = await kernelOutcome(kernel, cluster, connection, ports.next++, draws);
        compared++;
        if (!ours.has(theirs))
          problems.push(`${describe(connection)}: ${theirs}, not ${[...ours].join(" or ")}`);
      }
    }
  } finally {
    await kernel.close();
  }
  expect(problems.slice(0, 3), `${stage.title} ${selection.label} ${backend}`).toEqual([]);
  return compared;
}

function describe({ from, to, port }: Connection): string {
  const name = (end: Connection["to"]): string =>
    end.kind === "pod"
      ? `${end.pod.namespace}/${end.pod.name}`
      : end.kind === "external"
        ? formatIp(end.ip)
        : end.kind === "service"
          ? `${end.access} of ${end.service.name}`
          : `${end.kind} ${end.node.name}`;
  return `${name(from)} -> ${name(to)} ${port}`;
}

function product(label: string): ProductSelection {
  const selection = parseSelection(label);
  if (selection.kind !== "product") throw new Error(`${label} is no product`);
  return selection;
}

/** Chains in their order, rules in theirs; neither counters nor dates. */
function listed(text: string): readonly string[] {
  const tables = text
    .replace(/^#.*\n/gm, "")
    .replace(/ \[\d+:\d+\]$/gm, "")
    .replace(/^\[\d+:\d+\] /gm, "")
    .split(/^(?=\*)/m);
  return tables.filter((table) => table !== "").sort();
}

describeNeeding("Services in the kernel", ["root", "tun", "iptables", "ipset", "conntrack", "ip"], () => {
  it.each(backends)(
    "%s lists every node's tables as compile writes them",
    { timeout: 300_000 },
    async (backend) => {
      for (const file of files) {
        const selection = product("azure-npm");
        const stage = stagesOf(file, selection).at(-1);
        if (stage === undefined) continue;
        const cluster = emulate(stage.state, selection, { seed: 1 });
        const kernel = await KernelCluster.start(cluster, backend, createPrng(1));
        try {
          for (const [name, { tables }] of compileCluster(stage.state, selection)) {
            const ours = tables.iptables;
            if (ours === undefined) throw new Error("a Linux node has iptables");
            const theirs = await kernel.judge(name).save(4);
            expect(sortedChains(listed(theirs)), `${file} ${name}`).toEqual(
              sortedChains(listed(saveRuleset(ours.v4))),
            );
          }
        } finally {
          await kernel.close();
        }
      }
    },
  );

  it.each(files)(
    "%s: every connection ends as in one of our outcomes",
    { timeout: 300_000 },
    async (file) => {
      let compared = 0;
      for (const [i, label] of ["none", "azure-npm", "azure-npm@2026-08+place-first"].entries()) {
        const selection = product(label);
        for (const [j, stage] of stagesOf(file, selection).entries())
          compared += await compare(stage, selection, backends[(i + j) % 2] as KernelBackend);
      }
      expect(compared).toBeGreaterThan(5);
    },
  );
});

/** Both backends list user chains by name, whatever the order of their making. */
function sortedChains(tables: readonly string[]): readonly string[] {
  return tables.map((table) => {
    const lines = table.split("\n").filter((line) => line !== "");
    const chains = lines.filter((line) => line.startsWith(":")).sort();
    const rules = lines.filter((line) => line.startsWith("-A"));
    const byChain = [...rules].sort((a, b) => {
      const [x = "", y = ""] = [a.split(" ")[1], b.split(" ")[1]];
      return x < y ? -1 : x > y ? 1 : 0;
    });
    return [lines[0], ...chains, ...byChain].join("\n");
  });
}
