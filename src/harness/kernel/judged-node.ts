/**
 * The node that the real kernel plays: devices by their real names, addresses and routes. Made from a node of the
 * emulated network, or the two-device form for rule sets that belong to no cluster.
 */
import { type Cidr, type Ip, parseCidr, parseIp } from "../../addr/index.ts";
import { assert } from "../../base/index.ts";
import type { EndpointSpec, NodeSpec } from "../../sim/index.ts";

export interface JudgedNode {
  /** TUN devices, at most 64; `lo` is always there. */
  readonly interfaces: readonly string[];
  readonly addresses: readonly { readonly ip: Ip; readonly interface: string }[];
  readonly routes: readonly { readonly net: Cidr; readonly interface: string }[];
}

/** Devices that a namespace can have: those of the uplink and of so many pods. */
export const judgedInterfacesMax = 64;

/** A node of the emulated network with the interfaces of these of its pods. */
export function judgedNodeOf(spec: NodeSpec, endpoints: readonly EndpointSpec[]): JudgedNode {
  const used = new Set(endpoints.map((endpoint) => endpoint.interfaceIndex));
  const names = new Map(
    spec.interfaces
      .filter(({ link, index }) => link === "fabric" || (link === "pod" && used.has(index)))
      .map(({ index, name }): [number, string] => [index, name]),
  );
  assert(names.size <= judgedInterfacesMax, `at most ${judgedInterfacesMax} interfaces, not ${names.size}`);
  const uplink = spec.interfaces.find(({ link }) => link === "fabric");
  assert(uplink !== undefined, `node ${spec.name} has an uplink`);
  const hosts = endpoints.flatMap((endpoint) =>
    endpoint.ips.map((ip) => ({
      net: { ...ip, prefix: ip.family === 4 ? 32 : 128 },
      interface: names.get(endpoint.interfaceIndex) ?? "",
    })),
  );
  const others = spec.routes.flatMap(({ net, oif }) => {
    const name = names.get(oif);
    return name === undefined ? [] : [{ net, interface: name }];
  });
  return {
    interfaces: [...names.values()],
    addresses: spec.addresses.map((ip) => ({ ip, interface: uplink.name })),
    routes: [...hosts, ...others],
  };
}

/** `in0` towards 10.0.0.0/8 and fd00::/8, `out0` towards everything else; the node is 192.0.2.1 and 2001:db8::1. */
export function twoDeviceNode(): JudgedNode {
  const net = (text: string): Cidr => parseCidr(text) as Cidr;
  return {
    interfaces: ["in0", "out0"],
    addresses: ["192.0.2.1", "2001:db8::1"].map((text) => ({ ip: parseIp(text) as Ip, interface: "in0" })),
    routes: [
      { net: net("10.0.0.0/8"), interface: "in0" },
      { net: net("fd00::/8"), interface: "in0" },
      { net: net("0.0.0.0/0"), interface: "out0" },
      { net: net("::/0"), interface: "out0" },
    ],
  };
}
