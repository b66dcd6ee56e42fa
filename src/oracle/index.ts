export type {
  WrittenCidrGroup,
  WrittenPolicy,
  WrittenRule,
  WrittenSelector,
  WrittenSpec,
} from "./cilium/documents.ts";
export {
  type CiliumAnswer,
  type CiliumReadingOptions,
  createCiliumReading,
  defaultCiliumReading,
} from "./cilium/reading.ts";
export type { ExplainedLine } from "./explain.ts";
export { createOracle, type Oracle, type OracleAnswer } from "./oracle.ts";
export {
  defaultReadings,
  type OracleReadings,
  oracleReadings,
  parseOracleReadings,
  type ReadingSpec,
} from "./readings.ts";
export { isToService, type ServiceRoutes, serviceRoutes } from "./service-routes.ts";
