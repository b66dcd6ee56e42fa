/** The live capture of Azure NPM: where it is, how its files are read. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { IpProtocol } from "../../src/wire/index.ts";

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
