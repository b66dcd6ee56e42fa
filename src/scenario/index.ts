export { parseDuration } from "./duration.ts";
export { type End, formatEnd, parseEnd, type WorkloadKind } from "./end.ts";
export {
  type Expectation,
  expectationKeys,
  expectedValue,
  readExpectation,
  sameForAll,
} from "./expectation.ts";
export { expandFixture } from "./fixture.ts";
export { loadScenario, manifestFile, type ScenarioInput, type ScenarioLoadOptions } from "./load.ts";
export { type ExpectedCell, expandExpectedMatrix } from "./matrix.ts";
export { formatPort, readPort, type ScenarioPort } from "./port.ts";
export type {
  Attempt,
  ExpectedVerdict,
  InjectedPacket,
  ManifestText,
  MatrixExpectation,
  MatrixOverride,
  ProbeOutcome,
  Scenario,
  ScenarioCluster,
  ScenarioNodePool,
  SendOutcome,
  Step,
} from "./scenario.ts";
export { type RawFixture, type RawPod, scenarioJsonSchema } from "./schema.ts";
