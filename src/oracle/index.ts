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
