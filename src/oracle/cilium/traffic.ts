/**
 * What a rule says of protocols and ports. A rule without any covers every protocol; one of TCP, UDP or SCTP ports covers
 * nothing else; ICMP is named by type.
 */
import { unreachable } from "../../base/index.ts";
import type { Cell, ClusterState, NetworkPolicyPort, Pod } from "../../k8s/index.ts";
import type { WrittenIcmps, WrittenPorts } from "./documents.ts";

/** Protocol, port (of ICMP: type) and family of a connection in final addresses. */
export type Traffic = Pick<Cell, "protocol" | "port" | "family">;

/** `pod`: the one whose policy it is, whose port names count at ingress; `undefined` for a node's, which has none. */
export type TrafficTest = (traffic: Traffic, pod: Pod | undefined) => boolean;

export type Direction = "ingress" | "egress";

export interface TrafficFacts {
  readonly state: ClusterState;
  /** Up to 1.15 `endPort` is not known: a range is its first port. */
  readonly knowsEndPort: boolean;
}

export function portsTest(facts: TrafficFacts, direction: Direction, written: WrittenPorts): TrafficTest {
  const tests = (written.ports ?? []).map(({ port = "0", endPort, protocol = "ANY" }): TrafficTest => {
    const wanted = /^\d+$/.test(port) ? Number(port) : port;
    return (traffic, pod) =>
      isPortProtocol(traffic.protocol) &&
      (protocol === "ANY" || protocol === traffic.protocol) &&
      covers(facts, direction, { port: wanted === 0 ? undefined : wanted, endPort }, traffic, pod);
  });
  return (traffic, pod) => tests.some((test) => test(traffic, pod));
}

export function policyPortTest(
  facts: TrafficFacts,
  direction: Direction,
  port: NetworkPolicyPort,
): TrafficTest {
  return (traffic, pod) => port.protocol === traffic.protocol && covers(facts, direction, port, traffic, pod);
}

/** Names of types that rules may use, with their numbers (RFC 792, RFC 4443). */
const icmpNames: Readonly<Record<"IPv4" | "IPv6", Readonly<Record<string, number>>>> = {
  IPv4: { EchoReply: 0, DestinationUnreachable: 3, Redirect: 5, Echo: 8, EchoRequest: 8, TimeExceeded: 11 },
  IPv6: { DestinationUnreachable: 1, PacketTooBig: 2, TimeExceeded: 3, EchoRequest: 128, EchoReply: 129 },
};

/** A rule about type 0 lets every type of its family in (cilium/cilium #41304). */
export function icmpTest({ fields }: WrittenIcmps): TrafficTest {
  return (traffic) =>
    traffic.protocol === "ICMP" &&
    fields.some(({ family = "IPv4", type }) => {
      const number = icmpNames[family][String(type)] ?? Number(type);
      return (family === "IPv4" ? 4 : 6) === traffic.family && (number === 0 || number === traffic.port);
    });
}

function isPortProtocol(protocol: Traffic["protocol"]): boolean {
  return protocol === "TCP" || protocol === "UDP" || protocol === "SCTP";
}

function covers(
  { state, knowsEndPort }: TrafficFacts,
  direction: Direction,
  { port, endPort }: { readonly port: number | string | undefined; readonly endPort: number | undefined },
  { protocol, port: actual }: Traffic,
  subject: Pod | undefined,
): boolean {
  if (port === undefined) return true;
  if (typeof port === "number") {
    const last = knowsEndPort && endPort !== undefined && endPort > port ? endPort : port;
    return actual >= port && actual <= last;
  }
  const numbersOf = (pods: readonly Pod[]): readonly number[] => [
    ...new Set(
      pods
        .flatMap((pod) => pod.ports)
        .filter((one) => one.name === port && one.protocol === protocol)
        .map((one) => one.containerPort),
    ),
  ];
  switch (direction) {
    case "ingress":
      return subject !== undefined && numbersOf([subject]).includes(actual);
    case "egress": {
      // one table for the whole cluster: a name with two numbers stands for none (cilium/cilium#30003)
      const numbers = numbersOf([...state.pods.values()].filter((pod) => !pod.hostNetwork));
      return numbers.length === 1 && numbers[0] === actual;
    }
    default:
      return unreachable(direction);
  }
}
