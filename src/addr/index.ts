export { AddressTable } from "./address-table.ts";
export {
  type Cidr,
  cidrContains,
  cidrContainsWords,
  cidrCovers,
  cidrOf,
  type Family,
  formatCidr,
  formatIp,
  formatIpv4,
  formatWords,
  hasHostBits,
  type Ip,
  ipAdd,
  ipEquals,
  ipv4,
  maskWord,
  parseCidr,
  parseIp,
} from "./ip.ts";
export { formatMac, localMac, type Mac, parseMac } from "./mac.ts";
