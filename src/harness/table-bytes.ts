/**
 * How much memory tables take: an estimate from the shape of the data, equal on every machine. Objects that several
 * tables share count once, which is what shows whether node-independent parts are shared. V8's layout is taken as:
 * 8 bytes a field or element (pointers are not compressed in Node), 24 an object or array, 16 + one byte a character
 * (two outside Latin-1) a string, 40 a Map or Set entry, and typed arrays at their length.
 */

const objectBytes = 24;
const slotBytes = 8;
const stringBytes = 16;
const hashEntryBytes = 40;

/** Bytes of everything reachable from the roots, each object and each distinct string once. */
export function retainedBytes(...roots: readonly unknown[]): number {
  const seen = new Set<unknown>();
  const open: unknown[] = [...roots];
  let bytes = 0;
  while (open.length > 0) {
    const value = open.pop();
    if ((typeof value !== "object" && typeof value !== "string") || value === null || seen.has(value))
      continue;
    seen.add(value);
    bytes += shallowBytes(value, open);
  }
  return bytes;
}

function shallowBytes(value: object | string, open: unknown[]): number {
  if (typeof value === "string") return stringBytes + value.length * (/[\u0100-\uffff]/.test(value) ? 2 : 1);
  if (ArrayBuffer.isView(value)) return objectBytes + value.byteLength;
  if (value instanceof Map) {
    for (const [key, item] of value) open.push(key, item);
    return objectBytes + value.size * hashEntryBytes;
  }
  if (value instanceof Set) {
    open.push(...value);
    return objectBytes + value.size * hashEntryBytes;
  }
  const fields: readonly unknown[] = Array.isArray(value) ? value : Object.values(value);
  for (const field of fields) open.push(field);
  return objectBytes + fields.length * slotBytes;
}
