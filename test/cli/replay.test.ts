/** `podwire replay` as people call it: what it prints and writes, and how it refuses. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import {
  LinkType,
  pcapHeader,
  pcapngHeader,
  pcapngPacket,
  pcapPacket,
  readCapture,
} from "../../src/capture/index.ts";
import type { ReplayDocument } from "../../src/harness/index.ts";
import { tcp, udp } from "../../src/packet/index.ts";
import {
  enhancedPacket,
  interfaceBlock,
  join as joinBytes,
  option,
  pcapFile,
  pcapForms,
  section,
} from "../capture/files.ts";
import { type CommandResult, folderWith, podwire, podwires } from "./installed.ts";

const pod = (name: string, ip: string): string => `apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: x, labels: { app: ${name} } }
spec: { nodeName: n1, containers: [{ name: c, image: i }] }
status: { podIP: ${ip} }
`;
const cwd = folderWith("replay", {
  "cluster.yaml": `${pod("a", "10.224.0.10")}---
${pod("b", "10.224.0.11")}---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: deny-b, namespace: x }
spec: { podSelector: { matchLabels: { app: b } }, policyTypes: [Ingress] }
`,
  "iptables.save": "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p udp --dport 53 -j DROP\nCOMMIT\n",
  "in-out.save":
    "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -p udp -j DROP\n-A INPUT -j ACCEPT\n-A OUTPUT -j DROP\nCOMMIT\n",
  "sets.save": "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m set --match-set gone src -j DROP\nCOMMIT\n",
  "addr.json": '[{ "ifname": "lo", "flags": ["LOOPBACK"] }, { "ifname": "eth0", "addr_info": [] }]',
  "bad.save": "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD --no-such-thing -j DROP\nCOMMIT\n",
});
const [a, b] = ["10.224.0.10", "10.224.0.11"];
const packets = [
  tcp({ src: b, dst: a, sport: 40_000, dport: 80, flags: 2, seq: 1 }),
  tcp({ src: a, dst: b, sport: 80, dport: 40_000, flags: 0x12, seq: 7, ack: 2 }),
  tcp({ src: a, dst: b, sport: 40_001, dport: 80, flags: 2, seq: 1 }),
  udp({ src: "192.0.2.1", dst: "192.0.2.2", sport: 40_000, dport: 53 }),
];
const records = packets.map((bytes, i) =>
  pcapPacket({ interfaceIndex: 0, seconds: 1_700_000_000 + i, nanoseconds: 5, bytes }),
);
const capture = Buffer.concat([pcapHeader(LinkType.raw), ...records]);
writeFileSync(join(cwd, "c.pcap"), capture);
writeFileSync(join(cwd, "cut.pcap"), capture.subarray(0, -3));

it("judges each packet, tracks connections, names the rule and the policy, and writes the capture again", () => {
  const run = podwire(
    ["replay", "c.pcap", "cluster.yaml", "-e", "azure-npm", "-o", "json", "--write", "o.pcapng"],
    { cwd },
  );
  expect(run.code).toBe(0);
  const document = JSON.parse(run.stdout);
  const dispositions = document.packets.map((packet: { disposition: string }) => packet.disposition);
  expect(dispositions).toEqual(["delivered", "delivered", "denied-ingress", "unknown-address"]);
  expect(document.packets[2].rule.text).toContain("-j DROP");
  expect(document.flows[1].denied.because[0]).toMatchObject({ file: "cluster.yaml", policy: "x/deny-b" });
  expect(document.counts).toMatchObject({ packets: 4, judged: 3, delivered: 2, denied: 1, flows: 2 });
  const written = readCapture(readFileSync(join(cwd, "o.pcapng")), "o.pcapng").records;
  expect(written.map(({ bytes }) => bytes)).toEqual(packets);
  expect(written[2]).toMatchObject({ seconds: 1_700_000_002, nanoseconds: 5 });
  expect(written[2]?.comments?.[0]).toMatch(/^drop \(denied-ingress\) by n1 FORWARD filter/);
});

it("names the program and the map's answer that decided where there are no rules", () => {
  const run = podwire(["replay", "c.pcap", "cluster.yaml", "-e", "cilium", "-o", "json"], { cwd });
  const document = JSON.parse(run.stdout);
  const [allowed, answer, denied] = document.packets;
  expect(allowed.rule).toMatchObject({ chain: "cil_to_container", hook: "tc-egress" });
  expect(allowed.rule.lookup.map).toMatch(/^cilium_policy/);
  expect(allowed.rule.lookup.text).toContain("direction=ingress protocol=TCP port=80: by /");
  expect(answer.rule.text).toContain("cil_to_container returned TC_ACT_OK");
  expect(answer.rule.lookup).toBeUndefined(); // connection tracking let it pass
  expect(denied.rule.text).toContain("cil_to_container returned TC_ACT_SHOT");
  expect(denied.rule.lookup.text).toMatch(/direction=ingress protocol=TCP port=80: none$/);
  expect(denied.rule.report).toContain("reason=Policy denied");
  expect(denied.rule.lookup.origin).toMatchObject({ policy: "x/deny-b", file: "cluster.yaml" });
  expect(document.flows[1].denied.rule).toEqual(denied.rule);
  expect(document.flows[1].denied.because[0].policy).toBe("x/deny-b");
});

it("names no rule for what the fabric loses: each that it met let it pass", () => {
  const spoofed = udp({ src: "10.224.5.5", dst: "10.224.0.99", sport: 40_000, dport: 53 });
  const record = pcapPacket({ interfaceIndex: 0, seconds: 1, nanoseconds: 0, bytes: spoofed });
  writeFileSync(join(cwd, "lost.pcap"), Buffer.concat([pcapHeader(LinkType.raw), record]));
  const args = ["replay", "lost.pcap", "cluster.yaml", "-e", "azure-npm", "--at", "n1", "-o", "json"];
  const [packet] = JSON.parse(podwire(args, { cwd }).stdout).packets;
  expect(packet).toMatchObject({ verdict: "drop", disposition: "lost", rule: null });
});

it("judges by a node's own dump", () => {
  const run = podwire(["replay", "c.pcap", "--iptables", "iptables.save", "-o", "json"], { cwd });
  const verdicts = JSON.parse(run.stdout).packets.map((packet: { verdict: string }) => packet.verdict);
  expect(verdicts).toEqual(["accept", "accept", "accept", "drop"]);
});

it("knows what a dumped node is told to be its own, and in which direction it denies", () => {
  const args = ["replay", "c.pcap", "--iptables", "in-out.save", "--local", `192.0.2.2,${b}`, "-o", "json"];
  const run = podwire(args, { cwd });
  const judged = JSON.parse(run.stdout).packets.map(
    ({ disposition, rule }: { disposition: string; rule: { hook: string } | null }) =>
      `${disposition} ${rule?.hook}`,
  );
  expect(judged).toEqual([
    "denied-egress OUTPUT",
    "delivered INPUT",
    "delivered INPUT",
    "denied-ingress INPUT",
  ]);
});

it("does not judge a family that there are no tables of, and says so", () => {
  const run = podwire(["replay", "c.pcap", "--ip6tables", "iptables.save", "-o", "json"], { cwd });
  const document = JSON.parse(run.stdout);
  expect(document.counts).toMatchObject({ judged: 0, noTables: 4 });
  expect(document.packets[0]).toMatchObject({ verdict: "none", disposition: "no-tables", rule: null });
  expect(run.stderr).toContain("--iptables for IPv4");
});

it("shows first the flows that engines differ about, and the reasons", () => {
  const run = podwire(["replay", "c.pcap", "cluster.yaml", "-e", "none,azure-npm"], { cwd });
  const [first, second, third, fourth] = run.stdout.split("\n");
  expect(first).toMatch(/^differs {2}tcp x\/a 10.224.0.10:40001 > x\/b 10.224.0.11:80$/);
  expect(second).toMatch(/^ {2}none: allow, 1 of 1/);
  expect(third).toMatch(/^ {2}azure-npm: deny, 0 of 1/);
  expect(fourth).toMatch(/packet 2 denied-ingress by n1 FORWARD filter/);
  expect(run.stdout).toContain("\n1 flows differ between the engines\n");
});

it("tells what it read of a damaged capture, and where the damage is", () => {
  const run = podwire(["replay", "cut.pcap", "--iptables", "iptables.save", "-o", "json"], { cwd });
  expect(run.code).toBe(2);
  expect(JSON.parse(run.stdout)).toMatchObject({
    counts: { packets: 3 },
    fault: { offset: capture.length - (records[3]?.length ?? 0) },
  });
});

it("reads a capture from standard input", () => {
  const run = podwire(["replay", "-", "--iptables", "iptables.save", "-o", "csv"], { cwd, input: capture });
  expect(run.code).toBe(0);
  expect(run.stdout.split("\r\n").filter((line) => line.includes(",deny,"))).toHaveLength(1);
});

it("keeps what the source says of interfaces and packets", () => {
  const flags = { code: 2, value: Uint8Array.of(2, 0, 0, 0) };
  const source = Buffer.concat([
    pcapngHeader([
      {
        name: "eth7",
        linkType: LinkType.raw,
        options: [{ code: 3, value: Buffer.from("uplink") }],
      },
    ]),
    ...packets.map((bytes) =>
      pcapngPacket({
        interfaceIndex: 0,
        seconds: 5,
        nanoseconds: 7,
        bytes,
        comments: ["mine"],
        options: [flags],
      }),
    ),
  ]);
  writeFileSync(join(cwd, "s.pcapng"), source);
  podwire(["replay", "s.pcapng", "--iptables", "iptables.save", "--write", "again.pcapng"], { cwd });
  const written = readCapture(readFileSync(join(cwd, "again.pcapng")), "again.pcapng");
  expect(written.interfaces[0]?.name).toBe("eth7");
  expect(Buffer.from(written.interfaces[0]?.options?.[0]?.value ?? []).toString()).toBe("uplink");
  expect(written.records[0]?.comments?.[0]).toBe("mine");
  expect(written.records[0]?.options).toEqual([flags]);
});

it("writes one section of what had several, of either byte order and resolution", () => {
  const nanoseconds = [false, true].map((isLittle) => option(isLittle, 9, Uint8Array.of(9)));
  const at = { number: 0, high: 0, low: 1_000_000_007 };
  const sections = [false, true].flatMap((isLittle, i) => [
    section(isLittle),
    interfaceBlock(
      isLittle,
      LinkType.raw,
      0,
      option(isLittle, 2, Buffer.from(`eth${i}`)),
      ...nanoseconds.slice(i, i + 1),
    ),
    enhancedPacket(isLittle, at, packets[3] ?? new Uint8Array(0)),
  ]);
  writeFileSync(join(cwd, "sections.pcapng"), joinBytes(sections));
  const args = [
    "replay",
    "sections.pcapng",
    "--iptables",
    "iptables.save",
    "-o",
    "jsonl",
    "--write",
    "one.pcapng",
  ];
  const run = podwire(args, { cwd });
  expect(run.stdout.match(/"time":"1.000000007"/g)).toHaveLength(2);
  const { interfaces, records: written } = readCapture(readFileSync(join(cwd, "one.pcapng")), "one.pcapng");
  expect(interfaces.map(({ name }) => name)).toEqual(["eth0", "eth1"]);
  expect(
    written.map(({ interfaceIndex, seconds, nanoseconds: ns }) => [interfaceIndex, seconds, ns]),
  ).toEqual([
    [0, 1, 7],
    [1, 1, 7],
  ]);
});

it("reads classic captures of either byte order and resolution", () => {
  const [, , , dns = new Uint8Array(0)] = packets;
  const files = Object.entries(pcapForms).map(([name, form]) => {
    const file = pcapFile(form, [{ seconds: 1, fraction: 7, original: dns.length, data: dns }]);
    writeFileSync(join(cwd, `${name}.pcap`), file);
    return [
      `${name}.pcap`,
      form.magic === pcapForms.nanosecondsBig.magic ? "1.000000007" : "1.000007000",
    ] as const;
  });
  const runs = podwires(
    files.map(([file]) => ["replay", file, "--iptables", "iptables.save", "-o", "json"]),
    cwd,
  );
  for (const [i, { stdout }] of runs.entries())
    expect(JSON.parse(stdout).packets[0]).toMatchObject({ time: files[i]?.[1], verdict: "drop" });
  expect(runs).toHaveLength(6);
});

it.each([
  ["md", "| engine | protocol |"],
  ["junit", '<testsuites name="podwire" tests="2" failures="1">'],
  ["jsonl", '"copies":0'],
])("answers as %s", (format, part) => {
  const run = podwire(["replay", "c.pcap", "cluster.yaml", "-e", "azure-npm", "-o", format], { cwd });
  expect(run.stdout).toContain(part);
});

it("judges by a BPF program", () => {
  const program = join(import.meta.dirname, "../../docs/examples/no-dns.classic");
  const run = podwire(["replay", "c.pcap", "--bpf", program, "-o", "json"], { cwd });
  expect(run.stderr).toBe("");
  const judged = JSON.parse(run.stdout).packets.map((packet: { verdict: string }) => packet.verdict);
  expect(judged).toEqual(["accept", "accept", "accept", "drop"]);
});

/** What was found of each packet: disposition and the hook whose rule said so. */
const judgedAt: readonly (readonly [what: string, args: readonly string[], found: readonly string[]])[] = [
  [
    "one hook of a dump alone",
    ["c.pcap", "--iptables", "in-out.save", "--hook", "output"],
    Array<string>(4).fill("denied-egress OUTPUT"),
  ],
  [
    "another",
    ["c.pcap", "--iptables", "in-out.save", "--hook", "INPUT"],
    [...Array<string>(3).fill("delivered INPUT"), "denied-ingress INPUT"],
  ],
  [
    "a hook that the dump has nothing at",
    ["c.pcap", "--iptables", "in-out.save", "--hook", "FORWARD"],
    Array<string>(4).fill("delivered"),
  ],
  [
    "a node that every packet comes to, whatever its addresses",
    ["c.pcap", "cluster.yaml", "-e", "azure-npm", "--at", "n1"],
    ["delivered FORWARD", "delivered FORWARD", "denied-ingress FORWARD", "delivered FORWARD"],
  ],
  [
    "an interface of it: answers to what came by another are answers all the same",
    ["c.pcap", "cluster.yaml", "-e", "azure-npm", "--at", "n1:eth0"],
    ["delivered FORWARD", "delivered FORWARD", "denied-ingress FORWARD", "delivered FORWARD"],
  ],
];

describe("judges at", () => {
  let results: readonly CommandResult[] = [];
  beforeAll(() => {
    results = podwires(
      judgedAt.map(([, args]) => ["replay", ...args, "-o", "json"]),
      cwd,
    );
  });

  it.each(judgedAt.map(([what, , found], i) => [what, found, i] as const))("%s", (_, found, i) => {
    const { code, stdout, stderr } = results[i] ?? { code: -1, stdout: "", stderr: "" };
    expect([code, stderr]).toEqual([0, ""]);
    const { packets } = JSON.parse(stdout) as ReplayDocument;
    expect(packets.map(({ disposition, rule }) => [disposition, rule?.hook ?? []].flat().join(" "))).toEqual(
      found,
    );
  });
});

const refusals: readonly (readonly [what: string, args: readonly string[], message: string])[] = [
  ["a cut capture, after what was whole", ["cut.pcap", "cluster.yaml", "-e", "none"], "cut.pcap:byte "],
  ["a dump with what is not supported", ["c.pcap", "--iptables", "bad.save"], "bad.save:3:"],
  ["a set that is not there", ["c.pcap", "--iptables", "sets.save"], "sets.save:3:"],
  ["a place without a name", ["c.pcap", "cluster.yaml", "-e", "none", "--at", ":eth0"], "--at takes"],
  ["routes that are none", ["c.pcap", "--iptables", "iptables.save", "--routes", "bad.save"], "no JSON"],
  ["neither engine nor dump", ["c.pcap", "cluster.yaml"], "needs --engine"],
  ["a node that is not there", ["c.pcap", "cluster.yaml", "-e", "none", "--at", "n9"], "no node n9"],
  ["a program that is not there", ["c.pcap", "--bpf", "no.o"], "no.o: no such file"],
  ["a program at no hook", ["c.pcap", "--bpf", "bad.save", "--hook", "sideways"], "bad.save:1:"],
  ["sets without rules", ["c.pcap", "--ipset", "iptables.save"], "--iptables"],
  ["two judges of a kind", ["c.pcap", "--bpf", "a.o", "--iptables", "iptables.save"], "needs --engine"],
  ["a hook that is none", ["c.pcap", "--iptables", "in-out.save", "--hook", "SIDEWAYS"], "--hook takes"],
  [
    "an interface that the node has not",
    ["c.pcap", "--iptables", "in-out.save", "--addresses", "addr.json", "--in-interface", "eth9"],
    "it has lo, eth0",
  ],
  [
    "an interface that the emulated node has not",
    ["c.pcap", "cluster.yaml", "-e", "none", "--at", "n1:eth9"],
    "no interface eth9",
  ],
  ["a hook for an engine", ["c.pcap", "cluster.yaml", "-e", "none", "--hook", "FORWARD"], "--hook"],
  ["what is no capture", ["cluster.yaml", "cluster.yaml", "-e", "none"], "neither a pcap nor a pcapng file"],
  ["all from one standard input", ["-", "-", "-e", "none"], "cannot both come from standard input"],
  ["a file that is not there", ["no.pcap", "cluster.yaml", "-e", "none"], "no such file"],
];

describe("refuses, with exit code 2,", () => {
  let results: readonly CommandResult[] = [];
  beforeAll(() => {
    results = podwires(
      refusals.map(([, args]) => ["replay", ...args]),
      cwd,
    );
  });

  it.each(refusals.map(([what, , message], i) => [what, message, i] as const))("%s", (_, message, i) => {
    expect(results[i]?.code).toBe(2);
    if (!message.startsWith("cut.pcap")) expect(results[i]?.stdout).toBe("");
    expect(results[i]?.stderr).toContain(message);
  });
});
