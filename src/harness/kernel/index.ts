export { BpfJudge, BpfRefusal, type KernelRun, startBpfJudge } from "./bpf-judge.ts";
export {
  type ClusterDifferential,
  compareClusterWithKernel,
  type NodeDifference,
} from "./cluster-differential.ts";
export { type EmulatedFate, EmulatedNode } from "./emulated-node.ts";
export { type KernelFate, type KernelOutput, readFate } from "./fate.ts";
export type { InjectorWay } from "./injector.ts";
export { type JudgedNode, judgedInterfacesMax, judgedNodeOf, twoDeviceNode } from "./judged-node.ts";
export {
  type JudgedPacket,
  type JudgedTables,
  type JudgeOptions,
  type KernelBackend,
  type KernelJudge,
  KernelRefusal,
  type KernelState,
  startKernelJudge,
  type ToolResult,
} from "./kernel-judge.ts";
export { compiledProgram, findCompiler } from "./native.ts";
export { type KernelTrace, traceLastPacket } from "./trace.ts";
