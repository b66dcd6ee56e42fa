/**
 * Targets that end a packet's way or report it: ACCEPT, DROP, RETURN, REJECT, LOG, NFLOG, TRACE, NFQUEUE, AUDIT.
 * Source: iptables-extensions(8); kernel net/ipv4/netfilter/ipt_REJECT.c, net/netfilter/xt_LOG.c, xt_NFLOG.c, xt_NFQUEUE.c.
 */

import type { Ip } from "../../../addr/index.ts";
import { RejectKind } from "../../verdict.ts";
import { hex, ipText, parseIpOf, parseMark, parseRange } from "../matches/extension.ts";
import { quote } from "../matches/node.ts";
import type { LogFlag, Target } from "../target.ts";
import type { OptionValues, RuleContext, TargetReader, TargetTexts } from "./extension.ts";

type RejectName = readonly [kind: RejectKind, name: string, short: string];

const rejects4: readonly RejectName[] = [
  [RejectKind.netUnreachable, "icmp-net-unreachable", "net-unreach"],
  [RejectKind.hostUnreachable, "icmp-host-unreachable", "host-unreach"],
  [RejectKind.protoUnreachable, "icmp-proto-unreachable", "proto-unreach"],
  [RejectKind.portUnreachable, "icmp-port-unreachable", "port-unreach"],
  [RejectKind.netProhibited, "icmp-net-prohibited", "net-prohib"],
  [RejectKind.hostProhibited, "icmp-host-prohibited", "host-prohib"],
  [RejectKind.tcpReset, "tcp-reset", "tcp-rst"],
  [RejectKind.adminProhibited, "icmp-admin-prohibited", "admin-prohib"],
];

const rejects6: readonly RejectName[] = [
  [RejectKind.noRoute, "icmp6-no-route", "no-route"],
  [RejectKind.adminProhibited, "icmp6-adm-prohibited", "adm-prohibited"],
  [RejectKind.addrUnreachable, "icmp6-addr-unreachable", "addr-unreach"],
  [RejectKind.portUnreachable, "icmp6-port-unreachable", "port-unreach"],
  [RejectKind.tcpReset, "tcp-reset", "tcp-reset"],
  [RejectKind.policyFail, "icmp6-policy-fail", "policy-fail"],
  [RejectKind.rejectRoute, "icmp6-reject-route", "reject-route"],
];

const rejectsOf = (family: 4 | 6): readonly RejectName[] => (family === 6 ? rejects6 : rejects4);
const tcp = 6;

function readReject(options: OptionValues, { family, protocol }: RuleContext): Target {
  const kind =
    options.read(
      "--reject-with",
      (text) => rejectsOf(family).find(([, name, short]) => name === text || short === text)?.[0],
      "the name of an answer",
    ) ?? RejectKind.portUnreachable;
  if (kind === RejectKind.tcpReset && protocol !== tcp)
    throw options.words.fail("invalid", options.place, "REJECT with tcp-reset needs -p tcp");
  return { kind: "REJECT", with: kind };
}

const logLevels = ["emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"];
const logLevelDefault = 4;
const logPrefixMax = 29;
const nflogPrefixMax = 63;
const logFlags: readonly LogFlag[] = ["tcp-sequence", "tcp-options", "ip-options", "uid", "macdecode"];

function prefixOf(options: OptionValues, name: string, most: number): string {
  const word = options.word(name);
  if (word !== undefined && word.text.length > most)
    throw options.words.fail("too-large", word, `${name} holds at most ${most} characters`);
  return word?.text ?? "";
}

function readLog(options: OptionValues): Target {
  const level = options.read(
    "--log-level",
    (text) => {
      const named = logLevels.indexOf(text.toLowerCase());
      return named >= 0 ? named : parseRange(text, 7)?.[0];
    },
    "a log level",
  );
  const flags = logFlags.filter((flag) => options.has(`--log-${flag}`));
  return {
    kind: "LOG",
    prefix: prefixOf(options, "--log-prefix", logPrefixMax),
    level: level ?? logLevelDefault,
    ...(flags.length === 0 ? {} : { flags }),
  };
}

function readNflog(options: OptionValues): Target {
  const number = (name: string, most: number): number | undefined =>
    options.read(`--nflog-${name}`, (text) => parseRange(text, most)?.[0], `a number up to ${most}`);
  const [range, size, threshold] = [
    number("range", 0xffffffff),
    number("size", 0xffffffff),
    number("threshold", 0xffff),
  ];
  return {
    kind: "NFLOG",
    prefix: prefixOf(options, "--nflog-prefix", nflogPrefixMax),
    group: number("group", 0xffff) ?? 0,
    ...(range === undefined ? {} : { range }),
    ...(size === undefined ? {} : { size }),
    ...(threshold === undefined || threshold <= 1 ? {} : { threshold }),
  };
}

function readNfqueue(options: OptionValues): Target {
  const number = options.read("--queue-num", (text) => parseRange(text)?.[0], "a queue number");
  const balance = options.read("--queue-balance", (text) => parseRange(text), "a range of queues");
  if (number !== undefined && balance !== undefined)
    throw options.incomplete("--queue-num and --queue-balance exclude each other");
  const [from, to] = balance ?? [number ?? 0, number ?? 0];
  return {
    kind: "NFQUEUE",
    from,
    to,
    ...(options.has("--queue-bypass") ? { bypass: true } : {}),
    ...(options.has("--queue-cpu-fanout") ? { cpuFanout: true } : {}),
  };
}

function readTproxy(options: OptionValues, { family }: RuleContext): Target {
  const port = options.read("--on-port", (text) => parseRange(text)?.[0], "a port");
  if (port === undefined) throw options.incomplete("target TPROXY needs --on-port");
  const ip = options.read("--on-ip", (text) => parseIpOf(family, text), `an IPv${family} address`);
  const [value, mask] = options.read("--tproxy-mark", parseMark, "a mark or mark/mask of 32 bits") ?? [0, 0];
  const none: Ip = { family, words: family === 4 ? [0] : [0, 0, 0, 0] };
  return { kind: "TPROXY", port, ip: ip ?? none, value, mask };
}

export const verdictReaders: Readonly<Record<string, TargetReader>> = {
  ACCEPT: { options: {}, read: () => ({ kind: "ACCEPT" }) },
  DROP: { options: {}, read: () => ({ kind: "DROP" }) },
  RETURN: { options: {}, read: () => ({ kind: "RETURN" }) },
  REJECT: { options: { "--reject-with": { values: 1 } }, tables: ["filter"], read: readReject },
  LOG: {
    options: {
      "--log-prefix": { values: 1 },
      "--log-level": { values: 1 },
      ...Object.fromEntries(logFlags.map((flag) => [`--log-${flag}`, { values: 0 } as const])),
    },
    read: readLog,
  },
  NFLOG: {
    options: {
      "--nflog-prefix": { values: 1 },
      "--nflog-group": { values: 1 },
      "--nflog-range": { values: 1 },
      "--nflog-size": { values: 1 },
      "--nflog-threshold": { values: 1 },
    },
    read: readNflog,
  },
  TRACE: { options: {}, tables: ["raw"], read: () => ({ kind: "TRACE" }) },
  NFQUEUE: {
    options: {
      "--queue-num": { values: 1 },
      "--queue-balance": { values: 1 },
      "--queue-bypass": { values: 0 },
      "--queue-cpu-fanout": { values: 0 },
    },
    read: readNfqueue,
  },
  TPROXY: {
    options: { "--on-port": { values: 1 }, "--on-ip": { values: 1 }, "--tproxy-mark": { values: 1 } },
    tables: ["mangle"],
    protocols: [6, 17],
    chains: ["PREROUTING"],
    read: readTproxy,
  },
  AUDIT: {
    options: { "--type": { values: 1 } },
    read: (options) => {
      const type = options.read(
        "--type",
        (text) => (["accept", "drop", "reject"] as const).find((name) => name === text),
        "accept, drop or reject",
      );
      if (type === undefined) throw options.incomplete("target AUDIT needs --type");
      return { kind: "AUDIT", type };
    },
  },
};

export const verdictTexts: TargetTexts<
  | "ACCEPT"
  | "DROP"
  | "RETURN"
  | "REJECT"
  | "jump"
  | "goto"
  | "LOG"
  | "NFLOG"
  | "TRACE"
  | "NFQUEUE"
  | "TPROXY"
  | "AUDIT"
> = {
  ACCEPT: () => "-j ACCEPT",
  DROP: () => "-j DROP",
  RETURN: () => "-j RETURN",
  REJECT: (target, family) =>
    `-j REJECT --reject-with ${rejectsOf(family).find(([kind]) => kind === target.with)?.[1] ?? ""}`,
  jump: ({ chain }) => `-j ${chain}`,
  goto: ({ chain }) => `-g ${chain}`,
  LOG: ({ prefix, level, flags }) =>
    [
      "-j LOG",
      prefix === "" ? "" : ` --log-prefix ${quote(prefix)}`,
      level === logLevelDefault ? "" : ` --log-level ${level}`,
      ...(flags ?? []).map((flag) => ` --log-${flag}`),
    ].join(""),
  NFLOG: ({ prefix, group, range, size, threshold }) => {
    const option = (name: string, value: number | undefined): string =>
      value === undefined ? "" : ` --nflog-${name} ${value}`;
    const words = prefix === "" ? "" : ` --nflog-prefix ${quote(prefix)}`;
    return `-j NFLOG${words}${option("group", group === 0 ? undefined : group)}${option("range", range)}${option("size", size)}${option("threshold", threshold)}`;
  },
  TRACE: () => "-j TRACE",
  NFQUEUE: ({ from, to, bypass, cpuFanout }) =>
    `-j NFQUEUE ${from === to ? `--queue-num ${from}` : `--queue-balance ${from}:${to}`}${bypass ? " --queue-bypass" : ""}${cpuFanout ? " --queue-cpu-fanout" : ""}`,
  TPROXY: ({ port, ip, value, mask }) =>
    `-j TPROXY --on-port ${port} --on-ip ${ipText(ip)} --tproxy-mark ${hex(value)}/${hex(mask)}`,
  AUDIT: ({ type }) => `-j AUDIT --type ${type}`,
};
