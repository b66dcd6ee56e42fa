export { type IpsetCommand, maxelemDefault, SetCollection, setNameMax } from "./collection.ts";
export { internInterface } from "./key.ts";
export { LiveSet, type SetNode } from "./live.ts";
export { type CounterCondition, type Lookup, LookupFlag, type Member } from "./member.ts";
export { hostEntry, type IpsetEntry, type IpsetOptions, type IpsetRepr, type IpsetType } from "./repr.ts";
export { type IpsetLine, parseIpsetCommands, restoreIpsets } from "./restore.ts";
export { entryText, saveIpsets } from "./save.ts";
export { dimensionBits } from "./shape.ts";
export { SlotState, WordTable } from "./table.ts";
