/**
 * The BPF kind as data (the Repr): maps, programs and where they are attached. Programs name maps by their place in
 * `maps`; the entries of program arrays hold places in `programs`, those of maps of maps places in `maps`.
 */
import type { Origin, Questions } from "../../base/index.ts";
import type { ProgramType } from "./context.ts";
import type { Instruction } from "./insn.ts";
import { wordBytes } from "./maps/nested.ts";
import type { MapEntry, MapRepr } from "./maps/shape.ts";
import type { BpfObject } from "./object/object.ts";

export interface ProgramRepr {
  readonly name: string;
  readonly type: ProgramType;
  readonly instructions: readonly Instruction[];
  /** A verifier has taken it, with these maps. Absent: it runs under the machine's guards, whatever it does. */
  readonly isVerified?: true;
  readonly origin?: Origin;
}

/**
 * `tc`: a filter of clsact in direct-action mode; `tcx`: the same hook's newer form; `xdp`: before the stack; `match`: a
 * socket filter asked at tc, whose zero drops.
 */
export type AttachKind = "tc" | "tcx" | "xdp" | "match";

export interface Attachment {
  readonly kind: AttachKind;
  readonly direction: "ingress" | "egress";
  /** Interface name; a trailing `+` stands for any ending. */
  readonly interface: string;
  /** Place in `programs`. */
  readonly program: number;
}

/** Everything of the BPF kind on one node. */
export interface BpfTables {
  readonly maps: readonly MapRepr[];
  readonly programs: readonly ProgramRepr[];
  /** In the order in which programs of one hook run. */
  readonly attachments: readonly Attachment[];
  /**
   * What verdicts on new connections depend on, as who made these programs and maps states it; made when asked. Programs do
   * not say it themselves: a node whose tables state nothing is walked.
   */
  readonly questions?: () => Questions | undefined;
}

/** What a map is made with: its base, without the keys that its own entries replace, and these. */
export function contentOf({ base = [], entries }: MapRepr): readonly MapEntry[] {
  if (entries.length === 0) return base;
  if (base.length === 0) return entries;
  const own = new Set(entries.map(({ key }) => key.join()));
  return [...base.filter(({ key }) => !own.has(key.join())), ...entries];
}

export const noBpfTables: BpfTables = Object.freeze({ maps: [], programs: [], attachments: [] });

/** An object's maps, with their initial content, and its programs of known type. Nothing is attached. */
export function tablesOfObject(object: BpfObject, origin?: Origin): BpfTables {
  const typed = object.programs.flatMap(({ name, type, instructions }) =>
    type === undefined ? [] : [{ name, type, instructions, ...(origin === undefined ? {} : { origin }) }],
  );
  const maps = object.maps.map(({ shape, content, slots }): MapRepr => {
    const entries: MapEntry[] = content === undefined ? [] : [{ key: wordBytes(0), value: content.slice() }];
    for (const { index, symbol } of slots) {
      const map = object.maps.findIndex((one) => one.shape.name === symbol.name);
      const place = map >= 0 ? map : typed.findIndex((one) => one.name === symbol.name);
      if (place >= 0) entries.push({ key: wordBytes(index), value: wordBytes(place) });
    }
    return { ...shape, entries };
  });
  return { maps, programs: typed, attachments: [] };
}
