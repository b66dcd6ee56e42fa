/** Targets of table nat: DNAT, SNAT, MASQUERADE, REDIRECT, NETMAP. Source: iptables-extensions(8), kernel xt_nat.c. */
import { type Cidr, formatCidr, formatWords, parseIp } from "../../../addr/index.ts";
import type { Word } from "../../words.ts";
import type { Range } from "../match.ts";
import { parsePortName } from "../matches/extension.ts";
import { parseNet } from "../net.ts";
import type { NatRange, NatTarget, Target } from "../target.ts";
import type { OptionValues, RuleContext, TargetReader, TargetTexts } from "./extension.ts";

/** Protocols with ports that nat can choose. */
const portProtocols = [6, 17, 33, 132, 136];

/** `a` or `a-b`. */
function parsePorts(text: string): Range | undefined {
  const [lowText, highText, ...rest] = text.split("-");
  const low = parsePortName(lowText ?? "");
  const high = highText === undefined ? low : parsePortName(highText);
  return low === undefined || high === undefined || low > high || low === 0 || rest.length > 0
    ? undefined
    : [low, high];
}

function hostPrefix(text: string, family: 4 | 6): Cidr | undefined {
  const ip = parseIp(text);
  return ip?.family === family ? { ...ip, prefix: family === 4 ? 32 : 128 } : undefined;
}

/** `a`, `a-b`, `:ports`, with `:ports[/base]`; IPv6 addresses with ports stand in brackets. */
function parseNatRange(text: string, family: 4 | 6): NatRange | undefined {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(text);
  const colon = family === 4 || /^:(?!:)/.test(text) ? text.indexOf(":") : -1;
  const plain = colon < 0 ? [text, undefined] : [text.slice(0, colon), text.slice(colon + 1)];
  const [addresses = "", portText] = bracketed !== null ? [bracketed[1], bracketed[2]] : plain;
  const [minText = "", maxText, ...rest] = addresses.split("-");
  const min = minText === "" ? undefined : hostPrefix(minText, family);
  const max = maxText === undefined ? min : hostPrefix(maxText, family);
  const isGood = rest.length === 0 && (min === undefined) === (max === undefined);
  if (!isGood || (min === undefined && (minText !== "" || portText === undefined))) return undefined;
  if (portText === undefined) return { min, max };
  const [rangeText = "", baseText, ...more] = portText.split("/");
  const ports = parsePorts(rangeText);
  const portBase = baseText === undefined ? undefined : parsePortName(baseText);
  if (ports === undefined || more.length > 0 || (baseText !== undefined && portBase === undefined))
    return undefined;
  return { min, max, ports, ...(portBase === undefined ? {} : { portBase }) };
}

function needPortProtocol(options: OptionValues, word: Word | undefined, { protocol }: RuleContext): void {
  if (!portProtocols.includes(protocol ?? 0))
    throw options.words.fail("invalid", word, "ports need -p with a protocol that has ports");
}

const flagNames = {
  randomly: "--random",
  randomFully: "--random-fully",
  persistent: "--persistent",
} as const;
type Flag = keyof typeof flagNames;

function readFlags(options: OptionValues, flags: readonly Flag[]): { readonly [F in Flag]?: true } {
  return Object.fromEntries(flags.filter((flag) => options.has(flagNames[flag])).map((flag) => [flag, true]));
}

function addressTarget(
  kind: "DNAT" | "SNAT",
  option: string,
  flags: readonly Flag[],
  chains: readonly string[],
): TargetReader {
  return {
    options: {
      [option]: { values: 1 },
      "--to": { values: 1, as: option },
      ...Object.fromEntries(flags.map((flag) => [flagNames[flag], { values: 0 } as const])),
    },
    tables: ["nat"],
    chains,
    read: (options, rule): Target => {
      const to = options.read(
        option,
        (text) => parseNatRange(text, rule.family),
        "an address or range of addresses with optional ports",
      );
      if (to === undefined) throw options.incomplete(`target ${kind} needs ${option}`);
      if (to.ports !== undefined) needPortProtocol(options, options.word(option), rule);
      return { kind, to, ...readFlags(options, flags) };
    },
  };
}

function portTarget(
  kind: "MASQUERADE" | "REDIRECT",
  flags: readonly Flag[],
  chains: readonly string[],
): TargetReader {
  return {
    options: {
      "--to-ports": { values: 1 },
      ...Object.fromEntries(flags.map((flag) => [flagNames[flag], { values: 0 } as const])),
    },
    tables: ["nat"],
    chains,
    read: (options, rule): Target => {
      const ports = options.read("--to-ports", parsePorts, "a port or range of ports");
      if (ports !== undefined) needPortProtocol(options, options.word("--to-ports"), rule);
      return { kind, ...(ports === undefined ? {} : { ports }), ...readFlags(options, flags) };
    },
  };
}

const destinationChains = ["PREROUTING", "OUTPUT"];
const sourceChains = ["POSTROUTING", "INPUT"];

export const natReaders: Readonly<Record<string, TargetReader>> = {
  DNAT: addressTarget("DNAT", "--to-destination", ["randomly", "persistent"], destinationChains),
  SNAT: addressTarget("SNAT", "--to-source", ["randomly", "randomFully", "persistent"], sourceChains),
  MASQUERADE: portTarget("MASQUERADE", ["randomly", "randomFully"], ["POSTROUTING"]),
  REDIRECT: portTarget("REDIRECT", ["randomly"], destinationChains),
  NETMAP: {
    options: { "--to": { values: 1 } },
    tables: ["nat"],
    read: (options, { family }) => {
      const to = options.read("--to", (text) => parseNet(text, family), `an IPv${family} prefix`);
      if (to === undefined) throw options.incomplete("target NETMAP needs --to");
      return { kind: "NETMAP", to };
    },
  },
};

const portsText = ([min, max]: Range): string => (min === max ? `${min}` : `${min}-${max}`);

function rangeText({ min, max, ports, portBase }: NatRange, family: 4 | 6): string {
  const host = (net: Cidr): string => formatWords(net.family, net.words);
  const [from, to] = [min === undefined ? "" : host(min), max === undefined ? "" : host(max)];
  const address = from === to ? from : `${from}-${to}`;
  if (ports === undefined) return address;
  const base = portBase === undefined ? "" : `/${portBase}`;
  return `${family === 6 && address !== "" ? `[${address}]` : address}:${portsText(ports)}${base}`;
}

function flagsText(target: { readonly [F in Flag]?: boolean }): string {
  return (["randomly", "randomFully", "persistent"] as const)
    .filter((flag) => target[flag])
    .map((flag) => ` ${flagNames[flag]}`)
    .join("");
}

export const natTexts: TargetTexts<NatTarget["kind"]> = {
  DNAT: (target, family) => `-j DNAT --to-destination ${rangeText(target.to, family)}${flagsText(target)}`,
  SNAT: (target, family) => `-j SNAT --to-source ${rangeText(target.to, family)}${flagsText(target)}`,
  MASQUERADE: (target) =>
    `-j MASQUERADE${target.ports === undefined ? "" : ` --to-ports ${portsText(target.ports)}`}${flagsText(target)}`,
  REDIRECT: (target) =>
    `-j REDIRECT${target.ports === undefined ? "" : ` --to-ports ${portsText(target.ports)}`}${flagsText(target)}`,
  NETMAP: ({ to }) => {
    const text = formatCidr(to);
    return `-j NETMAP --to ${to.prefix === (to.family === 4 ? 32 : 128) ? text.slice(0, text.indexOf("/")) : text}`;
  },
};
