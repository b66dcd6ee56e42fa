/** Ports as people write them: `80/TCP`, `80` (TCP), `53/UDP`, `8/ICMP` (the ICMP type). */
import type { CellProtocol, Protocol } from "../k8s/index.ts";

export interface ScenarioPort {
  readonly protocol: CellProtocol;
  /** 1..65535, or the ICMP type (0..255). */
  readonly port: number;
}

const protocolNames: readonly CellProtocol[] = ["TCP", "UDP", "SCTP", "ICMP"];

/** The port, or what is wrong with the text. Protocols are read in any case. */
export function readPort(text: string): ScenarioPort | string {
  const [numberText = "", name = "TCP", ...more] = text.split("/");
  const protocol = protocolNames.find((known) => known === name.toUpperCase());
  const port = Number(numberText);
  if (protocol === undefined || more.length > 0 || !/^[0-9]+$/.test(numberText))
    return `not a port: ${text}; write 80/TCP, 53/UDP, 80/SCTP or 8/ICMP (the ICMP type)`;
  const [first, last] = protocol === "ICMP" ? [0, 255] : [1, 65535];
  return port >= first && port <= last ? { protocol, port } : `port out of range: ${text}`;
}

/** A port that a container can serve. */
export function readServedPort(
  text: string,
): { readonly protocol: Protocol; readonly port: number } | string {
  const port = readPort(text);
  if (typeof port === "string") return port;
  return port.protocol === "ICMP"
    ? `a container cannot serve ${text}`
    : { protocol: port.protocol, port: port.port };
}

export function formatPort(port: ScenarioPort): string {
  return `${port.port}/${port.protocol}`;
}
