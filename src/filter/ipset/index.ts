export { type IpsetCommand, maxelemDefault, SetCollection, setNameMax } from "./collection.ts";
export { Dimension, LiveSet } from "./live.ts";
export { hostEntry, type IpsetEntry, type IpsetRepr, type IpsetType } from "./repr.ts";
export { type IpsetLine, parseIpsetCommands, restoreIpsets } from "./restore.ts";
export { entryText, saveIpsets } from "./save.ts";
export { SlotState, WordTable } from "./table.ts";
