/** `podwire capacity`: what engines take on the nodes of a cluster, and which limit breaks first. */
import type { Command } from "commander";
import { usageError } from "../../base/index.ts";
import {
  type CapacityDocument,
  type CapacityResultDocument,
  capacityProcessors,
  computeCapacity,
} from "../../harness/index.ts";
import { capacityReport } from "../../report/index.ts";
import { loadClusters } from "../clusters.ts";
import { emit, noter, outputsOf } from "../emit.ts";
import { ExitCode } from "../failure.ts";
import {
  addClusterOptions,
  addCommonOptions,
  type ClusterFlags,
  type CommonOptions,
  parseInteger,
} from "../options.ts";
import { createProgress } from "../progress.ts";
import { version } from "../version.ts";

interface CapacityCommandOptions extends CommonOptions, ClusterFlags {
  readonly engine: string;
  readonly nodes?: boolean;
  readonly processors: number;
}

export function addCapacityCommand(program: Command, finish: (code: ExitCode) => void): void {
  const capacity = program
    .command("capacity")
    .summary("modelled memory, entries and hard limits")
    .description(
      "What each engine's tables and agent take on the fullest node, and how much of each hard limit is used; every figure says whether it is documented or inferred.",
    )
    .argument("<manifests...>", "files, directories, or - for standard input")
    .option("-e, --engine <engine,...>", "engines; name[@version][+switch[=value]]..., or all", "all")
    .option("--nodes", "every node, not the fullest alone")
    .option(
      "--processors <n>",
      "of a node: the kernel keeps counters for each",
      parseInteger,
      capacityProcessors,
    );
  addClusterOptions(addCommonOptions(capacity)).action(
    async (names: string[], options: CapacityCommandOptions) => {
      const outputs = outputsOf(options, capacityReport);
      const { processors } = options;
      if (processors < 1 || processors > 8192)
        throw usageError(`--processors takes a number from 1 to 8192, not ${processors}`);
      const note = noter(options);
      const { clusters } = await loadClusters(names, options.engine, options, note, { anySize: true });
      const results: CapacityResultDocument[] = [];
      const progress = createProgress("engines", options);
      for (const [i, { state, selection }] of clusters.entries()) {
        if (selection.kind === "oracle")
          throw usageError("capacity needs an engine with tables; the oracle has none");
        if (!(await progress.update(i, clusters.length))) break;
        results.push(computeCapacity(state, selection, { processors, allNodes: options.nodes ?? false }));
      }
      progress.stop();
      const [{ state }] = clusters;
      const document: CapacityDocument = {
        schema: "podwire/capacity/v1",
        version,
        cluster: {
          nodes: state.nodes.size,
          pods: state.pods.size,
          namespaces: state.namespaces.size,
          policies: state.networkPolicies.size,
        },
        processors,
        results,
      };
      emit(document, outputs, capacityReport, options);
      for (const { engine, diagnostics } of results)
        for (const { severity, message } of diagnostics) note(`${engine}: ${severity}: ${message}`);
      finish(progress.isInterrupted() ? ExitCode.interrupted : ExitCode.ok);
    },
  );
}
