/**
 * Live mode: a scenario's packets sent by raw sockets into a node of namespaces that carries the rules of `compile`, and
 * what comes out held against the emulated node; and a node whose rules were altered, where the same must find fault.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LiveDocument, type ProductSelection, parseSelection } from "../../src/harness/index.ts";
import {
  checkPlaces,
  type LivePlace,
  parseLivePlace,
  planLive,
  runLive,
} from "../../src/harness/netns/index.ts";
import { scenarioState } from "../../src/harness/run.ts";
import { loadScenario } from "../../src/scenario/index.ts";
import { commandFile, podwire } from "../cli/installed.ts";
import { describeNeeding } from "../needs.ts";
import { RealNode, run } from "./real-node.ts";

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

const needs = ["root", "ip", "iptables", "iptables-nft", "ipset", "tcpdump"] as const;
const selection = parseSelection("azure-npm") as ProductSelection;
const scenario = loadScenario({ name: "live.yaml", text });

describeNeeding("a scenario on a real node", needs, () => {
  describe.each(["legacy", "nft"] as const)("iptables-%s", (backend) => {
    const node = new RealNode(`pwl${process.pid}${backend[0]}`, backend);
    let places: readonly LivePlace[];
    beforeAll(() => {
      node.build(scenarioState(scenario, selection), selection, "n1");
      const place = (name: string, device: string, end: string): LivePlace =>
        parseLivePlace(`${node.namespace(name)}:${device}=${end}`);
      places = [place("x/a", "eth0", "x/a"), place("x/b", "eth0", "x/b"), place("world", "up0", "uplink")];
      checkPlaces(places);
    });
    afterAll(() => node.remove());

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
      node.inside(node.namespace("node"), "conntrack", ["-F"]);
      node.iptables("-I", "FORWARD", "-p", "sctp", "-j", "DROP");
      try {
        const { differences } = await play();
        expect(differences.length).toBeGreaterThan(0);
        expect(differences.every(({ kind, sent }) => kind === "missing" && sent?.includes("sctp"))).toBe(
          true,
        );
      } finally {
        node.iptables("-D", "FORWARD", "1");
      }
      node.inside(node.namespace("node"), "conntrack", ["-F"]);
      node.iptables("-I", "FORWARD", "-p", "tcp", "--dport", "82", "-j", "ACCEPT");
      try {
        const { differences } = await play();
        expect(differences.length).toBeGreaterThan(0);
        expect(differences.every(({ kind, line }) => kind === "unexpected" && line.includes(".82:"))).toBe(
          true,
        );
      } finally {
        node.iptables("-D", "FORWARD", "1");
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
        node.inside(node.namespace("node"), "conntrack", ["-F"]);
        return podwire(["capture", file, ...live, ...more]);
      };
      try {
        const equal = command();
        expect(equal).toMatchObject({ code: 0, stderr: "" });
        expect(equal.stdout).toBe(
          "41 packets sent to a real node as n1 on azure-npm, 35 awaited: no difference\nleft out: 4 packets after the cluster, the engine or the time changed\n",
        );
        node.iptables("-I", "FORWARD", "-p", "udp", "-j", "DROP");
        const differs = command("-o", "json");
        node.iptables("-D", "FORWARD", "1");
        expect(differs.code).toBe(1);
        const { differences, ...rest } = JSON.parse(differs.stdout) as LiveDocument;
        expect(rest).toMatchObject({ schema: "podwire/live/v1", node: "n1", sent: 41 });
        expect(differences.map(({ kind }) => kind)).toEqual(["missing", "missing"]);
      } finally {
        rmSync(dirname(file), { recursive: true });
      }
    });

    it("refuses places that are not there, and the machine's own network", () => {
      const world = node.namespace("world");
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
          ends.map((end) => parseLivePlace(`${world}:up0${end}`)),
        );
      expect(() => wrong("")).toThrow(/several nodes; say which/);
      expect(() => wrong("=x/a,x/c")).toThrow(/one node at a time, and these pods are on n1 and n2/);
      expect(() => wrong("=x/nobody")).toThrow(/begins without a pod x\/nobody/);
      expect(() => wrong("=x/a", "=x/a")).toThrow(/two places for what passes azv/);
    });

    const isClean = (): boolean =>
      places.every(
        ({ namespace }) =>
          !node.inside(namespace, "nft", ["list", "tables"]).includes("podwire") &&
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
        node.inside(node.namespace("node"), "conntrack", ["-F"]);
        node.iptables("-I", "FORWARD", "-j", "DROP"); // so that it takes a while
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
              node.inside(namespace, "nft", ["list", "tables"]).includes("podwire"),
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
          node.iptables("-D", "FORWARD", "1");
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
      const deaf = (value: number): string =>
        `for f in /proc/sys/net/ipv4/conf/*/proxy_arp; do echo ${value} > $f; done`;
      node.inside(node.namespace("node"), "sh", ["-c", deaf(0)]);
      run("ip", ["-n", a.namespace, "neigh", "flush", "dev", "eth0"]);
      try {
        await expect(runLive(plan, places, { pause: (ms) => pause(ms) })).rejects.toThrow(/did not leave by/);
      } finally {
        node.inside(node.namespace("node"), "sh", ["-c", deaf(1)]);
      }
      expect(isClean()).toBe(true);
    });
  });
});
