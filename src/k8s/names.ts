/**
 * Spelling rules of the API server for names, labels and ports: each check answers what is wrong, or `undefined`.
 * Governing sources: RFC 1123, RFC 6335 section 5.1, k8s.io/apimachinery validation rules.
 */
const labelPattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const label1035Pattern = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;
const subdomainPattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const qualifiedNamePattern = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;

export function dnsLabelFault(text: string): string | undefined {
  if (text.length > 63) return "must be no more than 63 characters";
  return labelPattern.test(text)
    ? undefined
    : "must be a lowercase RFC 1123 label (a-z, 0-9 and '-', alphanumeric at both ends)";
}

/** Service names: an RFC 1035 label. */
export function dnsLabel1035Fault(text: string): string | undefined {
  if (text.length > 63) return "must be no more than 63 characters";
  return label1035Pattern.test(text)
    ? undefined
    : "must be an RFC 1035 label (a-z, 0-9 and '-', starting with a letter)";
}

export function dnsSubdomainFault(text: string): string | undefined {
  if (text.length > 253) return "must be no more than 253 characters";
  return subdomainPattern.test(text)
    ? undefined
    : "must be a lowercase RFC 1123 subdomain (a-z, 0-9, '-' and '.', alphanumeric at both ends)";
}

/** Label keys: an optional DNS prefix and `/`, then at most 63 characters. */
export function labelKeyFault(key: string): string | undefined {
  const slash = key.indexOf("/");
  const name = key.slice(slash + 1);
  if (slash >= 0) {
    if (slash === 0) return "prefix part must be non-empty";
    const prefixFault = dnsSubdomainFault(key.slice(0, slash));
    if (prefixFault !== undefined) return `prefix part ${prefixFault}`;
  }
  if (name === "") return "name part must be non-empty";
  if (name.length > 63) return "name part must be no more than 63 characters";
  return qualifiedNamePattern.test(name)
    ? undefined
    : "name part must consist of alphanumerics, '-', '_' or '.', alphanumeric at both ends";
}

export function labelValueFault(value: string): string | undefined {
  if (value === "") return undefined;
  if (value.length > 63) return "must be no more than 63 characters";
  return qualifiedNamePattern.test(value)
    ? undefined
    : "a valid label value must be empty or consist of alphanumerics, '-', '_' or '.', alphanumeric at both ends";
}

/** IANA service names, as ports are named (RFC 6335). */
export function portNameFault(name: string): string | undefined {
  if (name.length === 0) return "must be non-empty";
  if (name.length > 15) return "must be no more than 15 characters";
  if (!/^[-a-z0-9]+$/.test(name))
    return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
  if (!/[a-z]/.test(name)) return "must contain at least one letter (a-z)";
  if (name.includes("--")) return "must not contain consecutive hyphens";
  if (name.startsWith("-") || name.endsWith("-")) return "must not begin or end with a hyphen";
  return undefined;
}

export function portNumberFault(port: number): string | undefined {
  return Number.isInteger(port) && port >= 1 && port <= 65535
    ? undefined
    : "must be between 1 and 65535, inclusive";
}
