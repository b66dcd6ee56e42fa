/** `podwire trace` and `podwire probe`: one connection. */
import type { Command } from "commander";
import type { Family } from "../../addr/index.ts";
import { usageError } from "../../base/index.ts";
import {
  commonFamily,
  createOriginPlacer,
  emulate,
  probeConnection,
  resolveEnd,
  resolveSource,
  type SourceEnd,
  type TableEnd,
  traceConnection,
} from "../../harness/index.ts";
import { probeReport, traceReport } from "../../report/index.ts";
import { parseDuration, parseEnd } from "../../scenario/index.ts";
import { loadCluster, type OneCluster } from "../clusters.ts";
import { emit, noter, outputsOf } from "../emit.ts";
import { ExitCode } from "../failure.ts";
import {
  addClusterOptions,
  addCommonOptions,
  type ClusterFlags,
  type CommonOptions,
  parseInteger,
} from "../options.ts";
import { version } from "../version.ts";

interface ConnectionOptions extends CommonOptions, ClusterFlags {
  readonly engine: string;
  readonly from: string;
  readonly to: string;
  readonly port?: number;
  readonly protocol: string;
  readonly timeout: string;
  readonly family?: string;
}

export function addConnectionCommands(program: Command, finish: (code: ExitCode) => void): void {
  const trace = program
    .command("trace")
    .summary("a packet's way, rule by rule")
    .description(
      "Prints the way of a connection's packets: node, hook, table, chain, each rule that matched, the nearest miss and the manifest line behind it.",
    )
    .argument("<manifests...>", "files, directories, or - for standard input");
  addConnectionOptions(trace).action(async (names: string[], options: ConnectionOptions) => {
    const outputs = outputsOf(options, traceReport);
    const loaded = await loadCluster(names, options.engine, options, "trace", noter(options));
    const { from, to, connection } = connectionOf(loaded, options);
    const cluster = emulate(loaded.state, loaded.selection, { seed: options.seed });
    const place = createOriginPlacer(loaded.inputs);
    const stamp = { version, seed: options.seed };
    emit(traceConnection(cluster, from, to, connection, place, stamp), outputs, traceReport, options);
    finish(ExitCode.ok);
  });

  const probe = program
    .command("probe")
    .summary("one connection attempt")
    .description(
      "Attempts one connection as `agnhost connect` does: prints nothing and exits 0 when connected, else prints TIMEOUT or REFUSED and exits 1.",
    )
    .argument("<manifests...>", "files, directories, or - for standard input");
  addConnectionOptions(probe).action(async (names: string[], options: ConnectionOptions) => {
    const outputs = outputsOf(options, probeReport);
    const loaded = await loadCluster(names, options.engine, options, "probe", noter(options));
    const { from, to, connection } = connectionOf(loaded, options);
    const document = probeConnection(
      loaded.state,
      loaded.selection,
      { from, to, ...connection, timeoutNs: parseDuration(options.timeout) },
      options.seed,
      version,
    );
    emit(document, outputs, probeReport, options);
    finish(document.outcome === "connected" ? ExitCode.ok : ExitCode.failed);
  });
}

function addConnectionOptions(command: Command): Command {
  command
    .requiredOption("-e, --engine <engine>", "the engine; name[@version][+switch[=value]]...")
    .requiredOption("--from <end>", "ns/pod, ns/deploy/name, node:NAME or ip:ADDRESS")
    .requiredOption("--to <end>", "likewise, or svc:ns/name, lb:ns/name, nodeport:NODE:PORT")
    .option(
      "--port <number>",
      "destination port (of a Service: its own); for ICMP the message type",
      parseInteger,
    )
    .option("--protocol <protocol>", "tcp, udp, sctp or icmp", "tcp")
    .option("--timeout <duration>", "such as 3s or 500ms", "3s")
    .option("--family <family>", "4 or 6; the destination's primary family otherwise");
  return addClusterOptions(addCommonOptions(command));
}

interface ConnectionWords {
  readonly from: SourceEnd;
  readonly to: TableEnd;
  readonly connection: {
    readonly protocol: "TCP" | "UDP" | "SCTP" | "ICMP";
    readonly port: number;
    readonly family: Family;
  };
}

function connectionOf({ state }: OneCluster, options: ConnectionOptions): ConnectionWords {
  const protocol = (["TCP", "UDP", "SCTP", "ICMP"] as const).find(
    (name) => name === options.protocol.toUpperCase(),
  );
  if (protocol === undefined)
    throw usageError(`--protocol takes tcp, udp, sctp or icmp, not ${options.protocol}`);
  const end = parseEnd(options.to);
  const port = options.port ?? (protocol === "ICMP" ? 8 : end.kind === "node-port" ? end.port : undefined);
  if (port === undefined) throw usageError("--port is needed for TCP, UDP and SCTP");
  if (protocol === "ICMP" ? port !== 8 : port < 1 || port > 65535)
    throw usageError(
      protocol === "ICMP"
        ? "only ICMP echo requests (--port 8) make a connection"
        : `--port takes 1 to 65535, not ${port}`,
    );
  if (end.kind === "node-port" && port !== end.port)
    throw usageError(`${options.to} names its port: leave --port away, or give ${end.port}`);
  const from = resolveSource(state, parseEnd(options.from));
  const to = resolveEnd(state, end);
  return { from, to, connection: { protocol, port, family: familyOf(from, to, options.family) } };
}

function familyOf(from: SourceEnd, to: TableEnd, wanted: string | undefined): Family {
  if (wanted !== undefined && wanted !== "4" && wanted !== "6")
    throw usageError(`--family takes 4 or 6, not ${wanted}`);
  const family = commonFamily(from, to, wanted === undefined ? undefined : [wanted === "6" ? 6 : 4]);
  if (family === undefined)
    throw usageError(
      `${from.id} and ${to.id} have no addresses of one family${wanted ? ` (IPv${wanted})` : ""}`,
    );
  return family;
}
