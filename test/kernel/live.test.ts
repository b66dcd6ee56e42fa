/**
 * Live mode: a scenario's packets sent by raw sockets into a node of namespaces that carries the rules of `compile`, and
 * what comes out held against the emulated node; and a node whose rules were altered, where the same must find fault.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  compileCluster,
  type LiveDocument,
  nodeFiles,
  type ProductSelection,
  parseSelection,
} from "../../src/harness/index.ts";
import {
  checkPlaces,
  type LivePlace,
  parseLivePlace,
  planLive,
  runLive,
} from "../../src/harness/netns/index.ts";
import { scenarioCluster } from "../../src/harness/run.ts";
import { createTopology } from "../../src/harness/topology.ts";
import { loadScenario } from "../../src/scenario/index.ts";
import { commandFile, podwire } from "../cli/installed.ts";
import { describeNeeding } from "../needs.ts";
import { VethCluster } from "./veth-cluster.ts";

const pod = (namespace: string, name: string, node: string, port: string): string => `
      ---
      apiVersion: v1
      kind: Pod
      metadata: { namespace: ${namespace}, name: ${name}, labels: { app: ${name} } }
      spec: { nodeName: ${node}, containers: [{ name: c, ports: [${port}] }] }`;

const text = `# Allowed, denied and refused connections of every protocol, on one node and to another.
# Played onto a real node: what comes out of it is what comes out here.
engines: [azure-npm]
manifests:
  - |
      apiVersion: v1
      kind: Node
      metadata: { name: n1, labels: { kubernetes.io/os: linux } }
      ---
      apiVersion: v1
      kind: Node
      metadata: { name: n2, labels: { kubernetes.io/os: linux } }${pod("x", "a", "n1", "{ containerPort: 80 }")}${pod(
        "x",
        "b",
        "n1",
        "{ containerPort: 80 }, { containerPort: 53, protocol: UDP }, { containerPort: 7777, protocol: SCTP }",
      )}${pod("x", "c", "n2", "{ containerPort: 80 }")}
      ---
      apiVersion: networking.k8s.io/v1
      kind: NetworkPolicy
      metadata: { namespace: x, name: to-b }
      spec:
        podSelector: { matchLabels: { app: b } }
        ingress:
          - from: [{ podSelector: { matchLabels: { app: a } } }]
            ports: [{ port: 80 }, { port: 53, protocol: UDP }, { port: 7777, protocol: SCTP }, { port: 81 }]
      ---
      apiVersion: networking.k8s.io/v1
      kind: NetworkPolicy
      metadata: { namespace: x, name: from-a }
      spec:
        podSelector: { matchLabels: { app: a } }
        policyTypes: [Egress]
        egress:
          - to: [{ podSelector: { matchLabels: { app: b } } }]
          - to: [{ podSelector: { matchLabels: { app: c } } }]
            ports: [{ port: 80 }]
steps:
  - connect: { as: long, from: x/a, to: x/b, port: 80, expect: connected }
  - probe: { from: x/a, to: x/b, port: 53, protocol: UDP, expect: connected }
  - probe: { from: x/a, to: x/b, port: 7777, protocol: SCTP, expect: connected }
  - probe: { from: x/a, to: x/b, port: 81, expect: refused }
  - probe: { from: x/a, to: x/b, port: 82, expect: timeout }
  - probe: { from: x/c, to: x/b, port: 80, expect: timeout }
  - probe: { from: x/a, to: x/c, port: 80, expect: connected }
  - probe: { from: x/a, to: x/c, port: 443, expect: timeout }
  - probe: { from: x/b, to: x/a, port: 80, expect: connected }
  - probe: { from: x/c, to: x/a, port: 80, expect: connected }
  - send: { flow: long, from: client, expect: delivered }
  - send: { flow: long, from: server, expect: delivered }
  - close: long
`;

function run(command: string, args: readonly string[]): string {
  return execFileSync(command, args, { encoding: "utf8" });
}

/** The two pods of n1, and everybody beyond its uplink. */
function placesAround(cluster: VethCluster): readonly LivePlace[] {
  const uplink = `${cluster.fabric}:${cluster.fabricInterface("n1")}=uplink`;
  const pods = ["x/a", "x/b"].map((id) => `${cluster.podNamespace(id)}:eth0=${id}`);
  return [...pods, uplink].map(parseLivePlace);
}

const needs = ["root", "ip", "iptables", "iptables-nft", "ipset", "tcpdump"] as const;
const selection = parseSelection("azure-npm") as ProductSelection;
const scenario = loadScenario({ name: "live.yaml", text });

describeNeeding("a scenario on a real node", needs, () => {
  describe.each(["legacy", "nft"] as const)("iptables-%s", (backend) => {
    let cluster: VethCluster;
    let node: string;
    let places: readonly LivePlace[];
    beforeAll(() => {
      const { state } = scenarioCluster(scenario, selection);
      cluster = new VethCluster(createTopology(state).spec, backend, []);
      node = cluster.nodeNamespace("n1");
      cluster.load("n1", nodeFiles(state, "n1", compileCluster(state, selection).get("n1")?.tables ?? {}));
      places = placesAround(cluster);
      checkPlaces(places);
    });
    afterAll(() => cluster.close());

    const inside = (...command: readonly string[]): string => cluster.run(node, command);
    const iptables = (...args: readonly string[]): string => inside(`iptables-${backend}`, ...args);
    const play = async () =>
      await runLive(planLive(scenario, selection, 1, places), places, { pause: (ms) => pause(ms) });

    it("lets out what the emulated node lets out, and nothing else", { timeout: 60_000 }, async () => {
      const plan = planLive(scenario, selection, 1, places);
      const denied = plan.sends.filter(({ expected }) => expected.length === 0).length;
      expect(denied).toBeGreaterThan(5);
      const { sent, expected, cameOut, differences } = await play();
      expect(differences).toEqual([]);
      expect(sent).toBe(plan.sends.length);
      expect(cameOut).toBe(expected);
      expect(expected).toBeGreaterThan(25);
      process.stdout.write(
        `  ${backend}: ${sent} packets sent, ${denied} of them denied, ${cameOut} came out\n`,
      );
    });

    it("tells of a node that drops what should pass, and of one that lets pass what should not", {
      timeout: 60_000,
    }, async () => {
      inside("conntrack", "-F");
      iptables("-I", "FORWARD", "-p", "sctp", "-j", "DROP");
      try {
        const { differences } = await play();
        expect(differences.length).toBeGreaterThan(0);
        expect(differences.every(({ kind, sent }) => kind === "missing" && sent?.includes("sctp"))).toBe(
          true,
        );
      } finally {
        iptables("-D", "FORWARD", "1");
      }
      inside("conntrack", "-F");
      iptables("-I", "FORWARD", "-p", "tcp", "--dport", "82", "-j", "ACCEPT");
      try {
        const { differences } = await play();
        expect(differences.length).toBeGreaterThan(0);
        expect(differences.every(({ kind, line }) => kind === "unexpected" && line.includes(".82:"))).toBe(
          true,
        );
      } finally {
        iptables("-D", "FORWARD", "1");
      }
    });

    it("is told by the command: one line where all is equal, exit 1 and each packet where not", {
      timeout: 120_000,
    }, () => {
      const file = join(mkdtempSync(join(tmpdir(), "podwire-live-")), "live.yaml");
      writeFileSync(file, text);
      const live = places.flatMap(({ namespace, interface: name, ends }) => [
        "--live",
        `${namespace}:${name}=${ends}`,
      ]);
      const command = (...more: readonly string[]) => {
        inside("conntrack", "-F");
        return podwire(["capture", file, ...live, ...more]);
      };
      try {
        const equal = command();
        expect(equal).toMatchObject({ code: 0, stderr: "" });
        expect(equal.stdout).toBe(
          "41 packets sent to a real node as n1 on azure-npm, 35 awaited: no difference\nleft out: 4 packets after the cluster, the engine or the time changed\n",
        );
        iptables("-I", "FORWARD", "-p", "udp", "-j", "DROP");
        const differs = command("-o", "json");
        iptables("-D", "FORWARD", "1");
        expect(differs.code).toBe(1);
        const { differences, ...rest } = JSON.parse(differs.stdout) as LiveDocument;
        expect(rest).toMatchObject({ schema: "podwire/live/v1", node: "n1", sent: 41 });
        expect(differences.map(({ kind }) => kind)).toEqual(["missing", "missing"]);
      } finally {
        rmSync(dirname(file), { recursive: true });
      }
    });

    it("refuses places that are not there, and the machine's own network", () => {
      const world = cluster.fabric;
      const check = (text: string) => () => checkPlaces([parseLivePlace(text)]);
      expect(check("no-such-namespace:eth0")).toThrow(/there is no network namespace no-such-namespace/);
      expect(check(`${world}:eth7`)).toThrow(`there is no interface eth7 in ${world}`);
      run("ip", ["-n", world, "link", "add", "low", "type", "veth", "peer", "name", "lower"]);
      expect(check(`${world}:low`)).toThrow(`interface low in ${world} is down`);
      const own = `${world}own`;
      run("ip", ["netns", "attach", own, String(process.pid)]);
      try {
        expect(check(`${own}:lo`)).toThrow(/the machine's own network/);
      } finally {
        run("ip", ["netns", "del", own]);
      }
      const wrong = (...ends: readonly string[]) =>
        planLive(
          scenario,
          selection,
          1,
          ends.map((end) => parseLivePlace(`${world}:n0${end}`)),
        );
      expect(() => wrong("")).toThrow(/several nodes; say which/);
      expect(() => wrong("=x/a,x/c")).toThrow(/one node at a time, and these pods are on n1 and n2/);
      expect(() => wrong("=x/nobody")).toThrow(/begins without a pod x\/nobody/);
      expect(() => wrong("=x/a", "=x/a")).toThrow(/two places for what passes azv/);
    });

    it("says where raw-socket is to be had when it is not there", () => {
      const folder = mkdtempSync(join(tmpdir(), "podwire-live-"));
      const hides = join(folder, "hides-raw-socket.cjs");
      const file = join(folder, "live.yaml");
      writeFileSync(file, text);
      writeFileSync(
        hides,
        `const { _resolveFilename: resolve } = module.constructor;
module.constructor._resolveFilename = (name, ...rest) => {
  if (name === "raw-socket") throw new Error("Cannot find module 'raw-socket'");
  return resolve(name, ...rest);
};
`,
      );
      const result = podwire(["capture", file, "--live", `${cluster.fabric}:n1`], {
        env: { NODE_OPTIONS: `--require ${hides}` },
      });
      rmSync(folder, { recursive: true });
      expect(result).toMatchObject({ code: 2, stdout: "" });
      expect(result.stderr).toMatch(
        /needs the package raw-socket.*: npm install raw-socket .*Cannot find module/,
      );
    });

    const isClean = (): boolean =>
      places.every(
        ({ namespace }) =>
          !cluster.run(namespace, ["nft", "list", "tables"]).includes("podwire") &&
          run("ip", ["netns", "pids", namespace]) === "",
      );

    it("leaves nothing behind in the namespaces", () => {
      expect(isClean()).toBe(true);
    });

    it.each(["SIGINT", "SIGKILL"] as const)(
      "leaves nothing behind when %s ends it",
      { timeout: 60_000 },
      async (signal) => {
        const folder = mkdtempSync(join(tmpdir(), "podwire-live-"));
        writeFileSync(join(folder, "live.yaml"), text);
        inside("conntrack", "-F");
        iptables("-I", "FORWARD", "-j", "DROP"); // so that it takes a while
        try {
          const args = places.flatMap(({ namespace, interface: name, ends }) => [
            "--live",
            `${namespace}:${name}=${ends}`,
          ]);
          const child = spawn(
            process.execPath,
            [commandFile(), "capture", "live.yaml", ...args, "-o", "json"],
            {
              cwd: folder,
              stdio: ["ignore", "pipe", "inherit"],
            },
          );
          let stdout = "";
          child.stdout.on("data", (chunk: Buffer) => {
            stdout += chunk.toString();
          });
          const ended = once(child, "close");
          const isWorking = (): boolean =>
            places.every(({ namespace }) =>
              cluster.run(namespace, ["nft", "list", "tables"]).includes("podwire"),
            );
          for (let ms = 0; ms < 20_000 && !isWorking(); ms += 100) await pause(100);
          await pause(700);
          expect(isClean()).toBe(false);
          child.kill(signal);
          const [code] = await ended;
          for (let ms = 0; ms < 5000 && !isClean(); ms += 100) await pause(100);
          expect(isClean()).toBe(true);
          if (signal === "SIGKILL") return;
          expect(code).toBe(130);
          expect(JSON.parse(stdout)).toMatchObject({ interrupted: true, packets: 41 });
        } finally {
          iptables("-D", "FORWARD", "1");
          rmSync(folder, { recursive: true });
        }
      },
    );

    it("does not take silence for agreement where nothing is sent", { timeout: 60_000 }, async () => {
      const denied = text
        .slice(0, text.indexOf("steps:"))
        .concat("steps:\n  - probe: { from: x/a, to: x/b, port: 82, expect: timeout }\n");
      const one = loadScenario({ name: "denied.yaml", text: denied });
      const [a] = places as [LivePlace];
      expect(() => planLive(one, selection, 1, places.slice(1))).toThrow(/no packet of denied goes into n1/);
      const plan = planLive(one, selection, 1, places);
      // nobody has the pod's next hop: its hardware address is written down, and asked for in vain otherwise
      const [known] =
        /169.254.1.1 .*lladdr (\S+)/.exec(run("ip", ["-n", a.namespace, "neigh"]))?.slice(1) ?? [];
      run("ip", ["-n", a.namespace, "neigh", "del", "169.254.1.1", "dev", "eth0"]);
      try {
        await expect(runLive(plan, places, { pause: (ms) => pause(ms) })).rejects.toThrow(/did not leave by/);
      } finally {
        run("ip", [
          "-n",
          a.namespace,
          "neigh",
          "replace",
          "169.254.1.1",
          "lladdr",
          known ?? "",
          "nud",
          "permanent",
          "dev",
          "eth0",
        ]);
      }
      expect(isClean()).toBe(true);
    });
  });

  it("speaks IPv6, where neighbours have to be found", { timeout: 60_000 }, async () => {
    const [manifests = "", steps = ""] = text.split("steps:\n");
    const cluster6 = "cluster: { networkPluginMode: overlay, ipFamilies: [ipv4, ipv6], force: true }\n";
    // NPM programs no ip6tables: what it would deny reaches a host, which has nobody on other ports
    const steps6 = steps
      .replaceAll(/(?<=port: [0-9]+, )/g, "family: 6, ")
      .replaceAll(/(?<=port: (?:82|443), .*)timeout/g, "refused")
      .replaceAll("timeout", "connected");
    const v6 = `${manifests.replace("engines:", `${cluster6}engines:`)}steps:\n${steps6}`;
    const dual = loadScenario({ name: "dual.yaml", text: v6 });
    const { state } = scenarioCluster(dual, selection);
    const cluster = new VethCluster(createTopology(state).spec, "nft", [], [4, 6]);
    try {
      cluster.load("n1", nodeFiles(state, "n1", compileCluster(state, selection).get("n1")?.tables ?? {}));
      const places = placesAround(cluster);
      const play = () => runLive(planLive(dual, selection, 1, places), places, { pause: (ms) => pause(ms) });
      const { sent, differences } = await play();
      expect(differences).toEqual([]);
      expect(sent).toBeGreaterThan(30);
      const node = cluster.nodeNamespace("n1");
      cluster.run(node, ["conntrack", "-F"]);
      cluster.run(node, ["ip6tables-nft", "-I", "FORWARD", "-p", "sctp", "-j", "DROP"]);
      const altered = await play();
      expect(altered.differences.length).toBeGreaterThan(0);
      expect(
        altered.differences.every(({ kind, line }) => kind === "missing" && line.startsWith("IP6 ")),
      ).toBe(true);
    } finally {
      await cluster.close();
    }
  });
});
