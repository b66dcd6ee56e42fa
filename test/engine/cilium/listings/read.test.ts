/**
 * Listings read back: the same entries, the same verdicts in every cell, and for what is wrong its place in the file.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InputError } from "../../../../src/base/index.ts";
import { readListings } from "../../../../src/engine/cilium/listings/read.ts";
import { firstPolicyPlace, MapPlace } from "../../../../src/engine/cilium/maps.ts";
import { type BpfTables, contentOf, type MapEntry } from "../../../../src/filter/bpf/index.ts";
import {
  ciliumObjects,
  clusterOf,
  compareSides,
  compileCluster,
  connectionBetween,
  createJudge,
  isListing,
  type NodeFolder,
  type ProductSelection,
  programSelection,
  resolveEnd,
  resolveSource,
  vendorKinds,
} from "../../../../src/harness/index.ts";
import type { ClusterState, ManifestInput } from "../../../../src/k8s/index.ts";
import { parseEnd } from "../../../../src/scenario/index.ts";
import { listingsOf, product, stateOf } from "./cluster.ts";

const isSoak = process.env["PODWIRE_SOAK"] === "1";
const versions = ["1.14", "1.16", "1.17", "1.18", "1.19"] as const;
const engine = product("cilium");

function readBack(listings: ReadonlyMap<string, string>): ReadonlyMap<string, ManifestInput> {
  const read = [...listings].filter(([name]) => isListing(name));
  return new Map(read.map(([name, text]) => [name, { name: `bpf/${name}`, text }]));
}

/** The engine's listings of every node, as an engine. */
function listed(state: ClusterState, selection: ProductSelection): ProductSelection {
  const nodes = [...state.nodes.keys()].map((name): [string, NodeFolder] => [
    name,
    { listings: readBack(listingsOf(state, selection, name)) },
  ]);
  return programSelection("program:listings", { nodes: new Map(nodes) });
}

const texts = (entries: readonly MapEntry[]): readonly string[] =>
  entries
    .map(({ key, value, interfaceAt }) => `${key.join()}=${value.join()} ${interfaceAt?.name ?? ""}`)
    .sort();

/** Content of the maps that are listed, those of policies by endpoint. */
function contents(bpf: BpfTables | undefined): Readonly<Record<string, readonly string[]>> {
  const at = (place: number): readonly MapEntry[] => {
    const map = bpf?.maps[place];
    return map === undefined ? [] : contentOf(map);
  };
  const number = (bytes: Uint8Array): number => new DataView(bytes.buffer).getUint32(0, true);
  return {
    ipcache: texts(at(MapPlace.ipcache)),
    lxc: texts(at(MapPlace.lxc)),
    ...Object.fromEntries(
      at(MapPlace.policies).map(({ key, value }) => [`policy ${number(key)}`, texts(at(number(value)))]),
    ),
  };
}

describe("law: listings of a node, read back", () => {
  it.each(versions)("are its maps and its programs (%s)", (version) => {
    fc.assert(
      fc.property(ciliumObjects(), (objects) => {
        const selection = product(`cilium@${version}`);
        const { state } = clusterOf(objects, selection.aks);
        const compiled = compileCluster(state, selection);
        for (const [name, { tables }] of compileCluster(state, listed(state, selection))) {
          const written = compiled.get(name)?.tables.bpf;
          expect(contents(tables.bpf)).toEqual(contents(written));
          if ((written?.maps.length ?? 0) === firstPolicyPlace) continue; // nothing tells the version
          expect(tables.iptables).toEqual(compiled.get(name)?.tables.iptables);
          if (version !== "1.17") expect(tables.bpf?.programs).toEqual(written?.programs); // lists as 1.18 does
        }
      }),
      { numRuns: isSoak ? 200 : 8, seed: 5 },
    );
  });

  it.each(["1.16", "1.18", "1.19", "1.18+host-firewall"])(
    "give the same verdict in every cell (%s)",
    (version) => {
      let cells = 0;
      fc.assert(
        fc.property(ciliumObjects(), (objects) => {
          const selection = product(`cilium@${version}`);
          const { state } = clusterOf(objects, selection.aks);
          const sides = compareSides({ state, selection }, { state, selection: listed(state, selection) });
          cells += sides.cells;
          expect(sides.disagreements.map(({ text }) => text)).toEqual([]);
          expect([...sides.fired]).toEqual([]);
        }),
        { numRuns: isSoak ? 300 : 3, seed: 17 },
      );
      expect(cells).toBeGreaterThan(60);
    },
  );

  it("of both families, with a Service", () => {
    const state = stateOf({ vendorKinds });
    const sides = compareSides({ state, selection: engine }, { state, selection: listed(state, engine) });
    expect(sides.cells).toBeGreaterThan(10);
    expect(sides.disagreements.map(({ text }) => text)).toEqual([]);
  });

  it("of a node that is policed itself", () => {
    const guarded = clusterOf(
      [
        { apiVersion: "v1", kind: "Node", metadata: { name: "n1", labels: { "kubernetes.io/os": "linux" } } },
        {
          apiVersion: "cilium.io/v2",
          kind: "CiliumClusterwideNetworkPolicy",
          metadata: { name: "nodes" },
          spec: { nodeSelector: {}, ingress: [{ toPorts: [{ ports: [{ port: "22", protocol: "TCP" }] }] }] },
        },
      ],
      engine.aks,
    ).state;
    const selection = product("cilium+host-firewall");
    const [first, again] = [selection, listed(guarded, selection)].map(
      (one) => compileCluster(guarded, one).get("n1")?.tables.bpf,
    );
    expect(contents(again)).toEqual(contents(first));
    expect(again?.programs).toEqual(first?.programs);
    expect(contents(first)["policy 65535"]).toHaveLength(3);
  });

  it("differ where an entry was changed", () => {
    const state = stateOf({ vendorKinds });
    const files = readBack(listingsOf(state, engine, "n1"));
    const policy = files.get("policy.json");
    const opened = {
      name: "p",
      text: (policy?.text ?? "").replace(/"DestPortNetwork": 20480/g, '"DestPortNetwork": 20736'),
    };
    const nodes = new Map([
      ["n1", { listings: new Map([...files, ["policy.json", opened]]) }],
      ["n2", { listings: readBack(listingsOf(state, engine, "n2")) }],
    ]);
    const selection = programSelection("program:listings", { nodes });
    const { disagreements } = compareSides({ state, selection: engine }, { state, selection });
    expect(disagreements.map(({ text }) => text).join("\n")).toMatch(
      /demo\/client.*demo\/server.*80.*allow by cilium, deny by program/,
    );
  });
});

describe("a node's listings", () => {
  const state = stateOf({ vendorKinds });
  const files = readBack(listingsOf(state, engine, "n1"));

  it("are those of the node whose addresses they call its own", () => {
    const selection = programSelection("program:n1", { nodes: new Map([["", { listings: files }]]) });
    const compiled = compileCluster(state, selection);
    expect(compiled.get("n1")?.tables.bpf?.programs).toHaveLength(4);
    expect(compiled.get("n2")?.tables.bpf?.programs).toHaveLength(0);
    const elsewhere = clusterOf([], { ...engine.aks, nodeSubnet: "10.99.0.0/16" }).state;
    expect(elsewhere.nodes.size).toBeGreaterThan(0);
    expect(() => compileCluster(elsewhere, selection)).toThrow(/its node is none of the cluster's/);
  });

  it("of a live node hold more than a written one, and are read all the same", () => {
    const line = (identity: number, more = "tunnelendpoint=0.0.0.0 flags=<none>"): readonly string[] => [
      `identity=${identity} encryptkey=0 ${more}`,
    ];
    const entry = (
      identity: number,
      direction: number,
      [prefix, protocol, port]: readonly number[],
    ): object => ({
      ProxyPortNetwork: 0,
      Flags: ((prefix ?? 40) - 40) << 3,
      AuthRequirement: 0,
      ProxyPortPriority: 0,
      Pad1: 0,
      Pad2: 0,
      Packets: 4711,
      Bytes: 2 ** 40,
      Key: {
        Prefixlen: prefix,
        Identity: identity,
        TrafficDirection: direction,
        Nexthdr: protocol,
        DestPortNetwork: port,
      },
    });
    const open = [entry(0, 0, [40, 0, 0]), entry(0, 1, [40, 0, 0])];
    const guarded = [entry(1, 0, [40, 0, 0]), entry(31_011, 0, [64, 6, 0x5000]), entry(0, 1, [40, 0, 0])];
    const endpoint = (id: number, identity: number, addressing: object, name: string): object => ({
      id,
      spec: { options: { Debug: "Disabled" } },
      status: {
        controllers: [{ name: "sync-policymap-112" }],
        identity: { id: identity, labels: ["k8s:app=x"], labelsSHA256: "00" },
        networking: { addressing: [addressing], "interface-index": 12, "interface-name": name, mac: "aa" },
        state: "ready",
      },
    });
    const texts = {
      "policy.json": [
        { EndpointID: "7", Path: "/sys/fs/bpf/tc/globals/cilium_policy_v2_00007", Content: open },
        { EndpointID: "112", Path: "/sys/fs/bpf/tc/globals/cilium_policy_v2_00112", Content: guarded },
        { EndpointID: "2913", Path: "/sys/fs/bpf/tc/globals/cilium_policy_v2_02913", Content: open },
      ],
      "ipcache.json": {
        "0.0.0.0/0": line(2),
        "10.224.0.4/32": line(1),
        "169.254.23.0/32": line(1),
        "10.244.0.2/32": line(9455),
        "10.244.1.2/32": line(31_011, "tunnelendpoint=10.224.0.5 flags=hastunnel"),
      },
      "endpoints.json": [
        endpoint(7, 1, {}, "cilium_host"),
        endpoint(112, 9455, { ipv4: "10.244.0.2", "ipv4-pool-name": "default" }, "azv1"),
        endpoint(2913, 4, { ipv4: "10.244.0.9" }, "lxc_health"),
      ],
    };
    const live = new Map(
      Object.entries(texts).map(([name, value]) => [name, { name, text: JSON.stringify(value) }]),
    );
    const selection = programSelection("program:live", { nodes: new Map([["", { listings: live }]]) });
    const { tables, diagnostics } = compileCluster(state, selection).get("n1") ?? { diagnostics: [] };
    expect(diagnostics.map(({ message }) => message).join()).toContain("pod demo/tool (10.244.0.3");
    expect(tables?.bpf?.maps.slice(firstPolicyPlace).map(({ name }) => name)).toEqual([
      "cilium_policy_v2_00112",
      "cilium_policy_v2_02913", // the node's own lets everything through: its firewall is off
    ]);
    const { judge } = createJudge(state, selection, 1);
    const from = resolveSource(state, parseEnd("demo/client"));
    const to = resolveEnd(state, parseEnd("demo/server"));
    const verdict = (port: number): string =>
      judge({
        from,
        to,
        cell: connectionBetween(from, to, { protocol: "TCP", port, family: 4 }),
        isSelf: false,
      }).verdict;
    expect([verdict(80), verdict(81)]).toEqual(["allow", "deny"]);
  });

  it("may come endpoint by endpoint", () => {
    const all = JSON.parse(files.get("policy.json")?.text ?? "") as {
      EndpointID: string;
      Content: unknown;
    }[];
    const single = all.map(({ EndpointID, Content }): [string, ManifestInput] => [
      `policy-${EndpointID}.json`,
      { name: EndpointID, text: JSON.stringify(Content) },
    ]);
    const others = [...files].filter(([name]) => name !== "policy.json");
    const { policies } = readListings(new Map([...others, ...single]));
    const told = (list: typeof policies): readonly string[] =>
      [...list].flatMap(([id, entries]) => texts(entries).map((text) => `${id} ${text}`));
    expect(told(policies)).toEqual(told(readListings(files).policies));
  });

  it("say which pods they do not know", () => {
    const without = { name: "e", text: "[]" };
    const listings = new Map([...files, ["endpoints.json", without]]);
    const selection = programSelection("program:n1", { nodes: new Map([["", { listings }]]) });
    const { diagnostics } = compileCluster(state, selection).get("n1") ?? { diagnostics: [] };
    expect(diagnostics.map(({ code }) => code)).toEqual(["not-compiled", "not-listed", "not-listed"]);
  });
});

describe("a wrong listing is refused with its place", () => {
  const state = stateOf({ vendorKinds });
  const files = readBack(listingsOf(state, engine, "n1"));

  const issuesOf = (changes: Readonly<Record<string, (text: string) => string>>): readonly string[] => {
    const changed = new Map(
      [...files].map(([name, { text }]) => [name, { name, text: changes[name]?.(text) ?? text }]),
    );
    try {
      readListings(changed);
    } catch (error) {
      if (error instanceof InputError)
        return error.issues.map(
          ({ file, line, column, path, message }) => `${file}:${line}:${column} ${path}: ${message}`,
        );
      throw error;
    }
    return [];
  };

  it.each([
    [
      "policy.json",
      '"Prefixlen": 40',
      '"Prefixlen": 44',
      /^policy\.json:\d+:11 \[0\]\.Content\[0\]\.Key\.Prefixlen: .*44.*48 to 64/,
    ],
    [
      "policy.json",
      '"Flags": 0',
      '"Flags": 300',
      /^policy\.json:8:9 \[0\]\.Content\[0\]\.Flags: .*300: must fit 8 bits/,
    ],
    ["policy.json", '"Flags": 0', '"Flags": "deny"', /\.Flags: .*must be an integer/],
    ["policy.json", '"Flags": 0', '"Flag": 0', /unknown field "\[0\]\.Content\[0\]\.Flag"/],
    [
      "policy.json",
      '"TrafficDirection": 1',
      '"TrafficDirection": 2',
      /TrafficDirection: .*0 \(ingress\) or 1/,
    ],
    ["policy.json", '"TrafficDirection": 1', '"TrafficDirection": 0', /Key: Duplicate value/],
    [
      "policy.json",
      '"ProxyPortPriority"',
      '"Precedence"',
      /\[0\]\.Content\[1\]\.ProxyPortPriority: .*have Precedence instead/,
    ],
    [
      "policy.json",
      "cilium_policy_v2_",
      "cilium_policy_v3_",
      /\[0\]\.Path: .*1\.20 and later are not emulated/,
    ],
    [
      "policy.json",
      /"EndpointID": "\d+"/,
      '"EndpointID": "x"',
      /^policy\.json:3:5 \[0\]\.EndpointID: .*as text/,
    ],
    ["policy.json", "[\n", "[,\n", /^policy\.json:1:2 : not valid JSON/],
    [
      "policy.json",
      /"EndpointID": "\d+"/,
      '"EndpointID": "7"',
      /^endpoints\.json:3:5 \[0\]\.id: .*no policy map/,
    ],
    [
      "ipcache.json",
      "identity=1 ",
      "identity=host ",
      /^ipcache\.json:\d+:5 \[10\.224\.0\.4\/32\]\[0\]: .*identity must be a number/,
    ],
    ["ipcache.json", "/32", "", /must be a prefix/],
    ["ipcache.json", "encryptkey=0", "encryptkey=256", /encryptkey must be a number up to 255/],
    ["ipcache.json", "encryptkey", "mood", /"mood" is not known/],
    ["ipcache.json", "\\u003cnone\\u003e", "fast", /flag "fast" is not known/],
    ["ipcache.json", "0.0.0.0", "fd00::1", /tunnelendpoint must be an IPv4 address/],
    ["endpoints.json", /"id": \d+,\n {4}"status"/, '"id": 70000,\n    "status"', /\[0\]\.id: .*1 to 65535/],
    ["endpoints.json", '"identity"', '"identities"', /\[0\]\.status\.identity: Required/],
    ["endpoints.json", "10.244.0.2", "10.244.0", /addressing\[0\]\.ipv4: .*must be an IP address/],
  ] as const)("%s with %s as %s", (file, from, to, expected) => {
    expect(issuesOf({ [file]: (text) => text.replace(from, to) })).toContainEqual(
      expect.stringMatching(expected),
    );
  });

  it("all at once, and with what is missing beside it", () => {
    const issues = issuesOf({
      "policy.json": (text) => text.replace('"Flags": 0', '"Flags": -1'),
      "ipcache.json": (text) => text.replace("identity=1 ", "identity= "),
    });
    expect(issues).toHaveLength(2);
    expect(() => readListings(new Map([...files].slice(0, 1)))).toThrow(/needs .*\.json beside it/);
  });
});
