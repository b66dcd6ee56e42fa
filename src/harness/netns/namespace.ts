/**
 * One place in a real namespace: a sender inside it, a watcher of what comes in by its interface, and silence from the
 * namespace's own stack meanwhile, whose answers would be packets that nobody planned. Nothing outside the namespaces that
 * the user names is touched; everything goes away with `close`, and what a killed run left goes with the next one.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { InputError, usageError } from "../../base/index.ts";
import { createCaptureReader, networkOffset } from "../../capture/index.ts";
import type { LivePlace } from "./place.ts";

/** Drops what arrives before the stack sees it; taps (packet(7)) come earlier still, and ARP passes. */
const silence = `table inet podwire_live {
  chain everything {
    type filter hook prerouting priority -500; policy drop;
  }
}
`;

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

export class LiveNamespace {
  readonly place: LivePlace;
  readonly #sender: ChildProcess;
  readonly #watcher: ChildProcess;
  readonly #waiting: ((answer: string) => void)[] = [];
  #unread = "";
  #errors = "";
  #ended: string | undefined;

  private constructor(
    place: LivePlace,
    sender: ChildProcess,
    watcher: ChildProcess,
    onPacket: (bytes: Uint8Array) => void,
  ) {
    this.place = place;
    this.#sender = sender;
    this.#watcher = watcher;
    sender.stdout?.on("data", (chunk: Buffer) => this.#receive(chunk.toString()));
    for (const child of [sender, watcher])
      child.stderr?.on("data", (chunk: Buffer) => {
        this.#errors = (this.#errors + chunk.toString()).slice(-2000);
      });
    sender.stdin?.on("error", () => {}); // told by `exit`
    sender.on("exit", () => {
      this.#ended = `the sender in ${place.namespace} ended: ${this.#errors.trim()}`;
      for (const answer of this.#waiting.splice(0)) answer(this.#ended);
    });
    const reader = createCaptureReader(`${place.namespace}:${place.interface}`, {
      packet: (packet) => {
        const at = networkOffset(packet);
        if (at >= 0) onPacket(packet.bytes.slice(at, packet.end));
      },
    });
    watcher.stdout?.on("data", (chunk: Buffer) => reader.push(chunk));
  }

  /** `onPacket` gets what comes in by the interface, from its network header on. @throws Error when a tool fails. */
  static async open(place: LivePlace, onPacket: (bytes: Uint8Array) => void): Promise<LiveNamespace> {
    const inside = ["netns", "exec", place.namespace];
    clear(place.namespace);
    const quiet = spawnSync("ip", [...inside, "nft", "-f", "-"], { input: silence, encoding: "utf8" });
    if (quiet.status !== 0) throw new Error(`nft in ${place.namespace}: ${quiet.stderr.trim()}`);
    // groups of their own: Ctrl-C is for podwire, which ends them
    const options = { detached: true } as const;
    const sender = spawn("ip", [...inside, process.execPath, senderFile(), place.interface], options);
    const watch = ["tcpdump", "-i", place.interface, "-Q", "in", "-U", "--immediate-mode", "-w", "-"];
    const watcher = spawn("ip", [...inside, ...watch, "ip or ip6"], options);
    const opened = new LiveNamespace(place, sender, watcher, onPacket);
    await opened.#isWatching();
    return opened;
  }

  /** Resolves when the kernel has taken the packet. @throws Error when it has not. */
  async send(bytes: Uint8Array): Promise<void> {
    const answer =
      this.#ended ??
      (await new Promise<string>((resolve) => {
        this.#waiting.push(resolve);
        this.#sender.stdin?.write(`${Buffer.from(bytes).toString("hex")}\n`);
      }));
    const { namespace, interface: name } = this.place;
    if (answer !== "ok") throw new Error(`a packet could not be sent by ${namespace}:${name}: ${answer}`);
  }

  /** Has every neighbour that was asked for answered, or been given up? */
  isResolving(): boolean {
    const { namespace, interface: name } = this.place;
    const { stdout } = spawnSync("ip", ["-n", namespace, "neigh", "show", "dev", name], { encoding: "utf8" });
    return /\bINCOMPLETE\b/.test(stdout);
  }

  async close(): Promise<void> {
    const children = [this.#sender, this.#watcher];
    const gone = children.map((child) =>
      child.exitCode !== null || child.signalCode !== null
        ? undefined
        : new Promise((resolve) => child.once("exit", resolve)),
    );
    for (const child of children) child.kill("SIGTERM");
    await Promise.all(gone);
    clear(this.place.namespace);
  }

  /** tcpdump says that it listens once the socket is open. */
  async #isWatching(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const onData = (): void => {
        if (this.#errors.includes("listening on")) resolve();
      };
      this.#watcher.stderr?.on("data", onData);
      this.#watcher.once("exit", () =>
        reject(new Error(`tcpdump in ${this.place.namespace}: ${this.#errors.trim()}`)),
      );
    });
  }

  #receive(text: string): void {
    const lines = (this.#unread + text).split("\n");
    this.#unread = lines.pop() ?? "";
    for (const line of lines) this.#waiting.shift()?.(line);
  }
}

function clear(namespace: string): void {
  spawnSync("ip", ["netns", "exec", namespace, "nft", "delete", "table", "inet", "podwire_live"]);
}

/** Beside this module in a checkout; in a build, among the package's sources. */
function senderFile(): string {
  const places = [import.meta.dirname, join(import.meta.dirname, "../../../src/harness/netns")];
  const found = places.map((place) => join(place, "sender.mjs")).find((file) => existsSync(file));
  if (found === undefined) throw new Error("sender.mjs is missing from the package");
  return found;
}
