/**
 * The conditions that every rule can have: addresses, interfaces, protocol, fragment. Linked as code words.
 * Source: kernel net/ipv4/netfilter/ip_tables.c (ip_packet_match), iptables(8) PARAMETERS.
 */
import { formatCidr } from "../../../addr/index.ts";
import { protocolText } from "../../protocols.ts";
import type { HeadMatch } from "../match.ts";
import { bang, isOrNot, type MatchKinds, rowAddressText } from "./extension.ts";

export const headKinds: MatchKinds<HeadMatch["kind"]> = {
  source: {
    text: (match) => `${bang(match)}-s ${formatCidr(match.net)}`,
    explain: (match, context) =>
      `source ${rowAddressText(context, "src")} ${isOrNot(match)} in ${formatCidr(match.net)}`,
  },
  destination: {
    text: (match) => `${bang(match)}-d ${formatCidr(match.net)}`,
    explain: (match, context) =>
      `destination ${rowAddressText(context, "dst")} ${isOrNot(match)} in ${formatCidr(match.net)}`,
  },
  "in-interface": {
    text: (match) => `${bang(match)}-i ${match.name}`,
    explain: (match, { batch, row, interfaceName }) =>
      `incoming interface ${interfaceName(batch.state.iif[row]!)} ${isOrNot(match)} ${match.name}`,
  },
  "out-interface": {
    text: (match) => `${bang(match)}-o ${match.name}`,
    explain: (match, { batch, row, interfaceName }) =>
      `outgoing interface ${interfaceName(batch.state.oif[row]!)} ${isOrNot(match)} ${match.name}`,
  },
  protocol: {
    text: (match) => `${bang(match)}-p ${protocolText(match.protocol)}`,
    explain: (match, { packet }) =>
      `protocol ${packet.protocol} ${isOrNot(match)} ${protocolText(match.protocol)}`,
  },
  fragment: {
    text: (match) => `${bang(match)}-f`,
    explain: (match) => `the packet ${isOrNot(match)} a fragment other than the first`,
  },
};
