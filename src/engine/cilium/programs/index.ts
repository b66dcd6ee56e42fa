/**
 * The programs of a variant and where they are attached: the same on every node of every cluster, so that one frozen
 * object serves them all. What differs between nodes is in their maps.
 */
import { type Attachment, type ProgramRepr, ProgramType } from "../../../filter/bpf/index.ts";
import { fromContainer, toContainer } from "./container.ts";
import type { ProgramVariant } from "./emission.ts";
import { fromNetdev, toNetdev } from "./netdev.ts";

export type { ProgramVariant } from "./emission.ts";

export interface DatapathPrograms {
  readonly programs: readonly ProgramRepr[];
  readonly attachments: readonly Attachment[];
}

/** Of endpoints, by the name that the programs are attached to. */
export const endpointInterfaces = "lxc+";

const known = new Map<string, DatapathPrograms>();

/** One object for all variants whose programs are alike. */
export function datapathPrograms(variant: ProgramVariant): DatapathPrograms {
  const { version, generation, sctp, hostFirewall } = variant;
  const key = `${version} ${generation} ${sctp} ${hostFirewall}`;
  let made = known.get(key);
  if (made === undefined) {
    made = emit(variant);
    known.set(key, made);
  }
  return made;
}

function emit(variant: ProgramVariant): DatapathPrograms {
  const program = (name: string, instructions: ProgramRepr["instructions"]): ProgramRepr =>
    Object.freeze({ name, type: ProgramType.schedCls, instructions, isVerified: true });
  const attach = (direction: "ingress" | "egress", pattern: string, place: number): Attachment =>
    Object.freeze({ kind: "tc", direction, interface: pattern, program: place });
  return Object.freeze({
    programs: Object.freeze([
      program("cil_from_container", fromContainer(variant)),
      program("cil_to_container", toContainer(variant)),
      program("cil_from_netdev", fromNetdev(variant)),
      program("cil_to_netdev", toNetdev(variant)),
    ]),
    attachments: Object.freeze([
      attach("ingress", endpointInterfaces, 0),
      attach("egress", endpointInterfaces, 1),
      attach("ingress", "eth0", 2),
      attach("egress", "eth0", 3),
      attach("egress", "lo", 3),
    ]),
  });
}
