export {
  type AksFacts,
  type AksRefusal,
  type AksRetirement,
  type AksRule,
  aksFacts,
  aksRefusals,
  aksRetirements,
  aksRules,
  npmNodesMax,
  npmPodsMax,
  overlapReason,
  overlapRule,
  poolFacts,
} from "./aks-rules.ts";
export {
  applyObjects,
  type BuildOptions,
  buildCluster,
  deleteObject,
  emptyCluster,
  setLabels,
} from "./build.ts";
export { type StateChange, stateChanges, type WatchedObject } from "./changes.ts";
export type {
  Cell,
  CellEnd,
  CellProtocol,
  ClusterOptions,
  ClusterState,
  Connection,
  NodePool,
  ServiceAccess,
  ServiceEnd,
  Translation,
} from "./cluster.ts";
export type { BuiltCluster } from "./editor.ts";
export { Fields } from "./fields.ts";
export { hasInterface, kubenetBridge, podInterfaceName, podInterfacePattern } from "./interfaces.ts";
export {
  type LoadedObjects,
  type LoadOptions,
  loadManifests,
  loadObjects,
  noObjects,
  type VendorKind,
} from "./load.ts";
export { locate } from "./locate.ts";
export { mentionsOf, selectorKeys } from "./mentions.ts";
export { labelKeyFaults, labelValueFaults, portNameFaults } from "./names.ts";
export { type ClusterWords, parseClusterOptions } from "./options.ts";
export { type ManifestInput, parseValue } from "./parse.ts";
export { isEnded } from "./phase.ts";
export { formatSelector, matchesSelector } from "./selector.ts";
export type {
  ApiObject,
  ContainerPort,
  Endpoint,
  EndpointSlice,
  IpBlock,
  LabelSelector,
  LabelSelectorRequirement,
  Labels,
  Mentions,
  Namespace,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicyRule,
  Node,
  OwnerRef,
  Pod,
  Protocol,
  Service,
  ServicePort,
  VendorObject,
} from "./types.ts";
