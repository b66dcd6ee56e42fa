/** Ranges of addresses as the fewest blocks. */
import { cidrOf, type Ip } from "../../addr/index.ts";
import type { AddressBlock } from "../../base/index.ts";

/** Blocks that hold the addresses from `from` to `to` and no others; none where `to` comes before `from`. */
export function blocksOf(from: Ip, to: Ip): readonly AddressBlock[] {
  const { family } = from;
  const width = family === 4 ? 32 : 128;
  const [first, last] = [numberOf(from), numberOf(to)];
  const blocks: AddressBlock[] = [];
  for (let at = first; at <= last; ) {
    let bits = 0;
    while (bits < width && at % (2n << BigInt(bits)) === 0n && at + (2n << BigInt(bits)) - 1n <= last) bits++;
    blocks.push(cidrOf({ family, words: wordsOf(at, family) }, width - bits));
    at += 1n << BigInt(bits);
  }
  return blocks;
}

function numberOf({ words }: Ip): bigint {
  return words.reduce((sum, word) => (sum << 32n) | BigInt(word), 0n);
}

function wordsOf(value: bigint, family: 4 | 6): readonly number[] {
  const shifts = family === 4 ? [0n] : [96n, 64n, 32n, 0n];
  return shifts.map((shift) => Number((value >> shift) & 0xffff_ffffn));
}
