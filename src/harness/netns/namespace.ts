/**
 * One place in a real namespace: a sender inside it, a watcher of what passes its interface, and silence from the
 * namespace's own stack meanwhile, whose answers would be packets that nobody planned. Nothing outside the namespaces that
 * the user names is touched. All of it lives in processes that end with their input, so that it goes away with `close`
 * or with this process, however that ends.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { InputError, usageError } from "../../base/index.ts";
import { createCaptureReader, networkOffset } from "../../capture/index.ts";
import type { LivePlace } from "./place.ts";

/**
 * Drops what arrives by an interface before the stack sees it; taps (packet(7)) come earlier still, and ARP and neighbour
 * discovery pass. The kernel removes the table with the socket that made it (nft(8), `flags owner`).
 */
function silence(table: string, name: string): string {
  const neighbours = "nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert";
  return [
    `add table inet ${table} { flags owner; }`,
    `add chain inet ${table} arriving { type filter hook prerouting priority -500; }`,
    `add rule inet ${table} arriving iifname != "${name}" accept`,
    `add rule inet ${table} arriving icmpv6 type { ${neighbours} } accept`,
    `add rule inet ${table} arriving drop`,
    "",
  ].join("\n");
}

/** As the cooked header names a packet on its way out (linktypes, LINKTYPE_LINUX_SLL2; if_packet.h). */
const PACKET_OUTGOING = 4;
const startMaxMs = 10_000;
const endMaxMs = 2000;

/** Where `ip netns` keeps names. */
const namesFolder = "/run/netns";

function refused(message: string): InputError {
  return new InputError([{ code: "not-supported", path: "", message }]);
}

/** @throws InputError saying what is missing and how to get it. */
export function checkPlaces(places: readonly LivePlace[]): void {
  if (process.platform !== "linux") throw refused("--live needs Linux: network namespaces are its own");
  if (process.getuid?.() !== 0) throw refused("--live needs root, to enter network namespaces");
  const absent = ["ip", "nft", "tcpdump"].filter(
    (tool) => spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0,
  );
  if (absent.length > 0)
    throw refused(`--live needs ${absent.join(", ")} (Debian packages: iproute2 nftables tcpdump)`);
  try {
    createRequire(import.meta.url)("raw-socket");
  } catch (error) {
    const why = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
    throw refused(
      `--live needs the package raw-socket, built for this Node: npm install raw-socket (with make and a C++ compiler); ${why}`,
    );
  }
  for (const place of places) checkPlace(place);
}

function checkPlace({ namespace, interface: name }: LivePlace): void {
  const path = join(namesFolder, namespace);
  if (!existsSync(path))
    throw usageError(`--live: there is no network namespace ${namespace} (see: ip netns list)`);
  if (["/proc/self/ns/net", "/proc/1/ns/net"].some((own) => isSameFile(own, path)))
    throw usageError(`--live: ${namespace} is the machine's own network, where podwire sends nothing`);
  const link = spawnSync("ip", ["-n", namespace, "link", "show", "dev", name], { encoding: "utf8" });
  if (link.status !== 0) throw usageError(`--live: there is no interface ${name} in ${namespace}`);
  if (!/[<,]UP[,>]/.test(link.stdout)) throw usageError(`--live: interface ${name} in ${namespace} is down`);
}

/** What cannot be looked at is no answer: of process 1, a sandbox may tell nothing. */
function isSameFile(a: string, b: string): boolean {
  try {
    const [one, other] = [statSync(a), statSync(b)];
    return one.dev === other.dev && one.ino === other.ino;
  } catch {
    return false;
  }
}

/** Which way a packet passes a place's interface: `out` into the node, `in` out of it. */
export type LiveDirection = "in" | "out";

export class LiveNamespace {
  readonly place: LivePlace;
  readonly #sender: ChildProcess;
  readonly #children: readonly ChildProcess[];
  readonly #waiting: ((answer: string) => void)[] = [];
  #unread = "";
  #failure: string | undefined;

  private constructor(place: LivePlace, silencer: ChildProcess, watcher: ChildProcess, sender: ChildProcess) {
    this.place = place;
    this.#sender = sender;
    this.#children = [silencer, watcher, sender];
    sender.stdout?.on("data", (chunk: Buffer) => this.#receive(chunk.toString()));
    for (const child of this.#children) {
      let said = "";
      child.stderr?.on("data", (chunk: Buffer) => {
        said = (said + chunk.toString()).slice(-2000);
      });
      child.on("close", () => this.#fail(`a process in ${place.namespace} ended: ${said.trim()}`));
    }
  }

  /** `onPacket` gets what passes the interface, from its network header on. @throws Error when a tool fails. */
  static async open(
    place: LivePlace,
    onPacket: (direction: LiveDirection, bytes: Uint8Array) => void,
  ): Promise<LiveNamespace> {
    const silencer = start(place, ["nft", "-i"]);
    const watcher = start(place, ["sh", "-c", watching(interfaceNumber(place))]);
    const sender = start(place, [process.execPath, senderFile(), place.interface]);
    const opened = new LiveNamespace(place, silencer, watcher, sender);
    const reader = createCaptureReader(`${place.namespace}:${place.interface}`, {
      packet: (packet) => {
        const at = networkOffset(packet);
        const isOut = packet.bytes[packet.start + 10] === PACKET_OUTGOING;
        if (at >= 0) onPacket(isOut ? "out" : "in", packet.bytes.slice(at, packet.end));
      },
    });
    watcher.stdout?.on("data", (chunk: Buffer) => reader.push(chunk));
    try {
      await said(watcher, "listening on", place);
      await silenced(place, silencer);
    } catch (error) {
      await opened.close();
      throw error;
    }
    return opened;
  }

  /** Resolves when the kernel has taken the packet. @throws Error when it has not. */
  async send(bytes: Uint8Array): Promise<void> {
    const answer =
      this.#failure ??
      (await new Promise<string>((resolve) => {
        this.#waiting.push(resolve);
        this.#sender.stdin?.write(`${Buffer.from(bytes).toString("hex")}\n`);
      }));
    const { namespace, interface: name } = this.place;
    if (answer !== "ok") throw new Error(`a packet could not be sent by ${namespace}:${name}: ${answer}`);
  }

  /** Ends its processes, which takes the table away. */
  async close(): Promise<void> {
    const gone = this.#children.map((child) =>
      child.exitCode !== null || child.signalCode !== null
        ? undefined
        : new Promise((resolve) => child.once("close", resolve)),
    );
    for (const child of this.#children) child.stdin?.end();
    const timer = setTimeout(() => {
      for (const child of this.#children) child.kill("SIGKILL");
    }, endMaxMs);
    await Promise.all(gone);
    clearTimeout(timer);
  }

  #fail(why: string): void {
    this.#failure ??= why;
    for (const answer of this.#waiting.splice(0)) answer(why);
  }

  #receive(text: string): void {
    const lines = (this.#unread + text).split("\n");
    this.#unread = lines.pop() ?? "";
    for (const line of lines) this.#waiting.shift()?.(line);
  }
}

/** A process in the namespace, in a group of its own: Ctrl-C is for podwire, which ends it. */
function start({ namespace }: LivePlace, command: readonly string[]): ChildProcess {
  const child = spawn("ip", ["netns", "exec", namespace, ...command], { detached: true });
  child.stdin.on("error", () => {}); // told by its end
  return child;
}

/** tcpdump until the end of the input. Cooked headers say which way a packet goes; one capture is for one interface. */
function watching(interfaceNumber: number): string {
  const form = "-i any -y LINUX_SLL2 -U --immediate-mode -s 65535 -B 16384 -w -";
  return `tcpdump ${form} "ifindex ${interfaceNumber} and (ip or ip6)" & read end; kill $!; wait`;
}

function interfaceNumber({ namespace, interface: name }: LivePlace): number {
  const { stdout } = spawnSync("ip", ["-n", namespace, "-o", "link", "show", "dev", name], {
    encoding: "utf8",
  });
  return Number.parseInt(stdout, 10);
}

/** Resolves when the process has said the words. */
async function said(child: ChildProcess, words: string, { namespace }: LivePlace): Promise<void> {
  let text = "";
  await new Promise<void>((resolve, reject) => {
    const fail = (): void => reject(new Error(`tcpdump in ${namespace}: ${text.trim() || "does not start"}`));
    const timer = setTimeout(fail, startMaxMs);
    child.stderr?.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (!text.includes(words)) return;
      clearTimeout(timer);
      resolve();
    });
    child.once("close", fail);
  });
}

/** Has the silencer make its table, and waits until the table is whole. */
async function silenced(place: LivePlace, silencer: ChildProcess): Promise<void> {
  const table = `podwire_live_${silencer.pid}`;
  let errors = "";
  silencer.stderr?.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  silencer.stdout?.resume();
  silencer.stdin?.write(silence(table, place.interface));
  const list = ["netns", "exec", place.namespace, "nft", "list", "table", "inet", table];
  for (let ms = 0; ; ms += 20) {
    if (/^\s*drop$/m.test(spawnSync("ip", list, { encoding: "utf8" }).stdout)) return;
    if (errors !== "" || ms > startMaxMs)
      throw new Error(`nft in ${place.namespace}: ${errors.trim() || "makes no table"}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Beside this module in a checkout; in a build, among the package's sources. */
function senderFile(): string {
  const places = [import.meta.dirname, join(import.meta.dirname, "../../../src/harness/netns")];
  const found = places.map((place) => join(place, "sender.mjs")).find((file) => existsSync(file));
  if (found === undefined) throw new Error("sender.mjs is missing from the package");
  return found;
}
