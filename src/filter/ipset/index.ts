export { type IpsetCommand, maxelemDefault, SetCollection, setNameMax } from "./collection.ts";
export { Dimension, LiveSet } from "./live.ts";
export { hostEntry, type IpsetEntry, type IpsetRepr, type IpsetType } from "./repr.ts";
export { SlotState, WordTable } from "./table.ts";
