/** Load balancers of HNS: who a connection goes to, as whom, and how its answers come back; and their documents. */
import { describe, expect, it } from "vitest";
import { InputError } from "../../../src/base/index.ts";
import {
  type HnsLoadBalancer,
  type HnsOp,
  LbFlag,
  LbPortFlag,
  restoreHns,
} from "../../../src/filter/hns/index.ts";
import { Hook, Verdict } from "../../../src/filter/index.ts";
import { tcp, udp } from "../../../src/packet/index.ts";
import { printPacket, TcpFlag } from "../../../src/wire/index.ts";
import { ip } from "../node.ts";
import { HnsTestNode } from "./node.ts";

type Json = Readonly<Record<string, unknown>>;
type Place = 1 | 2 | "host" | "uplink";

const endpoint = (id: string, address: string, more: Json = {}): Json => ({
  ID: id,
  Name: id,
  HostComputeNetwork: "net-1",
  IpConfigurations: [{ IpAddress: address }],
  ...more,
});
const endpoints = [
  endpoint("e1", "10.0.0.1"),
  endpoint("e2", "10.0.0.3"),
  endpoint("r1", "10.0.1.7", { Flags: 1 }),
];
/** In front of 10.0.1.7:80 of another node. */
const clusterIp: Json = {
  ID: "lb",
  HostComputeEndpoints: ["r1"],
  FrontendVIPs: ["10.96.0.1"],
  PortMappings: [{ Protocol: 6, InternalPort: 80, ExternalPort: 8000 }],
  Flags: LbFlag.dsr,
};
const nodePort: Json = {
  ...clusterIp,
  FrontendVIPs: [],
  PortMappings: [{ Protocol: 6, InternalPort: 80, ExternalPort: 30_080, Flags: LbPortFlag.localRoutedVip }],
  Flags: 0,
};

function read(loadBalancers: readonly Json[], own: readonly Json[] = endpoints) {
  const document = { Endpoints: own, LoadBalancers: loadBalancers };
  return restoreHns([{ name: "hns.json", text: JSON.stringify(document) }]);
}

const apply = (node: HnsTestNode, op: HnsOp) => node.datapath.apply(op);
const nodeOf = (loadBalancers: readonly Json[], own = endpoints): HnsTestNode =>
  new HnsTestNode(read(loadBalancers, own));

const segment = (src: string, dst: string, flags: number = TcpFlag.syn): Uint8Array => {
  const [from = "", sport] = src.split(":");
  const [to = "", dport] = dst.split(":");
  return tcp({ src: ip(from), dst: ip(to), sport: Number(sport), dport: Number(dport), flags });
};
/** `A.port > B.port` of what is left of a packet that passes. */
const ways =
  (hook: typeof Hook.endpointIn | typeof Hook.endpointOut) =>
  (node: HnsTestNode, place: Place, src: string, dst: string, flags?: number): string => {
    const { verdict, bytes } = node.pass(segment(src, dst, flags), hook, place);
    if (verdict !== Verdict.accept) return "denied";
    return /^IP (\S+ > \S+):/.exec(printPacket(bytes))?.[1] ?? printPacket(bytes);
  };
const from = ways(Hook.endpointOut);
const to = ways(Hook.endpointIn);
const synAck = TcpFlag.syn | TcpFlag.ack;

describe("a load balancer", () => {
  it("with direct server return sends a pod's packet to a backend with its own address, and brings answers back", () => {
    const node = nodeOf([clusterIp]);
    expect(from(node, 1, "10.0.0.1:4000", "10.96.0.1:8000")).toBe("10.0.0.1.4000 > 10.0.1.7.80");
    expect(to(node, "uplink", "10.0.0.1:4000", "10.0.1.7:80")).toBe("10.0.0.1.4000 > 10.0.1.7.80");
    expect(to(node, 1, "10.0.1.7:80", "10.0.0.1:4000", synAck)).toBe("10.96.0.1.8000 > 10.0.0.1.4000");
    expect(to(node, 1, "10.0.1.7:80", "10.0.0.1:4001", synAck)).toBe("10.0.1.7.80 > 10.0.0.1.4001");
  });

  it("without it shows the backend the node's address, or its source VIP", () => {
    const masking = (more: Json) => nodeOf([{ ...clusterIp, Flags: 0, ...more }]);
    for (const [more, source] of [
      [{}, "192.0.2.1"],
      [{ SourceVIP: "10.9.0.1" }, "10.9.0.1"],
    ] as const) {
      const node = masking(more);
      expect(from(node, 1, "10.0.0.1:4000", "10.96.0.1:8000")).toBe("10.0.0.1.4000 > 10.0.1.7.80");
      expect(to(node, "uplink", "10.0.0.1:4000", "10.0.1.7:80")).toBe(`${source}.4000 > 10.0.1.7.80`);
      expect(from(node, "uplink", "10.0.1.7:80", `${source}:4000`, synAck)).toBe(
        "10.0.1.7.80 > 10.0.0.1.4000",
      );
      expect(to(node, 1, "10.0.1.7:80", "10.0.0.1:4000", synAck)).toBe("10.96.0.1.8000 > 10.0.0.1.4000");
    }
  });

  it("gives two clients that share a port different ports of the source", () => {
    const node = nodeOf([{ ...clusterIp, Flags: 0 }]);
    from(node, 1, "10.0.0.1:4000", "10.96.0.1:8000");
    from(node, 2, "10.0.0.3:4000", "10.96.0.1:8000");
    expect(to(node, "uplink", "10.0.0.3:4000", "10.0.1.7:80")).toBe("192.0.2.1.4001 > 10.0.1.7.80");
    expect(from(node, "uplink", "10.0.1.7:80", "192.0.2.1:4001", synAck)).toBe("10.0.1.7.80 > 10.0.0.3.4000");
    expect(from(node, "uplink", "10.0.1.7:80", "192.0.2.1:4000", synAck)).toBe("10.0.1.7.80 > 10.0.0.1.4000");
  });

  it("chooses before Out ACLs are asked: they see the backend", () => {
    const blocking = (RemoteAddresses: string): HnsTestNode => {
      const Policies = [
        { Type: "ACL", Settings: { Action: "Block", Direction: "Out", Priority: 1, RemoteAddresses } },
      ];
      return nodeOf([clusterIp], [endpoint("e1", "10.0.0.1", { Policies }), ...endpoints.slice(1)]);
    };
    expect(from(blocking("10.0.1.7"), 1, "10.0.0.1:4000", "10.96.0.1:8000")).toBe("denied");
    expect(from(blocking("10.96.0.1"), 1, "10.0.0.1:4000", "10.96.0.1:8000")).toBe(
      "10.0.0.1.4000 > 10.0.1.7.80",
    );
  });

  it("lets answers through that In ACLs would stop", () => {
    const Policies = [{ Type: "ACL", Settings: { Action: "Block", Direction: "In", Priority: 1 } }];
    const node = nodeOf([clusterIp], [endpoint("e1", "10.0.0.1", { Policies }), ...endpoints.slice(1)]);
    from(node, 1, "10.0.0.1:4000", "10.96.0.1:8000");
    expect(to(node, 1, "10.0.1.7:80", "10.0.0.1:4000", synAck)).toBe("10.96.0.1.8000 > 10.0.0.1.4000");
    expect(to(node, 1, "10.0.1.7:80", "10.0.0.1:4001", synAck)).toBe("denied");
  });

  it("takes what it names alone: address, port and protocol", () => {
    const node = nodeOf([clusterIp]);
    expect(from(node, 1, "10.0.0.1:4000", "10.96.0.2:8000")).toBe("10.0.0.1.4000 > 10.96.0.2.8000");
    expect(from(node, 1, "10.0.0.1:4000", "10.96.0.1:80")).toBe("10.0.0.1.4000 > 10.96.0.1.80");
    const ends = { src: ip("10.0.0.1"), dst: ip("10.96.0.1"), sport: 4000, dport: 8000 };
    expect(printPacket(node.pass(udp(ends), Hook.endpointOut, 1).bytes)).toContain("> 10.96.0.1.8000");
  });

  it("without endpoints takes nothing", () => {
    const node = nodeOf([{ ...clusterIp, HostComputeEndpoints: [] }]);
    expect(from(node, 1, "10.0.0.1:4000", "10.96.0.1:8000")).toBe("10.0.0.1.4000 > 10.96.0.1.8000");
  });

  it("translates the host's own connections to virtual addresses", () => {
    const node = nodeOf([clusterIp]);
    expect(from(node, "host", "192.0.2.1:4000", "10.96.0.1:8000")).toBe("192.0.2.1.4000 > 10.0.1.7.80");
    expect(to(node, "host", "10.0.1.7:80", "192.0.2.1:4000", synAck)).toBe("10.96.0.1.8000 > 192.0.2.1.4000");
  });

  it("without virtual addresses is one of the node's ports: for the wire and pods, not for the node itself", () => {
    const node = nodeOf([nodePort]);
    expect(from(node, "uplink", "198.51.100.1:4000", "192.0.2.1:30080")).toBe(
      "198.51.100.1.4000 > 10.0.1.7.80",
    );
    expect(to(node, "uplink", "198.51.100.1:4000", "10.0.1.7:80")).toBe("192.0.2.1.4000 > 10.0.1.7.80");
    expect(from(node, "uplink", "10.0.1.7:80", "192.0.2.1:4000", synAck)).toBe(
      "10.0.1.7.80 > 198.51.100.1.4000",
    );
    expect(to(node, "uplink", "10.0.1.7:80", "198.51.100.1:4000", synAck)).toBe(
      "192.0.2.1.30080 > 198.51.100.1.4000",
    );
    expect(from(node, 1, "10.0.0.1:4000", "192.0.2.1:30080")).toBe("10.0.0.1.4000 > 10.0.1.7.80");
    expect(from(node, "host", "192.0.2.1:4000", "192.0.2.1:30080")).toBe("192.0.2.1.4000 > 192.0.2.1.30080");
    expect(from(node, 1, "10.0.0.1:4000", "192.0.2.9:30080")).toBe("10.0.0.1.4000 > 192.0.2.9.30080");
  });

  it("lets a pod reach itself, as the node", () => {
    const node = nodeOf([{ ...clusterIp, HostComputeEndpoints: ["e1"] }]);
    expect(from(node, 1, "10.0.0.1:4000", "10.96.0.1:8000")).toBe("10.0.0.1.4000 > 10.0.0.1.80");
    expect(to(node, 1, "10.0.0.1:4000", "10.0.0.1:80")).toBe("192.0.2.1.4000 > 10.0.0.1.80");
    expect(from(node, 1, "10.0.0.1:80", "192.0.2.1:4000", synAck)).toBe("10.0.0.1.80 > 10.0.0.1.4000");
    expect(to(node, 1, "10.0.0.1:80", "10.0.0.1:4000", synAck)).toBe("10.96.0.1.8000 > 10.0.0.1.4000");
  });
});

describe("a load balancer of IPv6", () => {
  const own = [
    endpoint("e1", "fd00::1"),
    endpoint("r1", "fd00:1::7", { Flags: 1 }),
    endpoint("r2", "10.0.1.7", { Flags: 1 }),
  ];
  const balancer: Json = {
    ...clusterIp,
    HostComputeEndpoints: ["r1", "r2"],
    FrontendVIPs: ["fd96::1"],
    Flags: LbFlag.dsr | LbFlag.ipv6,
  };
  const packet = (src: string, sport: number, dst: string, dport: number): Uint8Array =>
    tcp({ src: ip(src), dst: ip(dst), sport, dport, flags: TcpFlag.syn });
  const ends = (bytes: Uint8Array): string => printPacket(bytes).split(": ")[0] ?? "";

  it("takes backends of its family alone, there and back", () => {
    const node = nodeOf([balancer], own);
    for (let sport = 4000; sport < 4008; sport++) {
      const asked = node.pass(packet("fd00::1", sport, "fd96::1", 8000), Hook.endpointOut, 1);
      expect(ends(asked.bytes)).toBe(`IP6 fd00::1.${sport} > fd00:1::7.80`);
      const answer = node.pass(packet("fd00:1::7", 80, "fd00::1", sport), Hook.endpointIn, 1);
      expect(ends(answer.bytes)).toBe(`IP6 fd96::1.8000 > fd00::1.${sport}`);
    }
  });
});

describe("a connection", () => {
  const both = { ...clusterIp, HostComputeEndpoints: ["e2", "r1"] };
  const backendOf = (node: HnsTestNode, sport: number): string =>
    from(node, 1, `10.0.0.1:${sport}`, "10.96.0.1:8000").split(" > ")[1] ?? "";

  it("stays with its backend until it ends or is idle, whatever becomes of the load balancer", () => {
    const node = nodeOf([both]);
    const first = backendOf(node, 4000);
    expect(apply(node, { kind: "hns-load-balancers", op: "remove", ids: ["lb"] })).toEqual({
      ok: true,
    });
    for (let i = 0; i < 5; i++) expect(backendOf(node, 4000)).toBe(first);
    expect(backendOf(node, 4001)).toBe("10.96.0.1.8000");
    node.clock.ns += 5 * 60e9;
    expect(backendOf(node, 4000)).toBe("10.96.0.1.8000");
  });

  it("is forgotten ten seconds after a reset", () => {
    const node = nodeOf([both]);
    backendOf(node, 4000);
    from(node, 1, "10.0.0.1:4000", "10.96.0.1:8000", TcpFlag.rst);
    apply(node, { kind: "hns-load-balancers", op: "remove", ids: ["lb"] });
    node.clock.ns += 9e9;
    expect(from(node, 1, "10.0.0.1:4000", "10.96.0.1:8000", TcpFlag.rst)).not.toContain("10.96.0.1");
    node.clock.ns += 11e9;
    expect(backendOf(node, 4000)).toBe("10.96.0.1.8000");
  });

  it("goes to any backend, and with session affinity to its client's", () => {
    const of = (more: Json): number => {
      const [mapping] = clusterIp["PortMappings"] as Json[];
      const node = nodeOf([{ ...both, PortMappings: [{ ...mapping, ...more }] }]);
      return new Set(Array.from({ length: 40 }, (_, i) => backendOf(node, 4000 + i))).size;
    };
    expect(of({})).toBe(2);
    expect(of({ DistributionType: 1 })).toBe(1);
    expect(of({ DistributionType: 2 })).toBe(1);
  });

  it("finds another backend when its client's is gone", () => {
    const [mapping] = clusterIp["PortMappings"] as Json[];
    const sticky = { ...both, PortMappings: [{ ...mapping, DistributionType: 2 }] };
    const node = nodeOf([sticky]);
    const first = backendOf(node, 4000);
    const left = first.startsWith("10.0.1.7") ? "e2" : "r1";
    const [balancer] = read([{ ...sticky, HostComputeEndpoints: [left] }]).loadBalancers as [HnsLoadBalancer];
    apply(node, { kind: "hns-load-balancers", op: "put", balancers: [balancer] });
    expect(backendOf(node, 4001)).not.toBe(first);
    expect(backendOf(node, 4000)).toBe(first);
  });

  it("is not given to an endpoint that is gone", () => {
    const node = nodeOf([both]);
    apply(node, { kind: "hns-endpoint", op: "delete", endpoint: "r1" });
    for (let i = 0; i < 10; i++) expect(backendOf(node, 4000 + i)).toBe("10.0.0.3.80");
  });
});

describe("what HNS refuses", () => {
  const answer = (op: HnsOp) => apply(nodeOf([clusterIp]), op);

  it("is a backend that is not there, and the removal of what is not there", () => {
    const [balancer] = read([clusterIp]).loadBalancers as [HnsLoadBalancer];
    const balancers = [{ ...balancer, endpoints: ["e9"] }];
    expect(answer({ kind: "hns-load-balancers", op: "put", balancers })).toMatchObject({ ok: false });
    expect(answer({ kind: "hns-load-balancers", op: "remove", ids: ["other"] })).toMatchObject({
      ok: false,
      errno: "HCN_E_LOADBALANCER_NOT_FOUND",
    });
  });
});

describe("documents", () => {
  const issuesOf = (loadBalancer: Json): readonly string[] => {
    try {
      read([loadBalancer]);
      return [];
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      return error.issues.map(({ path, message }) => `${path}: ${message}`);
    }
  };

  it("of v1 are read as those of v2", () => {
    const v1 = {
      ID: "lb",
      References: ["/endpoints/E2", "/endpoints/R1"],
      Policies: [
        {
          Type: "ELB",
          Protocol: 17,
          InternalPort: 53,
          ExternalPort: 53,
          SourceVIP: "",
          VIPs: ["10.96.0.10"],
          ILB: false,
          IsDSR: true,
          LocalRoutedVIP: true,
          DistributionType: 2,
        },
      ],
      State: 2,
      Version: 38654705666,
    };
    const v2 = {
      ID: "lb",
      HostComputeEndpoints: ["e2", "r1"],
      FrontendVIPs: ["10.96.0.10"],
      PortMappings: [{ Protocol: 17, InternalPort: 53, ExternalPort: 53, DistributionType: 2, Flags: 2 }],
      Flags: 1,
    };
    expect(read([v1]).loadBalancers).toEqual(read([v2]).loadBalancers);
  });

  it("say by path what is wrong with them", () => {
    expect(issuesOf(clusterIp)).toEqual([]);
    expect(issuesOf({ ...clusterIp, HostComputeEndpoints: ["e9"] })).toEqual([
      "LoadBalancers[0].HostComputeEndpoints[0]: e9 is no endpoint here (give what Get-HnsEndpoint prints, too)",
    ]);
    expect(issuesOf({ ...clusterIp, FrontendVIPs: ["10.96.0"], Flags: 5, Colour: 1 })).toEqual([
      "LoadBalancers[0].Colour: Colour is not emulated",
      "LoadBalancers[0].FrontendVIPs[0]: 10.96.0 is no IP address",
      "LoadBalancers[0].Flags: bits 4 are not emulated",
    ]);
    expect(issuesOf({ ...clusterIp, PortMappings: [{ Protocol: 6, InternalPort: 80, Weight: 1 }] })).toEqual([
      "LoadBalancers[0].PortMappings[0].Weight: Weight is not emulated",
      "LoadBalancers[0].PortMappings[0].ExternalPort: is missing or 0",
    ]);
    expect(issuesOf({ ID: "lb", References: ["e1"], Policies: [{ Type: "ROUTE" }] })).toEqual([
      "LoadBalancers[0].References[0]: e1 is no /endpoints/ID",
      "LoadBalancers[0].Policies[0].Type: policy lists of type ROUTE are not emulated",
      "LoadBalancers[0].Policies[0].Protocol: must be 1 to 255, not undefined",
      "LoadBalancers[0].Policies[0].InternalPort: is missing or 0",
      "LoadBalancers[0].Policies[0].ExternalPort: is missing or 0",
    ]);
  });
});

describe("the numbers of rules", () => {
  it("are used again when ACLs and load balancers change", () => {
    const node = nodeOf([clusterIp]);
    const [acl] = restoreHns([
      {
        name: "acl.json",
        text: JSON.stringify({
          ...endpoint("x", "10.0.0.9"),
          Policies: [{ Type: "ACL", Settings: { Action: "Block", Direction: "Out", Priority: 1 } }],
        }),
      },
    ]).endpoints[0]?.acls ?? [undefined];
    let largest = 0;
    for (let i = 0; i < 50; i++) {
      apply(node, { kind: "hns-acls", op: "update", endpoint: "e1", acls: [acl, acl] } as never);
      const { rule } = node.pass(segment("10.0.0.1:4000", "10.96.0.1:8000"), Hook.endpointOut, 1);
      expect(node.datapath.describeRule(rule).number).toBe(1);
      largest = Math.max(largest, rule);
    }
    expect(largest).toBeLessThan(4);
  });
});
