/** Manifest texts in every form that kubectl takes or prints. */
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { loadManifests } from "../../src/k8s/index.ts";
import { loadText, placedFaults, type RawObject } from "./load.ts";

const pod = (name: string, labels: RawObject = {}): RawObject => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace: "x", labels },
  spec: { containers: [] },
});
const names = (text: string): readonly string[] => loadText(text).pods.map(({ name }) => name);
const list = (...items: readonly unknown[]): RawObject => ({ apiVersion: "v1", kind: "List", items });
const json = (value: unknown): string => JSON.stringify(value, null, 2);

describe("the forms of an input", () => {
  const [a, b] = [pod("a"), pod("b")];
  it.each([
    { form: "one YAML document", text: stringify(a), holds: ["a"] },
    { form: "several YAML documents", text: `${stringify(a)}---\n${stringify(b)}`, holds: ["a", "b"] },
    {
      form: "documents with end markers, comments and empty ones between them",
      text: `# head\n---\n---\n${stringify(a)}...\n# rest\n---\n# nothing\n---\n${stringify(b)}...\n`,
      holds: ["a", "b"],
    },
    { form: "a document that starts on the marker's line", text: `--- ${JSON.stringify(a)}`, holds: ["a"] },
    { form: "a YAML directive", text: `%YAML 1.2\n---\n${stringify(a)}`, holds: ["a"] },
    { form: "CRLF", text: `${stringify(a)}---\n${stringify(b)}`.replaceAll("\n", "\r\n"), holds: ["a", "b"] },
    { form: "a byte order mark before YAML", text: `\uFEFF${stringify(a)}`, holds: ["a"] },
    { form: "a byte order mark before JSON", text: `\uFEFF${json(a)}`, holds: ["a"] },
    { form: "JSON", text: json(a), holds: ["a"] },
    { form: "a stream of JSON", text: `${json(a)}\n${json(b)}${json(pod("c"))}`, holds: ["a", "b", "c"] },
    { form: "flow-style YAML", text: "{apiVersion: v1, kind: Pod, metadata: {name: a}}", holds: ["a"] },
    { form: "a List in JSON", text: json(list(a, b)), holds: ["a", "b"] },
    { form: "a List in YAML", text: stringify(list(a, b)), holds: ["a", "b"] },
    { form: "Lists in a List", text: json(list(list(a), list(list(b)), list())), holds: ["a", "b"] },
    { form: "a List whose items are null", text: "apiVersion: v1\nkind: List\nitems:\n", holds: [] },
    {
      form: "a typed list, whose items leave their kind out",
      text: json({ apiVersion: "v1", kind: "PodList", items: [{ metadata: { name: "a" } }] }),
      holds: ["a"],
    },
    { form: "nothing", text: "", holds: [] },
    { form: "comments alone", text: "# nothing\n\n  # here\n", holds: [] },
    { form: "a null document", text: "null\n", holds: [] },
  ])("$form", ({ text, holds }) => {
    expect(names(text)).toEqual(holds);
  });

  it("are mixed freely", () => {
    const inputs = [
      { name: "a.yaml", text: stringify(a) },
      { name: "b.json", text: json(list(b)) },
      { name: "<stdin>", text: stringify(pod("c")) },
    ];
    expect(loadManifests(inputs).pods.map(({ name }) => name)).toEqual(["a", "b", "c"]);
  });

  it("`---` inside a block scalar's indentation, or longer, marks nothing", () => {
    const text = `apiVersion: v1
kind: Pod
metadata:
  name: a
  annotations:
    note: |
      ---
      kind: Pod
    line: ----
`;
    const [loaded] = loadText(text).pods;
    expect(loaded?.annotations).toEqual({ note: "---\nkind: Pod\n", line: "----" });
  });
});

describe("kinds and names", () => {
  it("counts kinds that it has no use for", () => {
    const other = (kind: string, apiVersion: string): RawObject => ({
      apiVersion,
      kind,
      metadata: { name: "o" },
    });
    const loaded = loadText(
      json(
        list(
          other("ConfigMap", "v1"),
          other("ConfigMap", "v1"),
          other("Ingress", "networking.k8s.io/v1"),
          other("NetworkPolicy", "crd.projectcalico.org/v1"),
          other("Service", "serving.knative.dev/v1"),
        ),
      ),
    );
    expect([...loaded.ignored]).toEqual([
      ["ConfigMap", 2],
      ["Ingress.networking.k8s.io", 1],
      ["NetworkPolicy.crd.projectcalico.org", 1],
      ["Service.serving.knative.dev", 1],
    ]);
  });

  it("takes the last of objects with one name and says so", () => {
    const loaded = loadText(json(list(pod("a", { v: "1" }), pod("b"), pod("a", { v: "2" }))));
    expect(loaded.pods.map(({ name, labels }) => [name, labels])).toEqual([
      ["a", { v: "2" }],
      ["b", {}],
    ]);
    expect(loaded.replaced).toEqual(["Pod x/a"]);
  });

  it("gives names to objects with generateName: the same ones each time, each another", () => {
    const generated = list(
      ...[1, 2].map(() => ({ apiVersion: "v1", kind: "Pod", metadata: { generateName: "web-" } })),
    );
    const [first, second] = [names(json(generated)), names(json(generated))];
    expect(first).toEqual(second);
    expect(new Set(first).size).toBe(2);
    for (const name of first) expect(name).toMatch(/^web-[bcdfghjklmnpqrstvwxz2-9]{5}$/);
  });

  it("reads policies of older groups", () => {
    const policy = { kind: "NetworkPolicy", metadata: { name: "p" }, spec: { podSelector: {} } };
    for (const apiVersion of ["networking.k8s.io/v1", "extensions/v1beta1"])
      expect(loadText(json({ apiVersion, ...policy })).policies).toHaveLength(1);
  });
});

describe("YAML as kubectl reads it", () => {
  const annotated = (value: string): unknown => {
    const text = `apiVersion: v1\nkind: Pod\nmetadata: { name: a }\nspec:\n  hostNetwork: ${value}\n`;
    return loadText(text).pods[0]?.hostNetwork;
  };
  it.each(["true", "True", "yes", "on", "ON"])("%s is true", (value) => {
    expect(annotated(value)).toBe(true);
  });
  it.each(["false", "no", "Off", "~", "null", ""])("%s is false", (value) => {
    expect(annotated(value)).toBe(false);
  });

  it.each([
    { value: "no", said: "Invalid value: false: must be a string (quote it)" },
    { value: "on", said: "Invalid value: true: must be a string (quote it)" },
    { value: "1", said: "Invalid value: 1: must be a string (quote it)" },
    { value: "1.20", said: "Invalid value: 1.2: must be a string (quote it)" },
    { value: "0x1f", said: "Invalid value: 31: must be a string (quote it)" },
    { value: "010", said: "Invalid value: 8: must be a string (quote it)" },
    { value: "1_000", said: "Invalid value: 1000: must be a string (quote it)" },
    { value: "1e3", said: "Invalid value: 1000: must be a string (quote it)" },
    { value: ".5", said: "Invalid value: 0.5: must be a string (quote it)" },
    { value: "09", said: "Invalid value: 9: must be a string (quote it)" },
  ])("a label $value is refused", ({ value, said }) => {
    expect(
      placedFaults(`apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels:\n    v: ${value}\n`),
    ).toEqual([`6:5 metadata.labels[v]: ${said}`]);
  });

  it.each(["y", "n", "'no'", '"1"', "!!str 1", "2026-01-02", "1.2.3", "1a", "0x", "1-2", "nO"])(
    "a label %s is text",
    (value) => {
      const [loaded] = loadText(
        `apiVersion: v1\nkind: Pod\nmetadata: { name: a, labels: { v: ${value} } }\n`,
      ).pods;
      expect(loaded?.labels["v"]).toBe(value.replace(/^!!str |['"]/g, "").replace(/['"]$/, ""));
    },
  );

  it("a port in octal, in hexadecimal and with underscores is a number", () => {
    const ports = (port: string): unknown =>
      loadText(
        `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: p }\nspec: { podSelector: {}, ingress: [{ ports: [{ port: ${port} }] }] }\n`,
      ).policies[0]?.ingress[0]?.ports[0]?.port;
    expect(["0120", "0x50", "0o120", "0b1010000", "8_0", "+80"].map(ports)).toEqual([80, 80, 80, 80, 80, 80]);
  });

  it("follows anchors, aliases and merge keys", () => {
    const text = `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: { name: a, labels: &labels { app: web, tier: front } }
- apiVersion: v1
  kind: Pod
  metadata:
    name: b
    labels: *labels
- apiVersion: v1
  kind: Pod
  metadata:
    name: c
    labels:
      <<: *labels
      tier: back
`;
    expect(loadText(text).pods.map(({ labels }) => labels)).toEqual([
      { app: "web", tier: "front" },
      { app: "web", tier: "front" },
      { app: "web", tier: "back" },
    ]);
  });

  it("is told when a list contains itself", () => {
    expect(placedFaults("&all\nkind: List\nitems:\n- *all\n")).toEqual(["4:3 : a list contains itself"]);
  });
});

describe("keys that JavaScript knows", () => {
  const policy = (labels: string): string =>
    `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"p"},"spec":{"podSelector":{"matchLabels":${labels}}}}`;

  it("__proto__ is a label key like others, and a bad one: never a selector that selects everything", () => {
    for (const text of [policy('{"__proto__":"v"}'), policy("{__proto__: v}")])
      expect(placedFaults(text)).toEqual([
        expect.stringContaining('Invalid value: "__proto__": name part must'),
      ]);
  });

  it("constructor and toString are label keys, which no pod has by itself", () => {
    const [loaded] = loadText(policy('{"constructor":"v","toString":"w"}')).policies;
    expect(Object.entries(loaded?.podSelector.matchLabels ?? {})).toEqual([
      ["constructor", "v"],
      ["toString", "w"],
    ]);
  });
});

describe("faults of a text", () => {
  const bad = (name: string): string =>
    `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: ${name}\nspec:\n  podSelector: {}\n  ingress:\n  - ports:\n    - port: 0\n`;

  it("are told of every document, with their places, whatever is wrong with the others", () => {
    const text = `${bad("a")}---\nkind: [\n---\n- 1\n---\n${bad("b")}---\nkind: 7\n---\nmetadata: { name: c }\n`;
    const ports = "spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive";
    expect(placedFaults(text)).toEqual([
      expect.stringMatching(/^11:8 : not valid YAML: /),
      "13:1 : a manifest must be an object with apiVersion and kind",
      `9:7 ${ports}`,
      `23:7 ${ports}`,
      "25:1 kind: Invalid value: 7: must be a string",
      "27:1 kind: Required value",
    ]);
  });

  it("have places in JSON too", () => {
    const text = json(
      list(pod("a"), { ...pod("b"), metadata: { name: "b", labels: { ok: "1", "a b": "2" } } }),
    );
    const line = text.split("\n").findIndex((one) => one.includes('"a b"')) + 1;
    expect(placedFaults(text)).toEqual([
      expect.stringContaining(`${line}:11 metadata.labels: Invalid value: "a b": name part`),
    ]);
  });

  it("have places in a stream of JSON, on a line that starts with another document", () => {
    const text = `${JSON.stringify(pod("a"))} {"kind":"Pod","apiVersion":"v1",\n"metadata":{"name":"B"}}`;
    expect(placedFaults(text)).toEqual([expect.stringMatching(/^2:13 metadata\.name: Invalid value: "B"/)]);
    const first = `{} {"kind":"Pod","apiVersion":"v1","metadata":{"name":"B"}}`;
    expect(placedFaults(first)).toEqual([
      "1:1 kind: Required value",
      expect.stringMatching(/^1:48 metadata\.name/),
    ]);
  });

  it("have places where aliases and merge keys lead", () => {
    const text = `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: &meta
    name: BAD
- apiVersion: v1
  kind: Pod
  metadata: *meta
- apiVersion: v1
  kind: Pod
  metadata:
    <<: *meta
`;
    expect(placedFaults(text).map((fault) => fault.split(" ")[0])).toEqual(["7:5", "7:5", "7:5"]);
  });

  it.each([
    { style: "dashes at the margin", dash: "" },
    { style: "dashes indented", dash: "  " },
  ])("have places in long lists with $style, whatever their items hold", ({ dash }) => {
    const item = (name: string): string =>
      [
        `- apiVersion: v1`,
        `  kind: Pod`,
        `# a comment at the margin`,
        ``,
        `  metadata:`,
        `    annotations:`,
        `      text: |`,
        `       - not: an item`,
        `      list:`,
        `        "quoted`,
        `        - text"`,
        `    name: ${name}`,
      ]
        .map((line) => (line === "" || line.startsWith("#") ? line : `${dash}${line}`))
        .join("\n");
    const text = `apiVersion: v1\nkind: List\nitems:\n${["a", "B", "c", "D"].map(item).join("\n")}\nmetadata: {}\n`;
    const lines = text.split("\n").map((line, i) => (/name: [A-Z]/.test(line) ? i + 1 : 0));
    expect(placedFaults(text).map((fault) => fault.split(" ")[0])).toEqual(
      lines.filter((line) => line > 0).map((line) => `${line}:${dash.length + 5}`),
    );
  });

  it("point at the nearest thing that is there", () => {
    const text =
      "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {}\nspec:\n  podSelector: {}\n  ingress:\n  - from:\n    - {}\n";
    expect(placedFaults(text)).toEqual([
      "3:1 metadata.name: Required value: name or generateName is required",
      "8:7 spec.ingress[0].from[0]: Required value: must specify a peer",
    ]);
  });

  it.each([
    { what: "a tab for indentation", text: "kind: Pod\nmetadata:\n\tname: a\n", line: 3 },
    { what: "a repeated key", text: "kind: Pod\nkind: Pod\n", line: 2 },
    { what: "an unclosed brace", text: '{"kind": "Pod",\n "metadata": {', line: 2 },
    { what: "an alias to nothing", text: "kind: *nothing\n", line: 1 },
  ])("$what is told with its line", ({ text, line }) => {
    const [fault, ...more] = placedFaults(text);
    expect(more).toEqual([]);
    expect(fault).toMatch(new RegExp(`^${line}:\\d+ : not valid (JSON or )?YAML: `));
  });

  it("are bounded in time by the text's length, not by the number of faults times it", () => {
    const text = Array.from({ length: 1500 }, (_, i) => bad(`p${i}`)).join("---\n");
    const one = performance.now();
    expect(placedFaults(bad("a"))).toHaveLength(1);
    const single = performance.now() - one;
    const all = performance.now();
    expect(placedFaults(text)).toHaveLength(1500);
    expect(performance.now() - all).toBeLessThan(Math.max(5000, single * 1500 * 20));
  });
});
