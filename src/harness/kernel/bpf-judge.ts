/**
 * The running kernel as judge of BPF: the same instructions, maps and packets by bpf(2), through a small C program
 * (bpf.c) that answers one request after another. Needs root and a C compiler.
 */
import { type ChildProcess, spawn } from "node:child_process";
import {
  type ClassicInstruction,
  encodeInstructions,
  type Instruction,
  type MapEntry,
  type MapShape,
} from "../../filter/bpf/index.ts";
import { compiledProgram, findCompiler } from "./native.ts";

export interface KernelRun {
  /** Return value, unsigned. */
  readonly code: number;
  /** Mean of the repeated runs, as the kernel measured it. */
  readonly nsPerRun: number;
  readonly context: Uint8Array;
  readonly packet: Uint8Array;
}

/** A program that the verifier refused. */
export class BpfRefusal extends Error {
  override readonly name = "BpfRefusal";
  readonly errno: number;
  readonly log: string;
  constructor(errno: number, log: string) {
    super(`the kernel refuses the program (errno ${errno}): ${log.trim().split("\n").slice(-2, -1)}`);
    this.errno = errno;
    this.log = log;
  }
}

const Operation = {
  map: 1,
  update: 2,
  lookup: 3,
  remove: 4,
  program: 5,
  run: 6,
  dump: 7,
  forget: 8,
  classic: 9,
} as const;

interface Answer {
  readonly status: number;
  readonly data: Buffer;
}

export class BpfJudge {
  readonly #child: ChildProcess;
  readonly #waiting: {
    readonly resolve: (answer: Answer) => void;
    readonly reject: (error: Error) => void;
  }[] = [];
  readonly #shapes: MapShape[] = [];
  #unread: Buffer = Buffer.alloc(0);
  #failure: Error | undefined;

  /** Use `startBpfJudge`. */
  constructor(child: ChildProcess) {
    this.#child = child;
    let errors = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      errors += chunk.toString();
    });
    child.stdin?.on("error", () => {}); // told by `exit`
    child.stdout?.on("data", (chunk: Buffer) => this.#receive(chunk));
    child.on("exit", (code, signal) => {
      this.#failure = new Error(`BPF judge ended (${signal ?? code}) ${errors.trim()}`);
      for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
    });
  }

  /** The new map's number, or a negative errno. `inner`: number of a map that the maps inside look like. */
  async createMap(shape: MapShape, inner = -1): Promise<number> {
    const { type, keySize, valueSize, maxEntries, flags } = shape;
    const { status } = await this.#ask(
      Operation.map,
      words(type, keySize, valueSize, maxEntries, flags, inner),
    );
    if (status >= 0) this.#shapes[status] = shape;
    return status;
  }

  /** 0 or a negative errno; so do the next two. */
  async update(map: number, key: Uint8Array, value: Uint8Array, flags = 0): Promise<number> {
    return (await this.#ask(Operation.update, Buffer.concat([words(map, flags), key, value]))).status;
  }

  async lookup(map: number, key: Uint8Array): Promise<Uint8Array | undefined> {
    const { status, data } = await this.#ask(Operation.lookup, Buffer.concat([words(map), key]));
    return status === 0 ? Uint8Array.from(data) : undefined;
  }

  async remove(map: number, key: Uint8Array): Promise<number> {
    return (await this.#ask(Operation.remove, Buffer.concat([words(map), key]))).status;
  }

  async entries(map: number): Promise<readonly MapEntry[]> {
    const { data } = await this.#ask(Operation.dump, words(map));
    const { keySize = 0, valueSize = 0 } = this.#shapes[map] ?? {};
    const entries: MapEntry[] = [];
    for (let at = 0; at + keySize + valueSize <= data.length; at += keySize + valueSize)
      entries.push({
        key: Uint8Array.from(data.subarray(at, at + keySize)),
        value: Uint8Array.from(data.subarray(at + keySize, at + keySize + valueSize)),
      });
    return entries;
  }

  /** The program's number. @throws BpfRefusal with the verifier's log (if `logBytes` > 0). */
  async load(type: number, instructions: readonly Instruction[], logBytes = 65_536): Promise<number> {
    const request = Buffer.concat([words(type, logBytes), encodeInstructions(instructions)]);
    const { status, data } = await this.#ask(Operation.program, request);
    if (status < 0) throw new BpfRefusal(-status, data.toString());
    return status;
  }

  /** A run, or the errno of BPF_PROG_TEST_RUN. Frames have at least 14 bytes. `context` empty: the kernel's defaults. */
  async run(
    program: number,
    packet: Uint8Array,
    context: Uint8Array = new Uint8Array(),
    repeat = 1,
  ): Promise<KernelRun | number> {
    const request = Buffer.concat([words(program, repeat, context.length), context, packet]);
    const { status, data } = await this.#ask(Operation.run, request);
    if (status < 0) return status;
    const contextSize = data.readUInt32LE(8);
    return {
      code: data.readUInt32LE(0),
      nsPerRun: data.readUInt32LE(4),
      context: Uint8Array.from(data.subarray(12, 12 + contextSize)),
      packet: Uint8Array.from(data.subarray(12 + contextSize)),
    };
  }

  /**
   * Bytes that a socket with this classic filter received of a datagram: its answer, cut to the length; `undefined` for
   * an answer of zero. @throws BpfRefusal when the kernel's checker refuses the filter.
   */
  async classic(program: readonly ClassicInstruction[], data: Uint8Array): Promise<number | undefined> {
    const code = Buffer.alloc(program.length * 8);
    program.forEach(({ code: opcode, jt, jf, k }, i) => {
      code.writeUInt16LE(opcode, i * 8);
      code.writeUInt8(jt, i * 8 + 2);
      code.writeUInt8(jf, i * 8 + 3);
      code.writeUInt32LE(k, i * 8 + 4);
    });
    const { status } = await this.#ask(Operation.classic, Buffer.concat([words(program.length), code, data]));
    if (status < -1000) throw new BpfRefusal(-status - 1000, "");
    return status < 0 ? undefined : status;
  }

  /** Closes all maps and programs; numbers start again from 0. */
  async forget(): Promise<void> {
    await this.#ask(Operation.forget, Buffer.alloc(0));
    this.#shapes.length = 0;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.stdin?.end();
    await ended;
  }

  #ask(operation: number, fields: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      this.#waiting.push({ resolve, reject });
      this.#child.stdin?.write(Buffer.concat([words(fields.length + 1), Buffer.from([operation]), fields]));
    });
  }

  #receive(chunk: Buffer): void {
    this.#unread = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
    for (;;) {
      if (this.#unread.length < 4) return;
      const end = 4 + this.#unread.readUInt32LE(0);
      if (this.#unread.length < end) return;
      const data = this.#unread.subarray(8, end);
      this.#waiting.shift()?.resolve({ status: this.#unread.readInt32LE(4), data });
      this.#unread = this.#unread.subarray(end);
    }
  }
}

function words(...values: readonly number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => {
    buffer.writeUInt32LE(value >>> 0, i * 4);
  });
  return buffer;
}

/**
 * `interfaces` above 0: in a network namespace of its own, with a device for each interface number from 2 on, as programs'
 * contexts may name them. @throws Error without a C compiler.
 */
export function startBpfJudge(interfaces = 0): BpfJudge {
  const compiler = findCompiler();
  if (compiler === undefined) throw new Error("BPF judge: needs a C compiler (cc, gcc or clang)");
  const program = compiledProgram("bpf", compiler);
  const stdio = ["pipe", "pipe", "pipe"] as const;
  if (interfaces === 0) return new BpfJudge(spawn(program, [], { stdio: [...stdio] }));
  const devices = Array.from(
    { length: interfaces },
    (_, i) => `ip link add d${i + 2} index ${i + 2} type bridge`,
  ).join(" && ");
  const script = `${devices} && exec "$0"`;
  return new BpfJudge(spawn("unshare", ["-n", "sh", "-c", script, program], { stdio: [...stdio] }));
}
