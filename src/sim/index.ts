export { type ConnectionAttempt, firstPacket, type Judgement, judgeConnection, readIp } from "./judge.ts";
export { createEventLoop, type EventLoop } from "./loop.ts";
export {
  type Disposition,
  Network,
  type NetworkOptions,
  type PacketFate,
  type TapEvent,
} from "./network.ts";
export { type HookWatcher, type KeptState, NodeStack, paths, type SentBack, walkNode } from "./path.ts";
export type {
  EndpointSpec,
  FrontendPortSpec,
  FrontendSpec,
  InterfaceSpec,
  ListenerSpec,
  NetworkSpec,
  NodeSpec,
  RouteSpec,
} from "./spec.ts";
export {
  type ConnectOutcome,
  type Flow,
  type FlowProtocol,
  type FlowRequest,
  Hosts,
  type SendOutcome,
} from "./stack/hosts.ts";
