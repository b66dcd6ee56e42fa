/** `podwire bpf exec`, `disasm` and `verify`. */
import { readFileSync } from "node:fs";
import { type Command, Option } from "commander";
import { createPrng, InputError, usageError } from "../../base/index.ts";
import {
  BpfMachine,
  BpfSpace,
  decodeInstructions,
  disassemble,
  helpersFor,
  insnBytes,
  loadObject,
  ProgramType,
  readObject,
  verifyProgram,
} from "../../filter/bpf/index.ts";
import {
  checkInstructions,
  mapShapes,
  pickProgram,
  programTypeWords,
  readBpfFile,
} from "../../harness/index.ts";
import { ExitCode } from "../failure.ts";
import { fileIssue, readInput } from "../input.ts";

type Finish = (code: ExitCode) => void;

export function addBpfCommands(program: Command, finish: Finish): void {
  const bpf = program.command("bpf").summary("run, disassemble and verify BPF programs");
  bpf
    .command("exec")
    .summary("runs a program given as hex on standard input; prints r0 in hex")
    .description(
      "Speaks the plugin protocol of the bpf_conformance suite: the program is hex on standard input, its memory the argument; r1 is the memory's address, r2 its length.",
    )
    .argument("[memory]", "bytes in hex, separated by spaces")
    .option("--elf", "standard input is an ELF object in hex: its function main is run")
    .option("--fuel <n>", "instructions before the run is stopped", "100000000")
    .action((memory: string | undefined, options: { readonly elf?: boolean; readonly fuel: string }) => {
      finish(execute(readInput("-").text, memory ?? "", options));
    });
  bpf
    .command("disasm")
    .summary("prints the instructions of an object, of raw bytes or of classic BPF")
    .argument("<file>", "ELF object, instruction bytes, tcpdump -ddd text or assembler text")
    .option("--section <name>", "only this section or function")
    .action((file: string, { section }: { readonly section?: string }) => {
      process.stdout.write(disassembled(file, section));
      finish(ExitCode.ok);
    });
  bpf
    .command("verify")
    .summary("says what a program proves of itself, or the first instruction that it does not")
    .argument("<file>", "as for disasm")
    .option("--section <name>", "only this section or function")
    .addOption(
      new Option("--type <type>", "of programs whose section does not say").choices([
        ...programTypeWords.keys(),
      ]),
    )
    .action((file: string, options: { readonly section?: string; readonly type?: string }) => {
      finish(verify(file, options));
    });
  for (const command of bpf.commands) command.exitOverride().option("--debug", "stack traces with errors");
}

function execute(
  stdin: string,
  memoryText: string,
  { elf, fuel }: { readonly elf?: boolean; readonly fuel: string },
): ExitCode {
  const given = readHex(memoryText, "the memory argument");
  const bytes = readHex(stdin, "standard input");
  if (!/^\d+$/.test(fuel)) throw usageError(`--fuel takes a number, not ${fuel}`);
  const space = new BpfSpace();
  const region = space.memory.allocate(given.length, { name: "the memory argument", writable: true });
  if (region === undefined) throw usageError(`${given.length} bytes of memory are too many`);
  space.memory.bytes.set(given, space.memory.start(region));
  const number = elf === true ? loadMain(space, bytes) : loadBytes(space, bytes);
  const linked = space.program(number);
  if (linked === undefined) throw usageError("no program was loaded");
  const environment = {
    space,
    nowNs: () => 0,
    random: createPrng(1),
    packet: undefined,
    events: [],
    redirects: [],
  };
  const helpers = helpersFor(ProgramType.socketFilter, environment);
  const machine = new BpfMachine({ memory: space.memory, helpers, fuel: Number(fuel) });
  const result = machine.run(linked, space.memory.start(region), given.length);
  if (!result.ok) {
    process.stderr.write(`podwire: instruction ${result.fault.pc}: ${result.fault.message}\n`);
    return ExitCode.failed;
  }
  const value = (BigInt(result.high >>> 0) << 32n) | BigInt(result.low >>> 0);
  process.stdout.write(`${value.toString(16)}\n`);
  return ExitCode.ok;
}

function loadBytes(space: BpfSpace, bytes: Uint8Array): number {
  if (bytes.length === 0 || bytes.length % insnBytes !== 0)
    throw usageError(
      `a program is made of instructions of ${insnBytes} bytes; standard input has ${bytes.length}`,
    );
  const instructions = decodeInstructions(bytes);
  checkInstructions(instructions, "program");
  return space.loadProgram("program", instructions);
}

function loadMain(space: BpfSpace, bytes: Uint8Array): number {
  const object = readObject(bytes, "<stdin>");
  const { programs } = loadObject(space, object);
  const number = programs.get("main") ?? [...programs.values()][0];
  if (number === undefined) throw usageError("the object has no program");
  return number;
}

/** Bytes of two digits each, with or without spaces between them. */
function readHex(text: string, what: string): Uint8Array {
  const digits = text.replace(/\s+/g, "");
  const bad = /[^0-9a-fA-F]/.exec(digits);
  if (bad !== null) throw usageError(`${what} is hex, but has ${JSON.stringify(bad[0])}`);
  if (digits.length % 2 !== 0) throw usageError(`${what} has half a byte too much`);
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function readBytes(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new InputError([fileIssue(file, error)]);
  }
}

function disassembled(file: string, section: string | undefined): string {
  const content = readBpfFile(readBytes(file), file);
  const programs = section === undefined ? content.programs : [pickProgram(content, section, file)];
  const maps = content.maps.map(
    ({ shape: { name, type, keySize, valueSize, maxEntries } }, i) =>
      `# map ${i}: ${name}, type ${type}, key ${keySize}, value ${valueSize}, at most ${maxEntries}`,
  );
  const texts = programs.map(({ name, section: from, instructions }) =>
    [
      `# ${from === "" ? name : `${from}: ${name}`}, ${instructions.length} slots`,
      ...disassemble(instructions),
    ].join("\n"),
  );
  return `${[...maps, texts.join("\n\n")].join("\n")}\n`;
}

function verify(file: string, options: { readonly section?: string; readonly type?: string }): ExitCode {
  const content = readBpfFile(readBytes(file), file);
  const programs =
    options.section === undefined ? content.programs : [pickProgram(content, options.section, file)];
  if (programs.length === 0)
    throw new InputError([{ code: "invalid", path: "", message: "there is no program in it", file }]);
  let code: ExitCode = ExitCode.ok;
  for (const { name, type, instructions } of programs) {
    const wanted = type ?? programTypeWords.get(options.type ?? "");
    if (wanted === undefined)
      throw usageError(`${file}: the type of program ${name} is not known; give --type`);
    const { ok, followed, refusal } = verifyProgram(instructions, { type: wanted, maps: mapShapes(content) });
    if (ok) process.stdout.write(`${name}: verified, ${followed} instructions followed\n`);
    else if (refusal !== undefined) {
      code = ExitCode.failed;
      process.stdout.write(`${name}: refused at ${refusal.pc}: ${refusal.text}\n  ${refusal.message}\n`);
      if (refusal.registers !== "") process.stdout.write(`  ${refusal.registers}\n`);
    }
  }
  return code;
}
