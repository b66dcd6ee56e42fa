/** The live capture of Azure NPM: where it is, how its files are read. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { hostEntry, type IpsetEntry, type IpsetRepr, type IpsetType } from "../../src/filter/ipset/index.ts";
import { IpProtocol, protocolNumber } from "../../src/wire/index.ts";
import { ip } from "../filter/node.ts";

export const folder: string = join(process.env.PODWIRE_SHARED ?? "../shared", "truth/azure-npm-capture");
export const isHere: boolean = existsSync(folder);

export interface CachedPod {
  readonly Name: string;
  readonly Namespace: string;
  readonly PodIP: string;
  readonly Labels: Readonly<Record<string, string>>;
  readonly ContainerPorts: readonly { name: string; containerPort: number; protocol: string }[];
}

export interface Cache {
  readonly NsMap: Readonly<
    Record<string, { readonly Name: string; readonly LabelsMap: Readonly<Record<string, string>> }>
  >;
  readonly PodMap: Readonly<Record<string, CachedPod>>;
  readonly SetMap: Readonly<Record<string, string>>;
}

interface Probe {
  readonly protocol: number;
  readonly port: number;
}

export const probes: readonly [Probe, Probe, Probe, Probe] = [
  { protocol: IpProtocol.tcp, port: 80 },
  { protocol: IpProtocol.tcp, port: 81 },
  { protocol: IpProtocol.udp, port: 80 },
  { protocol: IpProtocol.udp, port: 81 },
];

export interface Cell {
  readonly from: string;
  readonly to: string;
  readonly probe: number;
  readonly isAllowed: boolean;
}

/** The comment table of netpol.yaml: columns are destinations, four marks a cell in the order of `probes`. */
export function publishedCells(yaml: string): readonly Cell[] {
  const rows = yaml
    .split("\n")
    .filter((line) => line.startsWith("# |"))
    .map((line) =>
      line
        .slice(2)
        .split("|")
        .slice(1, -1)
        .map((field) => field.trim()),
    );
  const targets = rows[0]?.slice(1).map((name) => name.toLowerCase()) ?? [];
  return rows
    .filter(([head]) => /^[a-z]\/[a-z]$/.test(head ?? ""))
    .flatMap(([from = "", ...fields]) =>
      fields.flatMap((field, column) =>
        field.split(" ").map((mark, probe) => {
          if (mark !== "." && mark !== "X") throw new Error(`neither . nor X: ${mark}`);
          return { from, to: targets[column] ?? "", probe, isAllowed: mark === "." };
        }),
      ),
    );
}

export function readCaptured(file: string): string {
  return readFileSync(join(folder, file), "utf8");
}

/** Members of one set, from its readable name: NPM's naming says who belongs to it. */
export function setOf(name: string, title: string, cache: Cache): IpsetRepr {
  const pods = Object.values(cache.PodMap);
  const namespaces = Object.values(cache.NsMap);
  const dash = title.indexOf("-");
  const [kind, rest] = title.startsWith("namedport:")
    ? ["namedport", title.slice(10)]
    : [title.slice(0, dash), title.slice(dash + 1)];
  const hashed = (wanted: string): IpsetEntry => {
    const found = Object.entries(cache.SetMap).find(([, candidate]) => candidate === wanted)?.[0];
    if (found === undefined) throw new Error(`the capture has no set ${wanted}`);
    return { set: found };
  };
  const [key = "", ...values] = rest.split(":");
  const hasLabel = (labels: Readonly<Record<string, string>>): boolean =>
    values.length === 0 ? key in labels : labels[key] === values.join(":");
  let type: IpsetType = "hash:net";
  let entries: readonly IpsetEntry[];
  switch (kind) {
    case "ns":
      entries = pods.filter((pod) => pod.Namespace === rest).map((pod) => hostEntry(ip(pod.PodIP)));
      break;
    case "podlabel":
      entries = pods.filter((pod) => hasLabel(pod.Labels)).map((pod) => hostEntry(ip(pod.PodIP)));
      break;
    case "nslabel":
      type = "list:set";
      entries = namespaces
        .filter(({ LabelsMap }) => rest === "all-namespaces" || hasLabel(LabelsMap))
        .map(({ Name }) => hashed(`ns-${Name}`));
      break;
    case "nestedlabel":
      type = "list:set";
      entries = values.map((value) => hashed(`podlabel-${key}:${value}`));
      break;
    case "namedport":
      type = "hash:ip,port";
      entries = pods.flatMap((pod) =>
        pod.ContainerPorts.filter((port) => port.name === rest).map((port) => ({
          ...hostEntry(ip(pod.PodIP)),
          protocol: protocolNumber(port.protocol) ?? 0,
          port: port.containerPort,
        })),
      );
      break;
    default:
      throw new Error(`no such kind of set: ${title}`);
  }
  return { name, type, family: 4, hashsize: 1024, maxelem: type === "list:set" ? 8 : 65536, entries, title };
}
