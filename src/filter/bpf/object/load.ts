/** Puts an object into a space: maps with their initial content, programs, and the slots that name either. */
import { InputError } from "../../../base/index.ts";
import { wordBytes } from "../maps/nested.ts";
import { UpdateFlag } from "../maps/shape.ts";
import type { BpfSpace } from "../space.ts";
import type { MapDefinition } from "./map-definitions.ts";
import type { BpfObject } from "./object.ts";

export interface LoadedObject {
  /** Numbers in the space, by name. */
  readonly maps: ReadonlyMap<string, number>;
  readonly programs: ReadonlyMap<string, number>;
}

/** @throws InputError for what the space refuses. */
export function loadObject(space: BpfSpace, object: BpfObject): LoadedObject {
  const numbers = object.maps.map((map) => createMap(space, map));
  const maps = new Map(object.maps.map(({ shape }, i) => [shape.name, numbers[i] as number]));
  const programs = new Map(
    object.programs.map(({ name, instructions }) => [
      name,
      space.loadProgram(name, instructions, (imm) => numbers[imm]),
    ]),
  );
  object.maps.forEach((map, i) => {
    for (const { index, symbol } of map.slots) {
      const held = maps.get(symbol.name) ?? programs.get(symbol.name);
      const status =
        held === undefined ? undefined : setSlot(space, numbers[i] as number, index, wordBytes(held));
      if (status !== 0) throw refused(object, map, `slot ${index} cannot hold ${symbol.name}`);
    }
  });
  return { maps, programs };
}

function createMap(space: BpfSpace, { shape, content }: MapDefinition): number {
  const number = space.createMap(shape);
  if (content !== undefined) setSlot(space, number, 0, content);
  return number;
}

function setSlot(space: BpfSpace, map: number, index: number, value: Uint8Array): number | undefined {
  return space.map(map)?.update(wordBytes(index), 0, value, 0, UpdateFlag.any);
}

function refused({ file }: BpfObject, { shape }: MapDefinition, message: string): InputError {
  return new InputError([{ code: "refused", path: "", message: `map ${shape.name}: ${message}`, file }]);
}
