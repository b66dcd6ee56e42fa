/**
 * A file with BPF in it, whatever its form: an ELF object, raw instruction bytes, classic instructions as tcpdump and
 * iptables print them, assembler text. The form is seen from the content.
 */
import { InputError } from "../base/index.ts";
import {
  assemble,
  checkProgram,
  decodeInstructions,
  type Instruction,
  insnBytes,
  insnText,
  type MapDefinition,
  type MapShape,
  ProgramType,
  parseClassic,
  readObject,
  translateClassic,
} from "../filter/bpf/index.ts";

export interface BpfFileProgram {
  readonly name: string;
  /** Section of an object; empty for other forms. */
  readonly section: string;
  readonly type: ProgramType | undefined;
  readonly instructions: readonly Instruction[];
}

export interface BpfFile {
  readonly form: "object" | "bytes" | "classic" | "assembler";
  readonly programs: readonly BpfFileProgram[];
  readonly maps: readonly MapDefinition[];
}

/** @throws InputError with line and column, or byte offset, of what is wrong. */
export function readBpfFile(bytes: Uint8Array, file: string): BpfFile {
  if (bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46) {
    const { programs, maps } = readObject(bytes, file);
    return { form: "object", programs, maps };
  }
  const one = (form: BpfFile["form"], instructions: readonly Instruction[], type?: ProgramType): BpfFile => ({
    form,
    programs: [{ name: "main", section: "", type, instructions }],
    maps: [],
  });
  if (!isText(bytes)) {
    if (bytes.length % insnBytes !== 0)
      throw new InputError([
        {
          code: "invalid",
          path: "",
          message: `neither an ELF object nor text, and ${bytes.length} bytes are no whole number of instructions`,
          file,
          offset: bytes.length - (bytes.length % insnBytes),
        },
      ]);
    return one("bytes", decodeInstructions(bytes));
  }
  const text = new TextDecoder().decode(bytes);
  if (/^\s*\d+\s*[\n,]/.test(text))
    return one("classic", translateClassic(parseClassic(text, file), file), ProgramType.socketFilter);
  return one("assembler", assemble(text, file));
}

function isText(bytes: Uint8Array): boolean {
  return (
    bytes.length > 0 && bytes.every((byte) => byte >= 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d)
  );
}

/** The program that `section` (a section's or a function's name) picks; without it there must be one only. */
export function pickProgram(
  { programs }: BpfFile,
  section: string | undefined,
  file: string,
): BpfFileProgram {
  const names = programs.map((program) => program.section || program.name).join(", ");
  const found = programs.filter(
    (program) => section === undefined || program.section === section || program.name === section,
  );
  const [first] = found;
  if (first === undefined) {
    const message =
      section === undefined ? "there is no program in it" : `no program ${section}; there is ${names}`;
    throw new InputError([{ code: "unknown-name", path: "", message, file }]);
  }
  if (found.length > 1)
    throw new InputError([
      {
        code: "usage",
        path: "",
        message: `several programs fit, name one of them: ${found.map(({ name }) => name).join(", ")}`,
        file,
      },
    ]);
  return first;
}

/** Words for program types, as `--type` takes them. */
export const programTypeWords: ReadonlyMap<string, ProgramType> = new Map([
  ["tc", ProgramType.schedCls],
  ["xdp", ProgramType.xdp],
  ["socket", ProgramType.socketFilter],
  ["cgroup_skb", ProgramType.cgroupSkb],
]);

/** The maps of an object file, as a verifier needs to know them. */
export function mapShapes({ maps }: BpfFile): readonly MapShape[] {
  return maps.map(({ shape }) => shape);
}

/** @throws InputError with every instruction that is none. */
export function checkInstructions(instructions: readonly Instruction[], name: string): void {
  const problems = checkProgram(instructions);
  if (problems.length === 0) return;
  throw new InputError(
    problems.map(({ pc, message }) => ({
      code: "invalid",
      path: `${name}[${pc}]`,
      message: `${message}: ${insnText(instructions[pc] as Instruction, instructions[pc + 1]?.imm ?? 0)}`,
    })),
  );
}
