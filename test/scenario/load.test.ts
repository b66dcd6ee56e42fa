/** Loading: what a file becomes, and where its mistakes are reported. */
import { describe, expect, it } from "vitest";
import { InputError, type Issue } from "../../src/base/index.ts";
import { loadManifests, locate } from "../../src/k8s/index.ts";
import {
  loadScenario,
  manifestFile,
  type Scenario,
  type ScenarioLoadOptions,
} from "../../src/scenario/index.ts";

function load(text: string, options?: ScenarioLoadOptions): Scenario {
  return loadScenario({ name: "dir/case.yaml", text }, options);
}

function issuesOf(act: () => unknown): readonly Issue[] {
  try {
    act();
  } catch (error) {
    if (error instanceof InputError) return error.issues;
    throw error;
  }
  throw new Error("expected an InputError");
}

const minimal = `engines: [oracle]
steps:
  - probe: { from: x/a, to: x/b, port: 80, expect: connected }
`;

describe("loading a scenario", () => {
  it("takes name and description from the file where they are not given", () => {
    const scenario = load(`# shows this\n# look there\n${minimal}`);
    expect(scenario.name).toBe("case");
    expect(scenario.description).toEqual(["shows this", "look there"]);
    expect(load(`name: given\n${minimal}`).name).toBe("given");
  });

  it("fills in protocol, timeout and the expectation of connect", () => {
    const { steps } = load(`${minimal}  - connect: { as: f, from: x/a, to: x/b, port: 53, protocol: UDP }\n`);
    expect(steps[0]).toMatchObject({ action: "probe", port: { protocol: "TCP", port: 80 }, timeoutNs: 3e9 });
    expect(steps[1]).toMatchObject({
      action: "connect",
      flow: "f",
      port: { protocol: "UDP", port: 53 },
      expect: { default: "connected" },
    });
  });

  it("reads packets of no flow, by their fields or as bytes", () => {
    const { steps } =
      load(`${minimal}  - inject: { from: x/a, to: x/b, port: 80, flags: [SYN, ACK], expect: lost }
  - inject: { from: x/a, packet: 4500001400010000401100000a0000010a000002, expect: delivered }
`);
    expect(steps[1]).toMatchObject({
      action: "inject",
      packet: { kind: "fields", port: { protocol: "TCP", port: 80 }, sourcePort: 40_000, flags: 0x12 },
    });
    expect(steps[2]).toMatchObject({ packet: { kind: "bytes", hex: expect.stringMatching(/^45000014/) } });
  });

  it.each([
    ["{ from: x/a, expect: lost }", /inject: needs `to`, or a whole `packet`/],
    ["{ from: x/a, to: x/b, expect: lost }", /inject: `port` is missing/],
    ["{ from: x/a, to: x/b, port: 80 }", /inject\.expect/],
    [
      "{ from: x/a, to: x/b, port: 80, protocol: UDP, flags: [SYN], expect: lost }",
      /flags: `flags` are TCP's/,
    ],
    ["{ from: x/a, to: x/b, port: 80, flags: [SIN], expect: lost }", /flags\[0\].*SYN/],
    ["{ from: x/a, packet: '4500', expect: lost }", /packet: must be an IP packet in hexadecimal digits/],
    [
      `{ from: x/a, to: x/b, packet: '${"45".repeat(20)}', expect: lost }`,
      /packet: `packet` says all; leave out to/,
    ],
  ])("refuses to inject %s", (fields, says) => {
    expect(() => load(`${minimal}  - inject: ${fields}\n`)).toThrow(says);
  });

  it("reads ICMP probes as echo requests unless a type is given", () => {
    const { steps } = load(`engines: [oracle]
steps:
  - probe: { from: x/a, to: x/b, protocol: ICMP, expect: connected }
  - probe: { from: x/a, to: x/b, protocol: ICMP, type: 13, expect: timeout }
`);
    expect(steps.map((step) => step.action === "probe" && step.port)).toEqual([
      { protocol: "ICMP", port: 8 },
      { protocol: "ICMP", port: 13 },
    ]);
  });

  it("keeps each step's line and note", () => {
    const { steps } = load(`${minimal}  - note: why\n    advance: 5s\n`);
    expect(steps[0]).toMatchObject({ place: { file: "dir/case.yaml", line: 3, column: 5 }, note: undefined });
    expect(steps[1]).toMatchObject({ place: { line: 5 }, note: "why", durationNs: 5e9 });
  });

  it("gives a frozen value", () => {
    const scenario = load(minimal);
    expect(Object.isFrozen(scenario)).toBe(true);
    expect(Object.isFrozen(scenario.steps[0])).toBe(true);
    expect(() => Object.assign(scenario.steps[0] as object, { note: "changed" })).toThrow(TypeError);
  });

  it("splits names and labels of edits", () => {
    const { steps } = load(`engines: [oracle]
steps:
  - delete: { kind: NetworkPolicy, name: x/p }
  - delete: { kind: Namespace, name: x }
  - label: { namespace: y, labels: { a: b, c: null } }
  - deletePod: x/a
  - restart: { node: n1 }
`);
    expect(steps).toMatchObject([
      { kind: "NetworkPolicy", namespace: "x", name: "p" },
      { kind: "Namespace", namespace: undefined, name: "x" },
      { kind: "Namespace", name: "y", labels: { a: "b", c: null } },
      { namespace: "x", name: "a" },
      { node: "n1" },
    ]);
  });
});

describe("manifests in a scenario", () => {
  const policy = (indent: string): string =>
    [
      "apiVersion: networking.k8s.io/v1",
      "kind: NetworkPolicy",
      "metadata: { namespace: x, name: p }",
      "spec:",
      "  podSelector: {}",
    ]
      .map((line) => `${indent}${line}\n`)
      .join("");

  it("keep their line in the scenario file, as text and as objects", () => {
    const scenario = load(`# one
# two
manifests:
  - |
${policy("    ")}  -
${policy("    ")}engines: [oracle]
steps:
  - apply: |
${policy("      ")}  - apply:
${policy("      ")}  - advance: 1s
`);
    const [text, object] = scenario.manifests;
    const applied = scenario.steps.flatMap((step) => (step.action === "apply" ? step.manifests : []));
    const lineOf = (
      manifest: { readonly name: string; readonly text: string } | undefined,
    ): number | undefined => {
      expect(manifest).toBeDefined();
      if (manifest === undefined) return undefined;
      const [loaded] = loadManifests([manifest]).policies;
      expect(loaded?.source).toBeDefined();
      return loaded?.source && locate(manifest, loaded.source, "spec.podSelector").line;
    };
    expect([text, object, ...applied].map(lineOf)).toEqual([9, 15, 23, 29]);
    expect([text, object, ...applied].map((manifest) => manifest?.name)).toEqual([
      "dir/case.yaml#manifests[0]",
      "dir/case.yaml#manifests[1]",
      "dir/case.yaml#steps[0].apply",
      "dir/case.yaml#steps[1].apply",
    ]);
  });

  it("named by path are read by the caller's reader", () => {
    const text = `manifests: [{ path: ../base.yaml }]\n${minimal}`;
    const read: string[] = [];
    const scenario = load(text, {
      readManifests: (path, from) => {
        read.push(`${path} from ${from}`);
        return [{ name: path, text: policy("") }];
      },
    });
    expect(read).toEqual(["../base.yaml from dir/case.yaml"]);
    expect(scenario.manifests.map((manifest) => manifest.name)).toEqual(["../base.yaml"]);
  });

  it("that cannot be read are reported where they are named", () => {
    const text = `manifests:\n  - path: gone.yaml\n${minimal}`;
    const reader: ScenarioLoadOptions = {
      readManifests: () => {
        throw new InputError([{ code: "missing-file", path: "", message: "no such file or directory" }]);
      },
    };
    expect(issuesOf(() => load(text, reader))).toEqual([
      {
        code: "missing-file",
        path: "manifests[0]",
        message: "gone.yaml: no such file or directory",
        file: "dir/case.yaml",
        line: 2,
        column: 11,
      },
    ]);
    expect(issuesOf(() => load(text))).toMatchObject([{ code: "refused", line: 2, column: 11 }]);
  });

  it("of a pod step are a Pod with a container a port", () => {
    const { steps } = load(`engines: [oracle]
steps:
  - createPod: { name: x/a, ip: 10.224.0.9, node: n1, ports: [80/TCP, 53/UDP], labels: { app: web } }
`);
    const [step] = steps;
    if (step?.action !== "createPod") throw new Error("expected createPod");
    const [pod] = loadManifests([step.manifest]).pods;
    expect(pod).toMatchObject({ namespace: "x", name: "a", nodeName: "n1", labels: { app: "web" } });
    expect(pod?.ports).toMatchObject([
      { name: "serve-80-tcp", containerPort: 80, protocol: "TCP" },
      { name: "serve-53-udp", containerPort: 53, protocol: "UDP" },
    ]);
  });
});

describe("mistakes in a scenario", () => {
  it("are all reported at once, each at its line and column", () => {
    const issues = issuesOf(() =>
      load(`engines: [oracle]
steps:
  - probe: { from: x, to: x/b, port: 80, expect: connectd }
  - advance: 5
  - advance: soon
  - send: { flow: f }
`),
    );
    expect(issues.map(({ line, column, path }) => `${line}:${column} ${path}`)).toEqual([
      "3:20 steps[0].probe.from",
      "3:50 steps[0].probe.expect",
      "4:14 steps[1].advance",
      "5:14 steps[2].advance",
      "6:11 steps[3].send.from",
      "6:11 steps[3].send.expect",
    ]);
    expect(issues[0]?.message).toMatch(/not an end of a connection: x/);
    expect(issues[1]?.message).toBe(
      'must be connected, refused, timeout, undefined, not "connectd"; did you mean connected?',
    );
    expect(issues[4]?.message).toMatch(/missing/);
  });

  it("in names of steps and fields come with the nearest known one", () => {
    const issues = issuesOf(() =>
      load(`engine: [oracle]
engines: [oracle]
cluster: { networkPlugn: azure }
steps:
  - prob: { from: x/a }
  - probe: { form: x/a, from: x/a, to: x/b, port: 80, expect: connected }
  - expectMatrix: { ports: [80], overrides: [{ from: "*", to: "*", verdikt: deny, verdict: deny }] }
  - teleport: x/a
`),
    );
    const told = issues
      .filter((issue) => issue.code === "unknown-name")
      .map(({ line, column, message }) => `${line}:${column} ${message}`);
    expect(told).toContain("1:1 unknown field engine; did you mean engines?");
    expect(told).toContain("3:12 unknown field networkPlugn; did you mean networkPlugin?");
    expect(told).toContain("5:5 unknown step prob; did you mean probe?");
    expect(told).toContain("6:14 unknown field form; did you mean from?");
    expect(told).toContain("7:68 unknown field verdikt; did you mean verdict?");
    expect(told.find((line) => line.startsWith("8:5"))).toMatch(
      /unknown step teleport; known here: note, apply, delete/,
    );
  });

  it("of YAML itself carry their place", () => {
    expect(issuesOf(() => load("engines: [oracle\nsteps: []\n"))[0]).toMatchObject({
      code: "syntax",
      file: "dir/case.yaml",
      line: 2,
    });
    expect(issuesOf(() => load(`${minimal}---\n${minimal}`))[0]).toMatchObject({ code: "syntax", line: 4 });
    expect(issuesOf(() => load(""))[0]).toMatchObject({ code: "syntax" });
    expect(issuesOf(() => load(`${minimal}engines: [none]\n`))[0]).toMatchObject({
      code: "syntax",
      line: 4,
      column: 1,
    });
  });

  it("of meaning are found: no action, two actions, unknown flows, ports of no matrix", () => {
    const message = (steps: string): readonly string[] =>
      issuesOf(() => load(`engines: [oracle]\nsteps:\n${steps}`)).map((issue) => issue.message);
    expect(message("  - note: nothing\n")).toEqual([expect.stringMatching(/^a step needs one of apply/)]);
    expect(message("  - { advance: 1s, deletePod: x/a }\n")).toEqual([
      "a step does one thing; split deletePod and advance",
    ]);
    expect(message("  - close: f\n")).toEqual(["no step before opens flow f"]);
    const open = "  - connect: { as: f, from: x/a, to: x/b, port: 80 }\n";
    expect(message(`${open}  - close: f\n  - send: { flow: f, from: client, expect: lost }\n`)).toEqual([
      "flow f is closed",
    ]);
    expect(message(open + open)).toEqual(["flow f is open already"]);
    expect(
      message(
        '  - expectMatrix: { ports: [80], overrides: [{ from: "*", to: "*", ports: [81], verdict: deny }] }\n',
      ),
    ).toEqual(["81/TCP is not among the matrix's ports"]);
    expect(message("  - probe: { from: x/a, to: x/b, expect: connected }\n")).toEqual(["`port` is missing"]);
    expect(
      message("  - probe: { from: x/a, to: x/b, protocol: ICMP, port: 80, expect: connected }\n"),
    ).toEqual(["ICMP has no ports; give `type`"]);
    expect(message("  - label: { pod: x/a, node: n1, labels: {} }\n")).toEqual([
      "needs one of pod, namespace and node",
    ]);
    expect(message("  - expectDiagnostic: { absent: true }\n")).toEqual([
      "needs one of code, policy and message",
    ]);
  });

  it("in a per-engine expectation are reported inside it, a missing default included", () => {
    const issues = (expectation: string): readonly Issue[] =>
      issuesOf(() =>
        load(
          `engines: [oracle]\nsteps:\n  - probe: { from: x/a, to: x/b, port: 80, expect: ${expectation} }\n`,
        ),
      );
    expect(issues("{ azure-npm: timeout }")).toMatchObject([
      { path: "steps[0].probe.expect.default", code: "required" },
    ]);
    expect(issues("{ default: timeout, azure-npm: timout }")).toMatchObject([
      { line: 3, message: expect.stringMatching(/did you mean timeout/) },
    ]);
  });

  it("of the outermost shape are reported as well", () => {
    expect(issuesOf(() => load("- a\n- b\n"))[0]).toMatchObject({ path: "", line: 1, column: 1 });
    expect(issuesOf(() => load("engines: [oracle]\n"))[0]).toMatchObject({
      code: "required",
      path: "steps",
      message: "steps is missing",
    });
    expect(issuesOf(() => load("engines: [oracle]\nsteps:\n  - \n"))[0]).toMatchObject({ path: "steps[0]" });
    expect(issuesOf(() => load("engines: [oracle]\nsteps:\n  - probe:\n"))[0]).toMatchObject({
      path: "steps[0].probe",
      line: 3,
    });
    expect(issuesOf(() => load("a: &a [*a]\n"))[0]).toBeInstanceOf(Object);
  });

  it("in engine names are found where the caller tells the names", () => {
    const text = `engines: [azure-npn@2026-08, oracle+icmp=denied, all]
steps:
  - probe: { from: x/a, to: x/b, port: 80, expect: { default: timeout, orcale: connected } }
  - expectDiagnostic: { engines: [antrea], code: c }
`;
    expect(load(text).engines).toHaveLength(3);
    const issues = issuesOf(() => load(text, { engineNames: ["azure-npm", "oracle", "none"] }));
    expect(issues.map(({ line, column, message }) => `${line}:${column} ${message}`)).toEqual([
      "1:11 unknown engine azure-npn; did you mean azure-npm?",
      "3:72 unknown engine orcale; did you mean oracle?",
      "4:35 unknown engine antrea; known: azure-npm, oracle, none",
    ]);
  });

  it("in a fixture are found by the schema, and what the API refuses keeps its line", () => {
    const fixture = (pod: string): string => `# a\n# b\nfixture:\n  pods:\n    - ${pod}\n${minimal}`;
    expect(issuesOf(() => load(fixture("{ name: x/a, ip: 10.0.0.300 }")))).toMatchObject([
      { line: 5, message: "not an IPv4 address: 10.0.0.300" },
    ]);
    expect(issuesOf(() => load(fixture("{ name: x/a, ports: [8/ICMP] }")))).toMatchObject([
      { line: 5, message: "a container cannot serve 8/ICMP" },
    ]);
    const { manifests } = load(fixture('{ name: x/a, labels: { "-bad": v } }'));
    const [issue] = issuesOf(() => loadManifests(manifests));
    expect(issue).toMatchObject({ line: 3, file: "dir/case.yaml#fixture" });
    expect(manifestFile(issue?.file ?? "")).toBe("dir/case.yaml");
  });
});
