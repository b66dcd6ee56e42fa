/**
 * The fragments of one datagram that have come so far (kernel net/ipv4/inet_fragment.c). Overlaps void the datagram,
 * in both families (RFC 5722); what was there already, whole, does no harm. Runs are judged as the kernel keeps them:
 * fragments grow into one run only where each follows the last one at the end.
 */

interface Piece {
  readonly start: number;
  readonly end: number;
  /** A copy; the queue owns it. */
  readonly data: Uint8Array;
}

export type InsertEnd = "added" | "duplicate" | "overlap";

export class FragmentQueue {
  expiresNs: number;
  /** Largest end seen; the datagram's length once the last fragment is in. */
  length = 0;
  hasLast = false;
  /** Size of the largest fragment's packet, headers included (IPv6: payload), and of the largest with DF set. */
  largest = 0;
  largestUnsplittable = 0;
  /** Bits `1 << ecn` of the fragments. */
  ecns = 0;
  /** Everything before the datagram's data, from the first fragment; undefined before it came. */
  head: Uint8Array | undefined;
  /** Fragments of the same source when the last one of this datagram came (net.ipv4.ipfrag_max_dist). */
  sourceCount = 0;
  #pieces: Piece[] = [];
  #runs: { start: number; end: number }[] = [];
  #bytes = 0;

  constructor(expiresNs: number) {
    this.expiresNs = expiresNs;
  }

  get isEmpty(): boolean {
    return this.#pieces.length === 0;
  }

  get isWhole(): boolean {
    return this.head !== undefined && this.hasLast && this.#bytes === this.length;
  }

  get storedBytes(): number {
    return this.#bytes;
  }

  insert(start: number, end: number, data: Uint8Array): InsertEnd {
    const tail = this.#pieces.reduce((max, piece) => Math.max(max, piece.end), -1);
    if (tail < 0) {
      this.#runs.push({ start, end });
    } else if (tail < end) {
      if (start < tail) return "overlap";
      const last = this.#runs.at(-1);
      if (start === tail && last !== undefined) last.end = end;
      else this.#runs.push({ start, end });
    } else {
      const met = this.#runs.find((run) => start < run.end && end > run.start);
      if (met !== undefined) return start >= met.start && end <= met.end ? "duplicate" : "overlap";
      this.#runs.push({ start, end });
      this.#runs.sort((a, b) => a.start - b.start);
    }
    this.#pieces.push({ start, end, data: data.slice() });
    this.#bytes += end - start;
    return "added";
  }

  /** Sizes of the data of each fragment, in order. */
  sizes(): readonly number[] {
    return this.#inOrder().map(({ start, end }) => end - start);
  }

  /** Writes the datagram's data behind its head. */
  fill(packet: Uint8Array, at: number): void {
    for (const { start, data } of this.#pieces) packet.set(data, at + start);
  }

  /** Begins anew: too many fragments of the same source came in between. */
  restart(expiresNs: number): void {
    this.expiresNs = expiresNs;
    this.length = 0;
    this.hasLast = false;
    this.ecns = 0;
    this.head = undefined;
    this.#pieces = [];
    this.#runs = [];
    this.#bytes = 0;
  }

  #inOrder(): readonly Piece[] {
    return [...this.#pieces].sort((a, b) => a.start - b.start);
  }
}
