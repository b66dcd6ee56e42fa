/**
 * Targets of table mangle that edit the packet: TTL and HL, TOS, DSCP, TCPMSS; and CHECKSUM, which does nothing to a packet
 * whose checksum is there. Source: kernel net/netfilter/xt_HL.c, xt_DSCP.c, xt_TCPMSS.c, xt_CHECKSUM.c.
 */
import { parseRange } from "../matches/extension.ts";
import { dscpText, parseDscp, parseDscpClass, parseTos } from "../matches/packet-header.ts";
import type { Target } from "../target.ts";
import type { OptionValues, TargetReader, TargetTexts } from "./extension.ts";

const ttlActions = ["set", "inc", "dec"] as const;

function ttlTarget(prefix: "ttl" | "hl", family: 4 | 6): TargetReader {
  return {
    options: Object.fromEntries(
      ttlActions.map((action) => [`--${prefix}-${action}`, { values: 1 } as const]),
    ),
    tables: ["mangle"],
    families: [family],
    read: (options): Target => {
      const given = ttlActions.filter((action) => options.has(`--${prefix}-${action}`));
      const [action] = given;
      if (action === undefined || given.length > 1)
        throw options.incomplete(`one of --${prefix}-set, --${prefix}-inc, --${prefix}-dec is needed`);
      const value = options.read(
        `--${prefix}-${action}`,
        (text) => parseRange(text, 255)?.[0],
        "a number up to 255",
      );
      return { kind: "TTL", action, value: value ?? 0 };
    },
  };
}

const tosActions = ["--set-tos", "--and-tos", "--or-tos", "--xor-tos"] as const;

function readTos(options: OptionValues): Target {
  const given = tosActions.filter((name) => options.has(name));
  const [action] = given;
  if (action === undefined || given.length > 1)
    throw options.incomplete(`TOS needs exactly one of ${tosActions.join(", ")}`);
  const [value, mask] = options.read(action, parseTos, "a value, value/mask or name") ?? [0, 0];
  switch (action) {
    case "--set-tos":
      return { kind: "TOS", value, mask };
    case "--and-tos":
      return { kind: "TOS", value: 0, mask: ~value & 0xff };
    case "--or-tos":
      return { kind: "TOS", value, mask: value };
    case "--xor-tos":
      return { kind: "TOS", value, mask: 0 };
  }
}

export const editReaders: Readonly<Record<string, TargetReader>> = {
  TTL: ttlTarget("ttl", 4),
  HL: ttlTarget("hl", 6),
  TOS: {
    options: Object.fromEntries(tosActions.map((name) => [name, { values: 1 } as const])),
    tables: ["mangle"],
    read: readTos,
  },
  DSCP: {
    options: { "--set-dscp": { values: 1 }, "--set-dscp-class": { values: 1 } },
    tables: ["mangle"],
    read: (options) => {
      const value =
        options.read("--set-dscp", parseDscp, "a number below 64") ??
        options.read("--set-dscp-class", parseDscpClass, "a DiffServ class");
      if (value === undefined) throw options.incomplete("DSCP needs --set-dscp or --set-dscp-class");
      return { kind: "DSCP", value };
    },
  },
  TCPMSS: {
    options: { "--set-mss": { values: 1 }, "--clamp-mss-to-pmtu": { values: 0 } },
    protocols: [6],
    read: (options) => {
      const mss = options.read("--set-mss", (text) => parseRange(text, 0xffdb)?.[0], "a number");
      if ((mss === undefined) !== options.has("--clamp-mss-to-pmtu"))
        throw options.incomplete("TCPMSS needs --set-mss or --clamp-mss-to-pmtu");
      return { kind: "TCPMSS", mss: mss ?? "clamp" };
    },
  },
  CHECKSUM: {
    options: { "--checksum-fill": { values: 0 } },
    tables: ["mangle"],
    read: (options) => {
      if (!options.has("--checksum-fill")) throw options.incomplete("CHECKSUM needs --checksum-fill");
      return { kind: "CHECKSUM" };
    },
  },
};

const hex2 = (value: number): string => `0x${value.toString(16).padStart(2, "0")}`;

export const editTexts: TargetTexts<"TTL" | "TOS" | "DSCP" | "TCPMSS" | "CHECKSUM"> = {
  TTL: ({ action, value }, family) =>
    family === 6 ? `-j HL --hl-${action} ${value}` : `-j TTL --ttl-${action} ${value}`,
  TOS: ({ value, mask }) => `-j TOS --set-tos ${hex2(value)}/${hex2(mask)}`,
  DSCP: ({ value }) => `-j DSCP --set-dscp ${dscpText(value)}`,
  TCPMSS: ({ mss }) => `-j TCPMSS ${mss === "clamp" ? "--clamp-mss-to-pmtu" : `--set-mss ${mss}`}`,
  CHECKSUM: () => "-j CHECKSUM --checksum-fill",
};
