/** NPM Lite on Windows: blocks in the ACLs themselves, and the pods of one node. */
import { describe, expect, it } from "vitest";
import { policy } from "./npm.ts";
import {
  allowIn,
  allowOut,
  blockIn,
  blockOut,
  clusterOf,
  compile,
  compiledOf,
  node,
  objects,
  selectA,
} from "./windows-npm.ts";

describe("NPM Lite in HNS", () => {
  it("has blocks as they are with NPM Lite, in RemoteAddresses both ways, and no sets of them", () => {
    const both = policy("x/p", {
      ...selectA,
      policyTypes: ["Ingress", "Egress"],
      ingress: [{ from: [{ ipBlock: { cidr: "0.0.0.0/0" } }, { ipBlock: { cidr: "192.0.2.0/24" } }] }],
      egress: [{ to: [{ ipBlock: { cidr: "198.51.100.7/32" } }], ports: [{ port: 443 }] }],
    });
    const { acls, members, diagnostics } = compile([...objects, both], "azure-npm+lite");
    expect(acls("x/a")).toEqual([
      { ...allowIn, RemoteAddresses: "0.0.0.0/0" },
      { ...allowIn, RemoteAddresses: "192.0.2.0/24" },
      blockIn,
      { ...allowOut, Protocols: "6", RemoteAddresses: "198.51.100.7", RemotePorts: "443" },
      blockOut,
      node,
    ]);
    expect(members("cidr-p:in-ns:x-0-0IN")).toBeUndefined();
    expect(diagnostics).toEqual([]);
  });

  it("has exceptions with NPM Lite from 2026-09 on: blocked at 221 with the rule's own ports, before what is allowed", () => {
    const excepting = policy("x/p", {
      ...selectA,
      ingress: [
        {
          from: [{ ipBlock: { cidr: "10.224.0.0/16", except: ["10.224.1.0/24", "10.224.2.0/24"] } }],
          ports: [{ port: 80 }],
        },
      ],
    });
    const allowed = { ...allowIn, Protocols: "6", RemoteAddresses: "10.224.0.0/16", LocalPorts: "80" };
    const blocked = (net: string): object => ({
      ...allowed,
      Action: "Block",
      Priority: 221,
      RemoteAddresses: net,
    });
    const acls = (label: string): readonly unknown[] => compile([...objects, excepting], label).acls("x/a");
    expect(acls("azure-npm+lite")).toEqual([allowed, blockIn, node]);
    const withExceptions = [blocked("10.224.1.0/24"), blocked("10.224.2.0/24"), allowed, blockIn, node];
    expect(acls("azure-npm@2026-09+lite")).toEqual(withExceptions);
    expect(acls("azure-npm+lite+fix-4823")).toEqual(withExceptions);
  });

  it("knows with NPM Lite the pods of its own node alone", () => {
    const state = clusterOf([...objects, policy("x/p", { ...selectA })], "azure-npm+lite");
    const known = (label: string): readonly unknown[] =>
      [...compiledOf(state, label).values()].map(({ networks }) =>
        networks
          .flatMap(({ sets }) => sets.filter(({ name }) => name === "ns-x"))
          .map((set) => set.values.length),
      );
    const pods = [...state.pods.values()].filter(({ namespace: of }) => of === "x");
    const on = (node: string): number => pods.filter(({ nodeName }) => nodeName === node).length;
    expect(known("azure-npm+lite")).toEqual([[on("n1")], [on("n2")]]);
    expect(known("azure-npm")).toEqual([[pods.length], [pods.length]]);
  });
});
