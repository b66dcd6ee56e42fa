/** Why the datapath drops (bpf/lib/drop_reasons.h): the positive numbers, as events and metrics have them. */

export const Reason = {
  invalidSource: 132,
  policyDenied: 133,
  invalid: 134,
  invalidHeader: 135,
  unknownTransport: 137,
  unknownNetwork: 139,
  writeError: 141,
  connectionNotCreated: 155,
  invalidExtension: 156,
  fragmentsUnsupported: 157,
  noBackend: 158,
  noMapping: 167,
  fragmentNotFound: 175,
  forbiddenIcmp: 176,
  notInSourceRange: 177,
  deniedByRule: 181,
  endpointNotReady: 203,
} as const;

/** As `cilium monitor` and Hubble word them. */
export const reasonText: Readonly<Record<number, string>> = {
  132: "Invalid source ip",
  133: "Policy denied",
  134: "Invalid packet",
  135: "CT: Truncated or invalid header",
  137: "CT: Unknown L4 protocol",
  139: "Unsupported L3 protocol",
  141: "Error writing to packet",
  155: "CT: Map insertion failed",
  156: "Invalid IPv6 extension header",
  157: "IP fragmentation not supported",
  158: "Service backend not found",
  167: "No mapping for NAT masquerade",
  175: "Fragment not found",
  176: "Forbidden ICMPv6 message",
  177: "Not in src range",
  181: "Policy denied by denylist",
  203: "Endpoint is not ready",
};
