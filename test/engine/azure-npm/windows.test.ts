/** NPM on Windows: what each kind of rule becomes in HNS, what is refused and what that leaves, and the agent's ways. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { aclSettings, type HnsDatapath, type HnsOp, type HnsTables } from "../../../src/filter/hns/index.ts";
import type { TableOp } from "../../../src/filter/index.ts";
import { clusterObjects } from "../../../src/harness/index.ts";
import { LiveCluster } from "../../../src/harness/live.ts";
import {
  buildCluster,
  type ClusterState,
  deleteObject,
  loadObjects,
  setLabels,
} from "../../../src/k8s/index.ts";
import { clusterEdit } from "./edits.ts";
import { namespace, npm, pod, policy, type RawObject } from "./npm.ts";
import {
  allowIn,
  allowOut,
  apply,
  blockIn,
  blockOut,
  clusterOf,
  compile,
  compiledOf,
  id,
  node,
  objects,
  selectA,
} from "./windows-npm.ts";

describe("a policy in HNS", () => {
  it("has the sources' sets in LocalAddresses and the destination's port in LocalPorts, inwards", () => {
    const { acls } = compile([
      ...objects,
      policy("x/p", {
        ...selectA,
        ingress: [{ from: [{ podSelector: { matchLabels: { app: "b" } } }], ports: [{ port: 80 }] }],
      }),
    ]);
    expect(acls("x/a")).toEqual([
      { ...allowIn, Protocols: "6", LocalAddresses: "podlabel-app:b,ns-x", LocalPorts: "80" },
      blockIn,
      node,
    ]);
    expect(acls("x/b")).toEqual([]);
  });

  it("has the destinations' sets in RemoteAddresses and their port in RemotePorts, outwards", () => {
    const { acls } = compile([
      ...objects,
      policy("x/p", {
        ...selectA,
        policyTypes: ["Egress"],
        egress: [
          {
            to: [{ namespaceSelector: { matchLabels: { team: "t" } } }],
            ports: [{ port: 53, protocol: "UDP" }],
          },
        ],
      }),
    ]);
    expect(acls("x/a")).toEqual([
      { ...allowOut, Protocols: "17", RemoteAddresses: "nslabel-team:t", RemotePorts: "53" },
      blockOut,
      node,
    ]);
  });

  it("has every port of a range by itself, and no protocol where none is asked for", () => {
    const { acls } = compile([
      ...objects,
      policy("x/p", {
        ...selectA,
        ingress: [{ ports: [{ port: 80, endPort: 83 }] }, { from: [{ podSelector: {} }] }],
      }),
    ]);
    expect(acls("x/a")).toEqual([
      { ...allowIn, Protocols: "6", LocalPorts: "80,81,82,83" },
      { ...allowIn, LocalAddresses: "ns-x" },
      blockIn,
      node,
    ]);
  });

  it("has blocks as sets, 0.0.0.0/0 in two halves", () => {
    const { acls, members } = compile([
      ...objects,
      policy("x/p", { ...selectA, ingress: [{ from: [{ ipBlock: { cidr: "0.0.0.0/0" } }] }] }),
    ]);
    expect(acls("x/a")[0]).toEqual({ ...allowIn, LocalAddresses: "cidr-p:in-ns:x-0-0IN" });
    expect(members("cidr-p:in-ns:x-0-0IN")).toEqual(["0/1", "2147483648/1"]);
  });

  it("allows without blocking where everything is allowed, and blocks alone where nothing is", () => {
    expect(compile([...objects, policy("x/p", { ...selectA, ingress: [{}] })]).acls("x/a")).toEqual([
      allowIn,
      node,
    ]);
    expect(
      compile([...objects, policy("x/p", { ...selectA, policyTypes: ["Ingress", "Egress"] })]).acls("x/a"),
    ).toEqual([blockIn, blockOut, node]);
  });

  it("is on the endpoint of every pod that it selects, lists among the selector's sets too, each with its own node", () => {
    const elsewhere = pod("x/c", { app: "a" }, { nodeName: "n2" });
    const selects = {
      podSelector: { matchExpressions: [{ key: "app", operator: "In", values: ["a", "z"] }] },
    };
    const { acls } = compile([
      ...objects,
      elsewhere,
      policy("x/p", { ...selects, policyTypes: ["Ingress"] }),
    ]);
    expect(acls("x/a")).toEqual([blockIn, node]);
    expect(acls("x/c")).toEqual([blockIn, { ...node, RemoteAddresses: "10.224.0.5" }]);
    expect(acls("x/b")).toEqual([]);
  });

  it("finds its sets in HNS, no list of namespaces without a member", () => {
    const { members } = compile([...objects, namespace("y", { team: "u" })]);
    expect(members("nslabel-team:t")).toEqual(["empty-emptyhashset", "ns-x"]);
    expect(members("nslabel-all-namespaces")).toEqual(["empty-emptyhashset", "ns-x", "ns-y"]);
    expect(members("empty-emptyhashset")).toEqual([]);
    expect(members("ns-y")).toEqual([]);
    expect(members("namedport:http")).toBeUndefined();
  });
});

const ingress = (rule: RawObject): RawObject => policy("x/p", { ...selectA, ingress: [rule] });
const egress = (rule: RawObject): RawObject =>
  policy("x/p", { ...selectA, policyTypes: ["Egress"], egress: [rule] });
const notIn = (key: string) => ({ matchExpressions: [{ key, operator: "NotIn", values: ["a"] }] });

describe("what Windows lacks", () => {
  it.each([
    [
      "named ports",
      ingress({ ports: [{ port: "http" }] }),
      "unsupported namedport translation features used on windows",
    ],
    [
      "SCTP",
      ingress({ ports: [{ port: 80, protocol: "SCTP" }] }),
      "unsupported SCTP protocol used on windows",
    ],
    [
      "negative selectors of peers",
      ingress({ from: [{ podSelector: notIn("app") }] }),
      "unsupported NotExist operator translation features used on windows",
    ],
    [
      "a negative selector of its own",
      policy("x/p", { podSelector: notIn("tier"), policyTypes: ["Ingress"] }),
      "unsupported NotExist operator translation features used on windows",
    ],
    [
      "exceptions",
      ingress({ from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16"] } }] }),
      "unsupported Except CIDR block translation features used on windows",
    ],
    ["IPv6", ingress({ from: [{ ipBlock: { cidr: "2001:db8::/32" } }] }), "unsupported IP address"],
    [
      "negative selectors of namespaces, inwards",
      ingress({ from: [{ namespaceSelector: notIn("team") }] }),
      "Negative match types is not supported in windows dataplane",
    ],
  ])("%s: the policy is skipped, its pods stay open", (_, one, message) => {
    const { diagnostics, acls } = compile([...objects, one]);
    expect(diagnostics).toEqual([expect.stringMatching(new RegExp(`${message}$`))]);
    expect(acls("x/a")).toEqual([]);
  });

  it("is not seen in namespaces that egress excludes: they are let in, until the version that refuses", () => {
    const one = egress({ to: [{ namespaceSelector: notIn("team") }] });
    expect(compile([...objects, one]).acls("x/a")[0]).toEqual({
      ...allowOut,
      RemoteAddresses: "nslabel-team:a",
    });
    const fixed = compile([...objects, one], "azure-npm@2026-09");
    expect(fixed.diagnostics).toEqual([expect.stringMatching(/Negative match types is not supported/)]);
    expect(fixed.acls("x/a")).toEqual([]);
  });

  it("is not looked for beside a rule that allows everything, nor in a direction that the policy does not have", () => {
    const named = { ports: [{ port: "http" }] };
    expect(compile([...objects, policy("x/p", { ...selectA, ingress: [{}, named] })]).acls("x/a")).toEqual([
      allowIn,
      node,
    ]);
    expect(
      compile([...objects, policy("x/p", { ...selectA, policyTypes: ["Ingress"], egress: [named] })]).acls(
        "x/a",
      ),
    ).toEqual([blockIn, node]);
  });
});

/** A cluster of Windows nodes with NPM's agents, and the requests to HNS of node n1. */
class LiveWindows {
  readonly cluster: LiveCluster;
  readonly #ops: HnsOp[] = [];

  constructor(state: ClusterState, label = "azure-npm") {
    this.cluster = new LiveCluster(state, npm(label), { seed: 1 });
    const datapath = this.#datapath("n1");
    const perform = datapath.apply.bind(datapath);
    datapath.apply = (op: TableOp) => {
      this.#ops.push(op as HnsOp);
      return perform(op);
    };
  }

  #datapath(name: string): HnsDatapath {
    return this.cluster.datapaths.get(name) as HnsDatapath;
  }

  tables(name = "n1"): HnsTables {
    return this.#datapath(name).tables();
  }

  edit(state: ClusterState): void {
    this.cluster.edit({ state, diagnostics: [] } as never);
  }

  acls(pod: string): readonly string[] {
    const endpoint = this.tables().endpoints.find(({ name }) => name === pod);
    return (endpoint?.acls ?? []).flatMap((acl) =>
      acl.id === undefined ? [] : [`${acl.id} ${acl.priority}`],
    );
  }

  /** One line a request. */
  takeOps(): readonly string[] {
    return this.#ops.splice(0).map((op) => {
      switch (op.kind) {
        case "hns-sets":
          return `${op.op} sets ${op.op === "put" ? op.sets.map(({ name }) => name).join() : op.ids.length}`;
        case "hns-acls":
          return `${op.op} acls ${op.acls.filter((acl) => acl.id !== undefined).length}`;
        case "hns-flows":
          return `${op.op} flows`;
        case "hns-endpoint":
          return `${op.op} endpoint`;
        default:
          throw new Error("no such request");
      }
    });
  }
}

const denyAll = policy("x/p", { podSelector: {}, policyTypes: ["Ingress"] });
const reconcileNs = 301e9;

describe("the agent on Windows", () => {
  it("puts sets before the ACLs that name them, and takes them away after", () => {
    const one = new LiveWindows(clusterOf(objects));
    one.takeOps();
    const with10 = ingress({ from: [{ ipBlock: { cidr: "10.0.0.0/8" } }] });
    const state = apply(one.cluster.state, with10);
    one.edit(state);
    expect(one.takeOps()).toEqual(["put sets cidr-p:in-ns:x-0-0IN", "add acls 3"]);
    one.edit(deleteObject(state, "NetworkPolicy", "x", "p").state);
    expect(one.takeOps()).toEqual(["update acls 0", "remove sets 1"]);
  });

  it("lets changes of pods wait half a second, or a hundred changes", () => {
    const one = new LiveWindows(clusterOf([...objects, ingress({ ports: [{ port: 80 }] })]));
    one.takeOps();
    one.edit(setLabels(one.cluster.state, "Pod", "x", "b", { app: "a" }).state);
    expect(one.acls("x/b")).toEqual([]);
    one.cluster.advance(499e6);
    expect(one.takeOps()).toEqual([]);
    one.cluster.advance(1e6);
    expect(one.acls("x/b")).toEqual([`${id} 222`, `${id} 3000`, `${id} 201`]);
    for (let i = 0; i < 100; i++)
      one.edit(
        setLabels(one.cluster.state, "Pod", "x", "b", { app: i % 2 === 0 ? "b" : "a", turn: `${i}` }).state,
      );
    expect(one.acls("x/b")).toEqual([`${id} 222`, `${id} 3000`, `${id} 201`]);
    expect(one.takeOps().some((line) => line.startsWith("put sets"))).toBe(true);
  });

  it("splits what an endpoint gets into requests of at most thirty ACLs, no policy ever", () => {
    const rules = Array.from({ length: 11 }, (_, i) => ({ ports: [{ port: 80 + i }] }));
    const three = ["p", "q", "r"].map((name) => policy(`x/${name}`, { podSelector: {}, ingress: rules }));
    const huge = policy("x/s", { podSelector: {}, ingress: [...rules, ...rules, ...rules] });
    const one = new LiveWindows(clusterOf([namespace("x"), ...three, huge]));
    one.takeOps();
    one.edit(apply(one.cluster.state, pod("x/a")));
    one.cluster.advance(1e9);
    expect(one.takeOps().filter((line) => line.includes("acls"))).toEqual([
      "add acls 26",
      "add acls 13",
      "add acls 35",
    ]);
  });

  it("leaves old rules where an edit cannot be translated, and none where HNS conversion refuses", () => {
    const one = new LiveWindows(clusterOf([...objects, ingress({ ports: [{ port: 80 }] })]));
    const before = one.acls("x/a");
    one.edit(apply(one.cluster.state, ingress({ ports: [{ port: "http" }] })));
    expect(one.acls("x/a")).toEqual(before);
    one.edit(apply(one.cluster.state, ingress({ from: [{ namespaceSelector: notIn("team") }] })));
    expect(one.acls("x/a")).toEqual([]);
    expect(one.cluster.diagnostics.map(({ code }) => code)).toEqual([
      "windows-named-port",
      "windows-named-port",
      "windows-negation",
      "windows-negation",
    ]); // each node's agent says it
  });

  it("opens all pods by a restart, for three minutes until pods are listed", () => {
    const one = new LiveWindows(clusterOf([...objects, denyAll]));
    expect(one.acls("x/a")).toEqual([`${id} 3000`, `${id} 201`]);
    one.cluster.restart("n1");
    expect(one.acls("x/a")).toEqual([]);
    one.cluster.advance(179e9);
    expect(one.acls("x/a")).toEqual([]);
    one.cluster.advance(1e9);
    expect(one.acls("x/a")).toEqual([`${id} 3000`, `${id} 201`]);
  });

  it("takes away all that it made, and leaves the CNI's", () => {
    const state = clusterOf([...objects, denyAll]);
    const one = new LiveWindows(state);
    const bare = new LiveWindows(clusterOf(objects), "none");
    one.cluster.uninstall(undefined);
    expect(one.tables().networks[0]?.sets).toEqual([]);
    expect(one.tables().endpoints.map(({ acls }) => acls)).toEqual(
      bare.tables().endpoints.map(({ acls }) => acls),
    );
    one.cluster.install(undefined);
    one.cluster.advance(181e9);
    expect(one.acls("x/a")).toEqual([`${id} 3000`, `${id} 201`]);
  });

  it("law: after any edits it comes to what compile makes", () => {
    const options = { windowsNodes: ["n1", "n2"], isPlain: true, podsMax: 4, policiesMax: 3 };
    fc.assert(
      fc.property(
        clusterObjects(options),
        fc.array(clusterEdit({ isPlain: true }), { maxLength: 8 }),
        (own, edits) => {
          let state = buildCluster(loadObjects("test", own), npm().aks).state;
          const one = new LiveWindows(state);
          for (const edit of edits) {
            state = edit(state);
            one.edit(state);
          }
          one.cluster.advance(reconcileNs);
          expect(one.cluster.diagnostics).toEqual([]);
          const compiled = compiledOf(state);
          for (const name of ["n1", "n2"]) {
            const expected = compiled.get(name);
            if (expected === undefined) throw new Error("compiled");
            expect(normal(one.tables(name))).toEqual(normal(expected));
          }
        },
      ),
      { numRuns: process.env["PODWIRE_SOAK"] === "1" ? 1500 : 50, seed: 77 },
    );
  });
});

/** Without the order of ACLs of one priority, of sets and of their members, and where ACLs come from. */
function normal({ networks, endpoints }: HnsTables): unknown {
  return {
    sets: networks
      .flatMap(({ sets }) =>
        sets.map(
          (set) =>
            `${set.name} ${set.values
              .map((one) => JSON.stringify(one))
              .sort()
              .join()}`,
        ),
      )
      .sort(),
    endpoints: endpoints
      .map(({ name, acls }) => [name, ...acls.map((acl) => JSON.stringify(aclSettings(acl))).sort()])
      .sort(([a = ""], [b = ""]) => (a < b ? -1 : 1)),
  };
}
