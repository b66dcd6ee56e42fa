/** The command line: one file per command, put together here. */
import { Command } from "commander";
import { addBenchCommand } from "./commands/bench.ts";
import { addBpfCommands } from "./commands/bpf.ts";
import { addCapacityCommand } from "./commands/capacity.ts";
import { addCaptureCommand } from "./commands/capture.ts";
import { addCompileCommand } from "./commands/compile.ts";
import { addConnectionCommands } from "./commands/connection.ts";
import { addDemoCommand } from "./commands/demo.ts";
import { addFuzzCommand } from "./commands/fuzz.ts";
import { addGenerateCommand } from "./commands/generate.ts";
import { addInfoCommands } from "./commands/info.ts";
import { addMatrixCommands } from "./commands/matrix.ts";
import { addReplayCommand } from "./commands/replay.ts";
import { addRunCommand } from "./commands/run.ts";
import { ExitCode, reportFailure } from "./failure.ts";
import { version } from "./version.ts";

/** Runs one command line and answers the exit code. Nothing is thrown. */
export async function runCli(args: readonly string[]): Promise<number> {
  let code: ExitCode = ExitCode.ok;
  const finish = (result: ExitCode): void => {
    code = result;
  };
  const program = new Command("podwire")
    .description("A packet-level network emulator and test harness for Kubernetes network policy engines.")
    .version(version, "-V, --version")
    .option("--debug", "stack traces with errors")
    .configureHelp({ showGlobalOptions: true, sortSubcommands: true })
    .showSuggestionAfterError()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error:/, "podwire:")) })
    .exitOverride();
  const isDebug = args.includes("--debug");
  addRunCommand(program, finish);
  addMatrixCommands(program, finish);
  addConnectionCommands(program, finish);
  addCompileCommand(program, finish);
  addGenerateCommand(program, finish);
  addCaptureCommand(program, finish);
  addReplayCommand(program, finish);
  addFuzzCommand(program, finish);
  addBenchCommand(program, finish);
  addCapacityCommand(program, finish);
  addBpfCommands(program, finish);
  addDemoCommand(program, finish);
  addInfoCommands(program, finish);
  for (const command of program.commands)
    command.exitOverride().option("--debug", "stack traces with errors");
  if (args.length === 0) {
    program.outputHelp({ error: true });
    return ExitCode.badInput;
  }
  try {
    await program.parseAsync(args, { from: "user" });
    return code;
  } catch (error) {
    return reportFailure(error, isDebug);
  }
}
