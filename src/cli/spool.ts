/** Text that stands behind something in a document and is known before it: kept in a temporary file, not in memory. */
import { closeSync, mkdtempSync, openSync, readSync, rmdirSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const blockBytes = 1 << 16;

export class Spool {
  #text = "";
  #descriptor: number | undefined;
  #size = 0;

  write(text: string): void {
    this.#text += text;
    if (this.#text.length >= blockBytes) this.#flush();
  }

  /** All that was written, in blocks of whole characters. */
  *pieces(): Iterable<string> {
    if (this.#descriptor !== undefined) {
      const decoder = new TextDecoder();
      const block = new Uint8Array(blockBytes);
      for (let at = 0; at < this.#size; ) {
        const size = readSync(this.#descriptor, block, 0, blockBytes, at);
        if (size === 0) break;
        at += size;
        yield decoder.decode(block.subarray(0, size), { stream: true });
      }
    }
    yield this.#text;
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #flush(): void {
    this.#descriptor ??= openUnnamed();
    const bytes = Buffer.from(this.#text);
    for (let at = 0; at < bytes.length; )
      at += writeSync(this.#descriptor, bytes, at, bytes.length - at, this.#size + at);
    this.#size += bytes.length;
    this.#text = "";
  }
}

/** A file without a name: gone with the process, however that ends. */
function openUnnamed(): number {
  const folder = mkdtempSync(join(tmpdir(), "podwire-"));
  const file = join(folder, "spool");
  const descriptor = openSync(file, "wx+", 0o600);
  unlinkSync(file);
  rmdirSync(folder);
  return descriptor;
}
