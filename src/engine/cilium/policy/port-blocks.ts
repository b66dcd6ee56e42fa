/** Ranges of ports as a policy map holds them: aligned blocks, each the ports that share a prefix of bits. */

export interface PortBlock {
  readonly port: number;
  /** Significant bits, 0 (every port) to 16 (that port). */
  readonly prefix: number;
}

export const everyPort: readonly PortBlock[] = Object.freeze([{ port: 0, prefix: 0 }]);

/** The fewest blocks that hold exactly the ports of a range; a last port not above the first makes it that one. */
export function portBlocks(firstPort: number, lastPort: number): readonly PortBlock[] {
  const blocks: PortBlock[] = [];
  const end = Math.max(firstPort, lastPort);
  for (let port = firstPort; port <= end; ) {
    let size = 1;
    while (port % (size * 2) === 0 && port + size * 2 - 1 <= end) size *= 2;
    blocks.push({ port, prefix: 16 - Math.log2(size) });
    port += size;
  }
  return blocks;
}

/** As agents write a block that begins at 0 which tell a given port from none by its not being 0: every port. */
export function withZeroStartDefect(blocks: readonly PortBlock[]): readonly PortBlock[] {
  return blocks.map((block) => (block.port === 0 ? { port: 0, prefix: 0 } : block));
}
