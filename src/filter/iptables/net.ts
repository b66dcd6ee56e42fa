/** Addresses and prefixes as iptables reads them: `a`, `a/length`, `a/mask`. Host bits are cleared. */
import { type Cidr, cidrOf, parseCidr, parseIp } from "../../addr/index.ts";

/** `undefined` for what is no address or prefix of the family, or has a mask with holes. */
export function parseNet(text: string, family: 4 | 6): Cidr | undefined {
  const slash = text.indexOf("/");
  const ip = parseIp(slash < 0 ? text : text.slice(0, slash));
  if (ip === undefined || ip.family !== family) return undefined;
  if (slash < 0) return cidrOf(ip, family === 4 ? 32 : 128);
  const mask = parseIp(text.slice(slash + 1));
  if (mask === undefined) return parseCidr(text);
  const bits = mask.words.map((word) => word.toString(2).padStart(32, "0")).join("");
  return /^1*0*$/.test(bits) && mask.family === family ? cidrOf(ip, bits.lastIndexOf("1") + 1) : undefined;
}
