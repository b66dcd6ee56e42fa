/** Helpers that send to user space: perf events, ring buffers, the trace log (kernel/trace/bpf_trace.c, kernel/bpf/ringbuf.c). */

import { BpfStop } from "../fault.ts";
import type { Helper } from "../machine-options.ts";
import { RingBuffer } from "../maps/ring.ts";
import { Errno, MapType } from "../maps/shape.ts";
import type { BpfMachine } from "../vm.ts";
import { hasOtherFlags, mapArgument, memoryArgument, u32 } from "./arguments.ts";
import type { HelperEnvironment } from "./environment.ts";

/** BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP. */
const wakeupFlags = 3;
/** BPF_F_INDEX_MASK as a signed word: the current processor. */
const currentCpu = -1;

export function outputHelpers(environment: HelperEnvironment): readonly (readonly [number, Helper])[] {
  return [
    [25, (machine) => machine.setResult(perfOutput(machine, environment))],
    [6, (machine) => machine.setResult(trace(machine, environment))],
    [130, (machine) => machine.setResult(ringOutput(machine, environment))],
    [
      131,
      (machine) => {
        const ring = ringArgument(machine, environment);
        const isGood = !hasOtherFlags(machine, 3, 0) && machine.high(2) === 0;
        machine.setResult64(isGood ? ring.reserve(u32(machine, 2)) : 0, 0);
      },
    ],
    [132, (machine) => finish(machine, environment, false)],
    [133, (machine) => finish(machine, environment, true)],
    [134, (machine) => machine.setResult64(query(machine, environment), 0)],
  ];
}

function perfOutput(machine: BpfMachine, environment: HelperEnvironment): number {
  const map = mapArgument(machine, 2, environment);
  if (map.shape.type !== MapType.perfEventArray) throw new BpfStop("helper", "r2 is no perf event array");
  const size = u32(machine, 5);
  const at = memoryArgument(machine, 4, size);
  const contextBytes = machine.high(3);
  if (contextBytes >>> 20 !== 0) return -Errno.EINVAL;
  const { packet } = environment;
  if (contextBytes > (packet?.length ?? 0)) return -Errno.EFAULT;
  const index = machine.low(3) === currentCpu ? 0 : u32(machine, 3);
  if (index >= map.shape.maxEntries) return -Errno.E2BIG;
  const { bytes } = machine.memory;
  const record = new Uint8Array(size + contextBytes);
  record.set(bytes.subarray(at, at + size));
  if (packet !== undefined && contextBytes > 0)
    record.set(bytes.subarray(packet.data, packet.data + contextBytes), size);
  environment.events.push({ kind: "perf", map: map.shape.name, bytes: record });
  return 0;
}

function ringArgument(machine: BpfMachine, environment: HelperEnvironment): RingBuffer {
  const map = mapArgument(machine, 1, environment);
  if (!(map instanceof RingBuffer)) throw new BpfStop("helper", "r1 is no ring buffer");
  return map;
}

function ringOutput(machine: BpfMachine, environment: HelperEnvironment): number {
  const ring = ringArgument(machine, environment);
  const size = u32(machine, 3);
  const from = memoryArgument(machine, 2, size);
  if (hasOtherFlags(machine, 4, wakeupFlags)) return -Errno.EINVAL;
  const at = ring.reserve(size);
  if (at === 0) return -Errno.EAGAIN;
  machine.memory.bytes.copyWithin(at, from, from + size);
  ring.finish(at, false);
  return 0;
}

function finish(machine: BpfMachine, { space }: HelperEnvironment, isDiscarded: boolean): void {
  const address = u32(machine, 1);
  const isRecord = machine.high(1) === 0 && space.rings().some((ring) => ring.finish(address, isDiscarded));
  if (!isRecord) throw new BpfStop("helper", "r1 is no reserved record");
}

function query(machine: BpfMachine, environment: HelperEnvironment): number {
  const ring = ringArgument(machine, environment);
  switch (machine.low(2)) {
    case 0:
      return ring.pendingBytes;
    case 1:
      return ring.shape.maxEntries;
    case 2:
      return ring.consumer | 0;
    case 3:
      return ring.producer | 0;
    default:
      return 0;
  }
}

/** A line of the trace log: `%d %i %u %x %p %s %c` and `%%`, with `l` and `ll`, for at most three arguments. */
function trace(machine: BpfMachine, { events, space }: HelperEnvironment): number {
  const size = u32(machine, 2);
  const at = memoryArgument(machine, 1, size);
  const { bytes } = space.memory;
  const end = bytes.subarray(at, at + size).indexOf(0);
  if (end < 0) return -Errno.EINVAL;
  const format = new TextDecoder().decode(bytes.subarray(at, at + end));
  let next = 3;
  let isBad = false;
  const text = format.replaceAll(
    /%(?:%|(l{0,2})([diuxpsc])|.?)/g,
    (match, long: string | undefined, kind?: string) => {
      if (match === "%%") return "%";
      if (kind === undefined || next > 5) {
        isBad = true;
        return "";
      }
      return formatArgument(machine, next++, kind, (long ?? "") !== "");
    },
  );
  if (isBad) return -Errno.EINVAL;
  events.push({ kind: "trace", map: "", bytes: new TextEncoder().encode(text) });
  return text.length;
}

function formatArgument(machine: BpfMachine, register: number, kind: string, isLong: boolean): string {
  const [low, high] = [machine.low(register), machine.high(register)];
  const isWide = isLong || kind === "p";
  const unsigned = isWide ? (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0) : BigInt(low >>> 0);
  switch (kind) {
    case "d":
    case "i":
      return String(BigInt.asIntN(isWide ? 64 : 32, unsigned));
    case "u":
      return String(unsigned);
    case "c":
      return String.fromCharCode(low & 0xff);
    case "s": {
      const { bytes } = machine.memory;
      let at = machine.pointer(register, 1, false);
      let text = "";
      while (bytes[at] !== 0 && text.length < 128) {
        text += String.fromCharCode(bytes[at]!);
        at = machine.memory.locate(at + 1, 0, 1, false);
      }
      return text;
    }
    default:
      return unsigned.toString(16);
  }
}
