/** Capture files made by hand, byte by byte, in every form that the formats allow: what the readers are tested on. */

export interface PcapForm {
  readonly isLittle: boolean;
  readonly magic: number;
  /** Bytes between a record's lengths and its data: the modified form has eight. */
  readonly extraHeader: number;
}

type PcapFormName = `${"microseconds" | "nanoseconds" | "modified"}${"Little" | "Big"}`;

export const pcapForms: Readonly<Record<PcapFormName, PcapForm>> = {
  microsecondsLittle: { isLittle: true, magic: 0xa1b2c3d4, extraHeader: 0 },
  microsecondsBig: { isLittle: false, magic: 0xa1b2c3d4, extraHeader: 0 },
  nanosecondsLittle: { isLittle: true, magic: 0xa1b23c4d, extraHeader: 0 },
  nanosecondsBig: { isLittle: false, magic: 0xa1b23c4d, extraHeader: 0 },
  modifiedLittle: { isLittle: true, magic: 0xa1b2cd34, extraHeader: 8 },
  modifiedBig: { isLittle: false, magic: 0xa1b2cd34, extraHeader: 8 },
};

export interface RawRecord {
  readonly seconds: number;
  readonly fraction: number;
  readonly original: number;
  readonly data: Uint8Array;
}

export function bytesOf(
  isLittle: boolean,
  ...values: readonly (readonly [1 | 2 | 4, number] | Uint8Array)[]
): Uint8Array {
  const size = values.reduce(
    (sum, value) => sum + (value instanceof Uint8Array ? value.length : value[0]),
    0,
  );
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const value of values) {
    if (value instanceof Uint8Array) {
      bytes.set(value, at);
      at += value.length;
      continue;
    }
    const [width, number] = value;
    if (width === 1) view.setUint8(at, number);
    else if (width === 2) view.setUint16(at, number, isLittle);
    else view.setUint32(at, number, isLittle);
    at += width;
  }
  return bytes;
}

export function pcapFile(
  form: PcapForm,
  records: readonly RawRecord[],
  { linkType = 101, snapLength = 65_535 }: { readonly linkType?: number; readonly snapLength?: number } = {},
): Uint8Array {
  const { isLittle, magic, extraHeader } = form;
  return join([
    bytesOf(isLittle, [4, magic], [2, 2], [2, 4], [4, 0], [4, 0], [4, snapLength], [4, linkType]),
    ...records.map(({ seconds, fraction, original, data }) =>
      bytesOf(
        isLittle,
        [4, seconds],
        [4, fraction],
        [4, data.length],
        [4, original],
        new Uint8Array(extraHeader),
        data,
      ),
    ),
  ]);
}

export function join(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}

/** A pcapng block around a body, which is padded. */
export function block(isLittle: boolean, type: number, ...body: readonly Uint8Array[]): Uint8Array {
  const inner = join(body);
  const filled = new Uint8Array((inner.length + 3) & ~3);
  filled.set(inner);
  const length = filled.length + 12;
  return bytesOf(isLittle, [4, type], [4, length], filled, [4, length]);
}

export function option(isLittle: boolean, code: number, value: Uint8Array): Uint8Array {
  return bytesOf(isLittle, [2, code], [2, value.length], value, new Uint8Array(-value.length & 3));
}

export function section(isLittle: boolean): Uint8Array {
  const unknownLength = new Uint8Array(8).fill(0xff);
  return block(isLittle, 0x0a0d0d0a, bytesOf(isLittle, [4, 0x1a2b3c4d], [2, 1], [2, 0]), unknownLength);
}

export function interfaceBlock(
  isLittle: boolean,
  linkType: number,
  snapLength = 0,
  ...options: readonly Uint8Array[]
): Uint8Array {
  return block(isLittle, 1, bytesOf(isLittle, [2, linkType], [2, 0], [4, snapLength]), ...options);
}

export function enhancedPacket(
  isLittle: boolean,
  at: { readonly number: number; readonly high: number; readonly low: number },
  data: Uint8Array,
  ...options: readonly Uint8Array[]
): Uint8Array {
  const fixed = bytesOf(
    isLittle,
    [4, at.number],
    [4, at.high],
    [4, at.low],
    [4, data.length],
    [4, data.length],
  );
  return block(isLittle, 6, fixed, data, new Uint8Array(-data.length & 3), ...options);
}
