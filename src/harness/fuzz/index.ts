export { captureOf, searchTables, type TableMismatch, type TableSearchResult } from "./tables.ts";
