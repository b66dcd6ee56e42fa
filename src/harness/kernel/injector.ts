/**
 * Runs the injector (injector.c, or injector.py where there is no compiler) in a network namespace of its own and talks
 * to it. The namespace has no name and no other member: it ends with the injector, and the injector ends with our pipe,
 * so that nothing stays behind, however this process ends. The protocol is described in injector.c.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { endianness } from "node:os";
import { assert } from "../../base/index.ts";
import { compiledProgram, findCompiler, isInstalled, sourceFile } from "./native.ts";

/** The compiled program, or the script. `auto`: the program if there is a C compiler. */
export type InjectorWay = "auto" | "c" | "python";

/** `inside`: sent by the node itself, through a raw socket. */
export interface Injection {
  /** Place of the device among the injector's. */
  readonly device: number | "inside";
  readonly bytes: Uint8Array;
}

/** What a packet caused. */
export interface InjectorOutput {
  /** Left by a device (`out`), or accepted by the node's own stack (`local`). */
  readonly kind: "out" | "local";
  readonly ifindex: number;
  readonly mark: number;
  readonly bytes: Uint8Array;
}

interface Waiting {
  readonly resolve: (results: readonly (readonly InjectorOutput[])[]) => void;
  readonly reject: (error: Error) => void;
  readonly expected: number;
  readonly results: (readonly InjectorOutput[])[];
  /** An answer to `measure` is four bytes, not a list of outputs. */
  readonly isMeasure: boolean;
}

const insideDevice = 0xffff;
const repeatDevice = 0xfffe;
const nothing: readonly InjectorOutput[] = [];

/** Of new namespaces, before any device exists: no chatter of the node's own IPv6 stack. */
const prelude = [
  "echo 1 > /proc/sys/net/ipv6/conf/default/addr_gen_mode",
  "echo 0 > /proc/sys/net/ipv6/conf/default/accept_ra",
  "echo 0 > /proc/sys/net/ipv6/conf/default/router_solicitations",
  "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad",
  'exec "$@"',
].join("\n");

export class Injector {
  /** Process whose network namespace is the one under test. */
  readonly pid: number;
  /** Interface numbers in the kernel, by device. */
  readonly ifindices: readonly number[];
  readonly #child: ChildProcess;
  readonly #waiting: Waiting[] = [];
  #unread: Buffer = Buffer.alloc(0);
  #failure: Error | undefined;

  /** Use `startInjector`. */
  constructor(child: ChildProcess, ifindices: readonly number[], stderr: () => string) {
    assert(child.pid !== undefined, "the process has started");
    this.pid = child.pid;
    this.ifindices = ifindices;
    this.#child = child;
    child.stdout?.on("data", (chunk: Buffer) => this.#receive(chunk));
    child.stdin?.on("error", () => {}); // told by `exit`
    child.on("exit", (code, signal) => this.#fail(`ended (${signal ?? code}) ${stderr()}`));
  }

  /** Strictly in order: each packet's outputs are complete before the next goes in. Batches may be under way together. */
  send(injections: readonly Injection[]): Promise<readonly (readonly InjectorOutput[])[]> {
    if (injections.length === 0) return Promise.resolve([]);
    return this.#request(encode(injections), injections.length, false);
  }

  /** Nanoseconds a packet of the injector's own loop, which sends this one `rounds` times. */
  async measure(device: number, bytes: Uint8Array, rounds: number): Promise<number> {
    const request = Buffer.alloc(12 + bytes.length);
    request.writeUInt16LE(repeatDevice, 0);
    request.writeUInt16LE(8 + bytes.length, 2);
    request.writeUInt32LE(rounds, 4);
    request.writeUInt16LE(device, 8);
    request.set(bytes, 12);
    const [answer] = await this.#request(request, 1, true);
    return answer?.[0]?.mark ?? 0;
  }

  /** Ends the injector and with it the namespace. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.stdin?.end();
    await ended;
  }

  #request(
    bytes: Buffer,
    expected: number,
    isMeasure: boolean,
  ): Promise<readonly (readonly InjectorOutput[])[]> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      this.#waiting.push({ resolve, reject, expected, results: [], isMeasure });
      this.#child.stdin?.write(bytes);
    });
  }

  #fail(message: string): void {
    this.#failure = new Error(`kernel judge: injector ${message}`);
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
  }

  #receive(chunk: Buffer): void {
    const data = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
    let at = 0;
    for (;;) {
      const [first] = this.#waiting;
      if (first === undefined) break;
      const end = first.isMeasure
        ? readMeasure(data, at, first.results)
        : readAnswer(data, at, first.results);
      if (end < 0) break;
      at = end;
      if (first.results.length === first.expected) {
        this.#waiting.shift();
        first.resolve(first.results);
      }
    }
    this.#unread = data.subarray(at);
  }
}

function encode(injections: readonly Injection[]): Buffer {
  let size = 0;
  for (const { bytes } of injections) size += 4 + bytes.length;
  const request = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { device, bytes } of injections) {
    request.writeUInt16LE(device === "inside" ? insideDevice : device, at);
    request.writeUInt16LE(bytes.length, at + 2);
    request.set(bytes, at + 4);
    at += 4 + bytes.length;
  }
  return request;
}

function readMeasure(data: Buffer, at: number, results: (readonly InjectorOutput[])[]): number {
  if (at + 4 > data.length) return -1;
  results.push([{ kind: "out", ifindex: 0, mark: data.readUInt32LE(at), bytes: new Uint8Array() }]);
  return at + 4;
}

/** Offset after the answer at `at`; -1 if it is not all there yet. */
function readAnswer(data: Buffer, at: number, results: (readonly InjectorOutput[])[]): number {
  if (at + 2 > data.length) return -1;
  const count = data.readUInt16LE(at);
  let end = at + 2;
  if (count === 0) {
    results.push(nothing);
    return end;
  }
  const outputs: InjectorOutput[] = [];
  for (let i = 0; i < count; i++) {
    if (end + 12 > data.length) return -1;
    const size = data.readUInt16LE(end + 2);
    if (end + 12 + size > data.length) return -1;
    outputs.push({
      kind: data.readUInt16LE(end) === 1 ? "out" : "local",
      ifindex: data.readUInt32LE(end + 4),
      mark: data.readUInt32LE(end + 8),
      bytes: new Uint8Array(data.buffer, data.byteOffset + end + 12, size),
    });
    end += 12 + size;
  }
  results.push(outputs);
  return end;
}

/** Makes a namespace with a TUN device for each name, all of them transmitting. @throws Error where the system cannot. */
export async function startInjector(
  devices: readonly string[],
  way: InjectorWay = "auto",
): Promise<Injector> {
  assert(devices.length <= 64, `at most 64 devices, not ${devices.length}`);
  assert(endianness() === "LE", "the injector's protocol is in host order, read as little-endian");
  const command = injectorCommand(way);
  // a terminal's Ctrl-C is for podwire, which lets what runs here end in order
  const child = spawn("unshare", ["--net", "--", "sh", "-c", prelude, "sh", ...command, ...devices], {
    detached: true,
  });
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const ifindices = await new Promise<readonly number[]>((resolve, reject) => {
    let greeting = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      greeting = Buffer.concat([greeting, chunk]);
      if (greeting.length < devices.length * 4) return;
      child.stdout.off("data", onData);
      child.off("exit", onExit);
      resolve(devices.map((_, i) => greeting.readUInt32LE(i * 4)));
    };
    const onExit = (code: number | null): void =>
      reject(new Error(`kernel judge: no namespace (${code}): ${errors.trim()}`));
    child.stdout.on("data", onData);
    child.once("exit", onExit);
    child.once("error", reject);
  });
  return new Injector(child, ifindices, () => errors.trim());
}

function injectorCommand(way: InjectorWay): readonly string[] {
  const compiler = way === "python" ? undefined : findCompiler();
  if (compiler !== undefined) return [compiledProgram("injector", compiler)];
  if (way === "c") throw new Error("kernel judge: no C compiler (cc, gcc or clang)");
  if (isInstalled("python3")) return ["python3", sourceFile("injector.py")];
  throw new Error("kernel judge: needs a C compiler or python3");
}
